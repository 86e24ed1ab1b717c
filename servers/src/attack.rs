//! The rungs under attack, with an honest client beside the attackers.
//!
//! What each rung promises, and where it stops, stands in its header. [`LIMITS`], [`DROPS`] and
//! [`COSTS`] quote it, and are what a run is judged by. An answer that is lost, a descriptor that
//! stays, a server that spins: all fail, and so does a limit that is not there any more.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::conformance::client::{CAP, Client, Way, frame, payload};
use crate::conformance::server::{Recipe, Server};
use crate::conformance::tls;
use crate::outside::{cpu_time, limit_descriptors, next_descriptor, stays_asleep, threads, within};
use crate::rungs::Rung;
use crate::wait::HANG_LIMIT;

/// One way to treat a server badly.
#[derive(Clone, Copy, Debug)]
pub struct Attack {
    /// Its name in the table.
    pub id: &'static str,
    /// What the attackers do.
    pub sentence: &'static str,
    run: fn(&mut Cell) -> Result<(), String>,
}

/// All of them. The last one ends the server.
pub const ATTACKS: [Attack; 12] = [
    Attack { id: "silence", sentence: "8 clients connect and say nothing", run: silence },
    Attack { id: "drip", sentence: "8 clients send a byte of a frame now and then", run: drip },
    Attack { id: "claims", sentence: "50 headers claim 4 GiB", run: claims },
    Attack { id: "resets", sentence: "200 clients reset in the middle of a frame", run: resets },
    Attack { id: "bad-end", sentence: "a bad header follows good frames, 50 times", run: bad_end },
    Attack { id: "no-reader", sentence: "4 clients send, and never read", run: no_reader },
    Attack { id: "log", sentence: "nobody reads the log, and 300 clients go wrong", run: log },
    Attack { id: "crowd", sentence: "many connections say nothing (--clients)", run: crowd },
    Attack { id: "table", sentence: "no descriptor is left, and 8 clients more come", run: table },
    Attack { id: "stop", sentence: "SIGSTOP and SIGCONT, 50 times", run: stop },
    Attack { id: "storm", sentence: "10,000 signals that nobody handles", run: storm },
    Attack { id: "term", sentence: "SIGTERM in the middle of an answer", run: term },
];

/// What happens where a rung stops.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Meets {
    /// The honest client waits until the attackers have gone.
    Held,
    /// The server's memory grows by more than it may elsewhere.
    Memory,
    /// What has begun may be cut off.
    Cut,
}

/// A limit: of which rungs, met by which attacks, in the words of their headers.
#[derive(Clone, Copy, Debug)]
pub struct Limit {
    rungs: &'static [&'static str],
    attacks: &'static [&'static str],
    meets: Meets,
    words: &'static str,
}

/// Where the rungs stop. Where none of these stands, the honest client has all its answers.
pub const LIMITS: [Limit; 8] = [
    Limit {
        rungs: &["r01"],
        attacks: &["silence", "drip", "no-reader", "crowd"],
        meets: Meets::Held,
        words: "a client that connects and says nothing, or reads nothing",
    },
    Limit {
        rungs: &["r02"],
        attacks: &["silence", "drip", "no-reader", "crowd"],
        meets: Meets::Held,
        words: "a second client waits for as long as the first one stays",
    },
    Limit {
        rungs: &["r04"],
        attacks: &["crowd"],
        meets: Meets::Held,
        words: "as many silent clients as it has threads",
    },
    Limit {
        rungs: &["r05"],
        attacks: &["no-reader"],
        meets: Meets::Memory,
        words: "a client that never reads: its answers pile up in `output` without bound",
    },
    Limit {
        rungs: &["r01", "r02", "r03", "r04", "r05", "r06", "r07", "r14"],
        attacks: &["term"],
        meets: Meets::Cut,
        words: "A SIGTERM in the middle of a frame cuts it off",
    },
    Limit {
        rungs: &["r10", "r11", "r12", "r13"],
        attacks: &["term"],
        meets: Meets::Cut,
        words: "what r03's are",
    },
    Limit { rungs: &["r15"], attacks: &["term"], meets: Meets::Cut, words: "those of r06" },
    Limit { rungs: &["r16"], attacks: &["term"], meets: Meets::Cut, words: "those of r03" },
];

/// Who drops whom, and after how long: rung, attack, seconds, the words of its header.
pub const DROPS: [(&str, &str, u64, &str); 4] = [
    ("r07", "silence", 10, "10 s for silence"),
    ("r07", "drip", 5, "5 s for a frame"),
    ("r08", "drip", 5, "has until its deadline"),
    ("r09", "drip", 5, "what r08 does"),
];

/// What a crowd may cost: rung, threads, bytes of memory a client, the words of its header. Beside
/// its clients' threads a rung has one for the log.
pub const COSTS: [(&str, usize, usize, &str); 5] = [
    ("r04", 1 + 64 + 1, usize::MAX, "64 threads and no more"),
    ("r05", 2, usize::MAX, "none costs a thread"),
    ("r06", 2, 40, "costs its descriptor and 40 bytes"),
    ("r14", 2, usize::MAX, "none costs a thread"),
    ("r15", 2, 4300, "each client costs 4.2 KiB"),
];

/// Memory that a crowd touches whatever its size. A vector that has grown has twice the room.
const ANY_CROWD_KIB: usize = 256;

/// Quotations that are not in the header that they are said to be from.
pub fn misquoted(rungs: &[Rung]) -> Vec<String> {
    let limits =
        LIMITS.iter().flat_map(|limit| limit.rungs.iter().map(|rung| (*rung, limit.words)));
    let drops = DROPS.iter().map(|(rung, _, _, words)| (*rung, *words));
    let costs = COSTS.iter().map(|(rung, _, _, words)| (*rung, *words));
    let quotes = limits.chain(drops).chain(costs);
    let is_wrong = |(name, words): &(&str, &str)| {
        let rung = rungs.iter().find(|rung| rung.name.starts_with(name));
        words.is_empty() || !rung.is_some_and(|rung| header(rung).contains(words))
    };
    quotes.filter(is_wrong).map(|(rung, words)| format!("{rung}: {words:?}")).collect()
}

fn header(rung: &Rung) -> String {
    let lines = rung.source.lines().map_while(|line| line.strip_prefix("//!"));
    lines.flat_map(str::split_whitespace).collect::<Vec<_>>().join(" ")
}

/// How long an honest client waits where it is to be held. It cannot wait for what never comes.
const HELD: Duration = Duration::from_millis(500);

/// A server may grow by so much while it is attacked by a handful of clients.
const MAY_GROW_KIB: usize = 16 << 10;

/// How long the processor's time is looked at while nothing happens.
const IDLE: Duration = Duration::from_millis(200);

/// What came of one attack on one rung.
#[derive(Debug, Default)]
pub struct Figures {
    /// Exchanges of the honest client: answered as they should be.
    pub answered: usize,
    /// Not answered while the attackers were there.
    pub held: usize,
    /// Memory in KiB: before, the most, and when the attackers have gone.
    pub memory: [usize; 3],
    /// Open descriptors, likewise.
    pub descriptors: [usize; 3],
    /// Of one processor, in percent, while the attackers are there and nothing happens.
    pub idle: Option<f64>,
    /// What else there is to say.
    pub note: String,
}

/// The server, as a client knows it.
#[derive(Debug)]
struct Target {
    addr: SocketAddr,
    id: u32,
    tls: Option<tls::Config>,
    single_shot: bool,
}

/// One attack on one server.
#[derive(Debug)]
struct Cell {
    server: Server,
    target: Target,
    recipe: Recipe,
    /// How many are a crowd.
    clients: usize,
    limit: Option<Meets>,
    drops_after: Option<Duration>,
    costs: Option<(usize, usize)>,
    figures: Figures,
}

/// What a rung is judged by here.
fn limit_of(rung: &Rung, attack: &Attack) -> Option<&'static Limit> {
    LIMITS.iter().find(|limit| {
        limit.rungs.iter().any(|begin| rung.name.starts_with(begin))
            && limit.attacks.contains(&attack.id)
    })
}

/// Attacks a server that promises what this rung does. `Ok`: it is as its header says, and which
/// limit it met. `Err`: what is otherwise.
pub fn run(
    attack: &Attack,
    rung: &Rung,
    recipe: &Recipe,
    clients: usize,
) -> (Figures, Result<Option<&'static str>, String>) {
    let limit = limit_of(rung, attack);
    let drop = DROPS.iter().find(|(r, a, _, _)| rung.name.starts_with(r) && *a == attack.id);
    let cost = COSTS.iter().find(|(r, ..)| rung.name.starts_with(r) && attack.id == "crowd");
    let start = || -> Result<Cell, String> {
        let server = Server::start(recipe)?;
        let tls = if rung.tls { Some(tls::config()?) } else { None };
        let (addr, id) = (server.addr, server.id());
        Ok(Cell {
            server,
            target: Target { addr, id, tls, single_shot: rung.single_shot },
            recipe: recipe.clone(),
            clients,
            limit: limit.map(|limit| limit.meets),
            drops_after: drop.map(|(_, _, seconds, _)| Duration::from_secs(*seconds)),
            costs: cost.map(|(_, threads, bytes, _)| (*threads, *bytes)),
            figures: Figures::default(),
        })
    };
    let mut cell = match start() {
        Ok(cell) => cell,
        Err(e) => return (Figures::default(), Err(e)),
    };
    let result = cell.whole(attack);
    // That it has ended says more than what a client has seen of it, unless it was asked to.
    let ended = if attack.id == "term" { None } else { cell.server.has_ended() };
    let result = result.map_err(|e| ended.unwrap_or(e));
    (cell.figures, result.map(|()| limit.map(|limit| limit.words)))
}

impl Target {
    fn way(&self, patience: Duration) -> Way<'_> {
        Way { addr: self.addr, tls: self.tls.as_ref(), patience }
    }

    /// A client that speaks the protocol, if it likes.
    fn connect(&self) -> Result<Client, String> {
        Client::connect(self.way(HANG_LIMIT))
    }

    /// A connection, and not even what begins a handshake of TLS.
    fn connect_raw(&self) -> Result<Client, String> {
        Client::connect(Way { tls: None, ..self.way(HANG_LIMIT) })
    }

    fn pid(&self) -> Pid {
        Pid::from_raw(self.id as i32)
    }

    fn signal(&self, signal: Signal) -> Result<(), String> {
        kill(self.pid(), signal).map_err(|e| e.to_string())
    }

    /// The honest client: connects, sends a frame, compares the answer, ends, sees the end.
    fn exchange(&self, patience: Duration, len: usize) -> Result<(), String> {
        let client = Client::connect(self.way(patience))?;
        let frames = if self.single_shot { 1 } else { 3 };
        for i in 0..frames {
            client.exchange(&payload(len + i, i))?;
        }
        client.end()?;
        client.expect_end(patience).map(drop)
    }
}

impl Cell {
    fn whole(&mut self, attack: &Attack) -> Result<(), String> {
        self.warm_up()?;
        (attack.run)(self)?;
        if attack.id != "term" {
            self.afterwards()?;
        }
        self.judge(attack)
    }

    /// One exchange, before anything is counted: memory that any client touches is touched.
    fn warm_up(&mut self) -> Result<(), String> {
        self.target.exchange(HANG_LIMIT, 100).map_err(|e| format!("before the attack: {e}"))?;
        self.sleeps()?; // so it has closed the connection
        let (memory, fds) = (self.server.memory_kib(), self.server.open_fds());
        self.figures.memory = [memory; 3];
        self.figures.descriptors = [fds; 3];
        Ok(())
    }

    /// The honest client beside the attackers, some times.
    fn beside(&mut self) -> Result<(), String> {
        if self.limit == Some(Meets::Held) {
            match self.target.exchange(HELD, 100) {
                Ok(()) => self.figures.answered += 1,
                Err(_) => self.figures.held += 1,
            }
        } else {
            for len in [0, 1, 1000, 70_000] {
                self.target
                    .exchange(HANG_LIMIT, len)
                    .map_err(|e| format!("an answer is lost: {e}"))?;
                self.figures.answered += 1;
            }
        }
        self.look();
        Ok(())
    }

    /// The same for as long as the attackers are busy.
    fn beside_all_the_time(
        &mut self,
        attackers: impl FnOnce(&Target) -> Result<(), String> + Send,
    ) -> Result<(), String> {
        let over = AtomicBool::new(false);
        let target = &self.target;
        let (attacked, honest) = thread::scope(|s| {
            let attack = s.spawn(|| {
                let result = attackers(target);
                over.store(true, Ordering::SeqCst);
                result
            });
            let mut count = 0;
            let mut honest = Ok(());
            while honest.is_ok() && (!over.load(Ordering::SeqCst) || count < 4) {
                honest = target.exchange(HANG_LIMIT, [0, 1, 1000, 70_000][count % 4]);
                count += usize::from(honest.is_ok());
            }
            (attack.join(), honest.map(|()| count))
        });
        self.figures.answered += honest.map_err(|e| format!("an answer is lost: {e}"))?;
        self.look();
        attacked.map_err(|_| "the attackers have panicked".to_owned())?
    }

    /// The most of everything so far.
    fn look(&mut self) {
        let (memory, fds) = (self.server.memory_kib(), self.server.open_fds());
        self.figures.memory[1] = self.figures.memory[1].max(memory);
        self.figures.descriptors[1] = self.figures.descriptors[1].max(fds);
    }

    /// Waits until it has done all that there is to do.
    fn sleeps(&self) -> Result<(), String> {
        let mut often = 0;
        within(HANG_LIMIT, || {
            often = if stays_asleep(self.target.id) { often + 1 } else { 0 };
            if often == 3 { Ok(()) } else { Err("it does not sleep while nothing happens".into()) }
        })
    }

    /// The attackers are there, and do nothing: then the server sleeps.
    fn idle(&mut self) -> Result<(), String> {
        self.sleeps()?;
        let pid = self.target.id;
        let before = cpu_time(pid).map_err(|e| e.to_string())?;
        thread::sleep(IDLE);
        let spent = cpu_time(pid).map_err(|e| e.to_string())?.saturating_sub(before);
        self.figures.idle = Some(100.0 * spent.as_secs_f64() / IDLE.as_secs_f64());
        Ok(())
    }

    /// The first of the attackers was dropped then: not before the header's time.
    fn dropped(&mut self, first: Option<Duration>, after: Duration) -> Result<(), String> {
        let first = first.ok_or("nobody was dropped")?;
        if first < after {
            return Err(format!("dropped after {first:?}, before {after:?}"));
        }
        self.figures.note = format!("dropped after {} s", first.as_secs());
        Ok(())
    }

    /// The attackers have gone.
    fn afterwards(&mut self) -> Result<(), String> {
        self.target.exchange(HANG_LIMIT, 1000).map_err(|e| format!("after the attack: {e}"))?;
        let before = self.figures.descriptors[0];
        let left = within(HANG_LIMIT, || match self.server.open_fds() {
            fds if fds <= before => Ok(fds),
            fds => Err(format!("{fds} descriptors are open, {before} before the attack")),
        });
        self.figures.memory[2] = self.server.memory_kib();
        self.figures.descriptors[2] = self.server.open_fds();
        left.map(drop)
    }

    fn judge(&self, attack: &Attack) -> Result<(), String> {
        let Figures { answered, held, memory: [before, most, _], .. } = self.figures;
        let grown = most.saturating_sub(before);
        let has_limit = |limit| self.limit == Some(limit);
        if has_limit(Meets::Held) && (held == 0 || answered > 0) {
            return Err("its header says that others wait, and nobody has waited".into());
        }
        if has_limit(Meets::Memory) && grown <= MAY_GROW_KIB {
            return Err(format!("its header says that memory grows, and it grew by {grown} KiB"));
        }
        let is_crowd = attack.id == "crowd"; // so many threads, or descriptors, as were asked for
        if !has_limit(Meets::Memory) && !is_crowd && grown > MAY_GROW_KIB {
            return Err(format!("its memory grew by {grown} KiB"));
        }
        if let Some(ended) = self.server.has_ended().filter(|_| attack.id != "term") {
            return Err(ended);
        }
        Ok(())
    }
}

fn times<T>(count: usize, each: impl FnMut(usize) -> Result<T, String>) -> Result<Vec<T>, String> {
    (0..count).map(each).collect()
}

fn silence(cell: &mut Cell) -> Result<(), String> {
    let since = Instant::now();
    let clients = times(8, |_| cell.target.connect_raw())?;
    cell.beside()?;
    cell.idle()?;
    if let Some(after) = cell.drops_after {
        let mut first = None;
        for client in &clients {
            client.expect_end(HANG_LIMIT).map_err(|e| format!("silence: {e}"))?;
            first.get_or_insert_with(|| since.elapsed());
        }
        cell.dropped(first, after)?;
    }
    Ok(())
}

fn drip(cell: &mut Cell) -> Result<(), String> {
    let since = Instant::now();
    let mut clients = times(8, |_| cell.target.connect_raw())?;
    let (request, over, after) =
        (frame(&payload(100_000, 0)), AtomicBool::new(false), cell.drops_after);
    let (clients, dropped, beside) = thread::scope(|s| {
        let dripping = s.spawn(|| {
            let mut dropped = Vec::new();
            let mut still_there = Vec::new();
            for byte in request.chunks(1) {
                for client in clients.drain(..) {
                    let _ = client.send_some(byte); // it may have been dropped
                    match client.has_something() {
                        true => dropped.push(since.elapsed()),
                        false => still_there.push(client),
                    }
                }
                clients.append(&mut still_there);
                let seen = after.is_none() || clients.is_empty() || since.elapsed() > HANG_LIMIT;
                if seen && over.load(Ordering::SeqCst) {
                    break;
                }
                thread::sleep(Duration::from_millis(10));
            }
            (clients, dropped)
        });
        let beside = cell.beside();
        over.store(true, Ordering::SeqCst);
        dripping.join().map(|(clients, dropped)| (clients, dropped, beside))
    })
    .map_err(|_| "the attackers have panicked")?;
    beside?;
    if let Some(after) = after {
        if !clients.is_empty() {
            return Err("a drip is not dropped".into());
        }
        cell.dropped(dropped.iter().min().copied(), after)?;
    }
    cell.idle()
}

fn claims(cell: &mut Cell) -> Result<(), String> {
    cell.beside_all_the_time(|target| {
        times(50, |_| {
            let client = target.connect()?;
            client.send(&[0xff; 4])?;
            client.expect_end(HANG_LIMIT).map_err(|e| format!("a header of 4 GiB: {e}"))
        })
        .map(drop)
    })
}

fn resets(cell: &mut Cell) -> Result<(), String> {
    cell.beside_all_the_time(|target| {
        let request = frame(&payload(1000, 0));
        times(200, |i| {
            let client = target.connect()?;
            client.send(&request[..1 + i * 5])?;
            client.reset()
        })
        .map(drop)
    })
}

fn bad_end(cell: &mut Cell) -> Result<(), String> {
    let good = if cell.target.single_shot { 1 } else { 3 };
    cell.beside_all_the_time(|target| {
        times(50, |_| {
            let client = target.connect()?;
            let frames: Vec<u8> = (0..good).flat_map(|i| frame(&payload(100, i))).collect();
            client.send(&[&frames[..], &[0xff; 4]].concat())?;
            for i in 0..good {
                let answer = client.expect_answer(&payload(100, i));
                answer.map_err(|e| format!("a good frame before a bad header: {e}"))?;
            }
            client.expect_end(HANG_LIMIT)
        })
        .map(drop)
    })?;
    cell.figures.answered += 50 * good;
    Ok(())
}

fn no_reader(cell: &mut Cell) -> Result<(), String> {
    let clients = times(4, |_| Client::connect_narrow(cell.target.way(HELD)));
    // A rung that talks with one client at a time shakes hands with no second one.
    let clients = match clients {
        Err(_) if cell.target.tls.is_some() && cell.limit == Some(Meets::Held) => Vec::new(),
        clients => clients?,
    };
    let request = frame(&payload(CAP, 0));
    let (mut sent, mut moved) = (vec![0; clients.len()], Instant::now());
    // Until each has sent as much as no server should keep, or nothing moves any more.
    let patience = if cell.limit == Some(Meets::Memory) { HANG_LIMIT } else { HELD };
    while moved.elapsed() < patience && sent.iter().any(|sent| *sent < MAY_GROW_KIB << 10) {
        for (client, sent) in clients.iter().zip(&mut sent) {
            match client.send_some(&request[*sent % request.len()..]) {
                Ok(0) => client.wait_for_room(Duration::from_millis(2)),
                Ok(n) => (*sent, moved) = (*sent + n, Instant::now()),
                Err(_) => {} // dropped, as it deserves
            }
        }
    }
    if cell.limit == Some(Meets::Memory) {
        // All of it has been read before it is looked at.
        clients.iter().for_each(Client::wait_until_read);
    }
    cell.beside()?;
    cell.figures.note = format!("{} KiB sent", sent.iter().sum::<usize>() >> 10);
    cell.idle()
}

fn log(cell: &mut Cell) -> Result<(), String> {
    cell.server.kill();
    cell.server = Server::start_unread(&cell.recipe)?;
    (cell.target.addr, cell.target.id) = (cell.server.addr, cell.server.id());
    cell.warm_up()?;
    cell.beside_all_the_time(|target| {
        times(300, |_| {
            let client = target.connect()?;
            client.send(&[0xff; 4])?;
            client.reset()
        })
        .map(drop)
    })
}

fn crowd(cell: &mut Cell) -> Result<(), String> {
    let count = cell.clients;
    let _clients = times(count, |_| cell.target.connect_raw())?;
    cell.beside()?;
    let threads = threads(cell.target.id);
    cell.figures.note = format!("{threads} threads");
    if let Some((most_threads, bytes)) = cell.costs {
        let [before, most, _] = cell.figures.memory;
        let (grown, room) = (most.saturating_sub(before), bytes.saturating_mul(2 * count) >> 10);
        if threads > most_threads {
            return Err(format!("{threads} threads for {count} clients"));
        }
        if grown > room.saturating_add(ANY_CROWD_KIB) {
            return Err(format!("{grown} KiB for {count} clients"));
        }
    }
    cell.idle()
}

fn table(cell: &mut Cell) -> Result<(), String> {
    let known = cell.target.connect()?;
    if !cell.target.single_shot {
        known.exchange(b"before")?;
    }
    known.wait_until_read();
    // One that has just ended may still give its descriptor back.
    cell.idle()?;
    let id = cell.server.id();
    let before = limit_descriptors(id, next_descriptor(id) as u64).map_err(|e| e.to_string())?;
    let newcomers = times(8, |_| cell.target.connect_raw())?;
    cell.idle()?;
    known.exchange(b"meanwhile").map_err(|e| format!("who is connected loses an answer: {e}"))?;
    cell.figures.answered += 1;
    cell.look();
    limit_descriptors(id, before).map_err(|e| e.to_string())?;
    drop((newcomers, known));
    Ok(())
}

fn stop(cell: &mut Cell) -> Result<(), String> {
    let clients = times(if cell.target.single_shot { 50 } else { 1 }, |_| cell.target.connect())?;
    for i in 0..50 {
        let client = &clients[i % clients.len()];
        cell.target.signal(Signal::SIGSTOP)?;
        client.send(&frame(&payload(i * 100, i)))?;
        cell.target.signal(Signal::SIGCONT)?;
        client.expect_answer(&payload(i * 100, i))?;
        if cell.target.single_shot {
            client.end()?;
        }
        cell.figures.answered += 1;
    }
    Ok(())
}

fn storm(cell: &mut Cell) -> Result<(), String> {
    cell.beside_all_the_time(|target| {
        times(10_000, |i| {
            target
                .signal([Signal::SIGURG, Signal::SIGWINCH, Signal::SIGCHLD, Signal::SIGCONT][i % 4])
        })
        .map(drop)
    })
}

fn term(cell: &mut Cell) -> Result<(), String> {
    let client = Client::connect_narrow(cell.target.way(HANG_LIMIT))?;
    let request = payload(CAP, 0);
    // It is read from as it comes, so that the answer can begin; the end of it waits for us.
    client.send(&frame(&request))?;
    client.wait_for_answer()?;
    cell.server.ask_to_end()?;
    let answer = client.expect_answer(&request);
    let _ = client.end();
    cell.figures.note = match &answer {
        Ok(()) => "the answer is whole".into(),
        Err(_) => "the answer is cut".into(),
    };
    cell.figures.answered += usize::from(answer.is_ok());
    let ended = cell.server.wait_for_end(Instant::now() + HANG_LIMIT);
    if ended.is_none() {
        return Err("it does not end at SIGTERM".into());
    }
    match answer {
        Err(e) if cell.limit != Some(Meets::Cut) => Err(format!("at SIGTERM: {e}")),
        _ => Ok(()),
    }
}

//! What every echo server is asked, one function a check.
//!
//! A check returns what it observed: `Ok` if that is what was expected.

use std::time::{Duration, Instant};

use super::client::{CAP, Client, Way, frame, payload};
use super::server::{Recipe, Server};
use super::tls;
use crate::outside::{leaves_unread, limit_descriptors, next_descriptor, queued, sleeps_mostly};
use crate::outside::{under_way, within};

/// One thing that every echo server is asked.
#[derive(Debug)]
pub struct Check {
    /// Its name in tables and in the list of expected failures.
    pub id: &'static str,
    /// What is true of a server that passes.
    pub sentence: &'static str,
    /// What should be observed.
    pub expected: &'static str,
    pub(super) run: fn(&mut Subject) -> Observed,
}

/// `Ok`: as expected. Both say what was seen.
pub type Observed = Result<String, Fault>;

/// Why a check did not pass.
#[derive(Debug)]
pub enum Fault {
    /// Something else was seen.
    Failed(String),
    /// It does not apply to this server, for this reason.
    NotApplicable(&'static str),
}

impl From<String> for Fault {
    fn from(observed: String) -> Fault {
        Fault::Failed(observed)
    }
}

/// The server under test, and what is known of it.
#[derive(Debug)]
pub struct Subject {
    pub(super) server: Server,
    /// How to start another one.
    pub(super) recipe: Recipe,
    /// How long a client waits for anything, before it calls itself unserved.
    pub(super) patience: Duration,
    /// It speaks TLS.
    pub(super) tls: Option<tls::Config>,
    /// It ends a connection after one frame, as the article's does.
    pub one_frame: bool,
    /// That it does is its protocol, says whoever started the suite.
    pub one_frame_is_meant: bool,
    /// It promises to drop a client that is stuck inside a frame after so long.
    pub deadline: Option<Duration>,
}

impl Subject {
    fn way(&self) -> Way<'_> {
        Way { addr: self.server.addr, tls: self.tls.as_ref(), patience: self.patience }
    }

    fn connect(&self) -> Result<Client, String> {
        Client::connect(self.way())
    }

    fn connect_narrow(&self) -> Result<Client, String> {
        Client::connect_narrow(self.way())
    }

    /// One that says nothing at all, not even what begins a handshake.
    fn connect_silent(&self) -> Result<Client, String> {
        Client::connect(Way { tls: None, ..self.way() })
    }

    /// Soon enough to be no deadline: a server that waits for the payload drops the client later.
    fn at_once(&self) -> Duration {
        self.patience / 3
    }

    /// Ends the server, and starts another one.
    pub(super) fn restart(&mut self) -> Result<(), String> {
        self.server.kill(); // before the next one starts: they may want the same port
        self.server = Server::start(&self.recipe)?;
        Ok(())
    }

    /// A well-behaved client: connects, sends a frame, gets it back.
    pub(super) fn serves_another(&self) -> Result<(), String> {
        let served = self.connect().and_then(|client| client.exchange(b"another client"));
        served.map_err(|e| format!("another client is not served: {e}"))
    }
}

const ONE_FRAME: Result<String, Fault> =
    Err(Fault::NotApplicable("the server takes one frame a connection"));

/// So many times, so that a descriptor lost each time shows.
const TIMES: usize = 10;

/// More descriptors than at the start by so many are no leak: an event queue opened late, a log.
const SPARE_FDS: usize = 8;

/// Connections at once, and how many of them come together: fewer than a usual backlog of 128.
const CROWD: usize = 1000;
const TOGETHER: usize = 50;

/// Silent clients, more than a pool has workers.
const SILENT: usize = 64;

/// Clients that go wrong while nobody reads the log: more than a pool has workers.
const WRONG: usize = 100;

/// Frames whose answers a client does not take before it must: more than all buffers hold.
const PIPELINED: usize = 1000;

/// What a client that never reads sends at most, and what the server may grow by meanwhile.
const NEVER_READ: usize = 64 << 20;
const MAY_GROW_KIB: usize = 16 << 10;

/// Clients one after the other, twice; the second time the server may grow by so much.
const CLIENTS: usize = 500;
const MAY_KEEP_KIB: usize = 2 << 10;

/// What all are asked, in this order. The last two end the server.
pub const CHECKS: [Check; 27] = [
    Check {
        id: "echo",
        sentence: "A frame comes back as it was sent, and nothing after it.",
        expected: "header 00 00 01 02, 258 bytes, then the end after ours",
        run: echo,
    },
    Check {
        id: "many",
        sentence: "A second frame on the same connection is answered.",
        expected: "the second answer",
        run: many,
    },
    Check {
        id: "split",
        sentence: "It does not matter where the stream is cut.",
        expected: "the answers, for a cut at every byte and for a byte a time",
        run: split,
    },
    Check {
        id: "joined",
        sentence: "Frames that arrive joined come back one by one, in order.",
        expected: "200 answers to one send, and one to a frame whose end came later",
        run: joined,
    },
    Check {
        id: "empty",
        sentence: "An empty frame is a frame.",
        expected: "an empty frame, and the next one too where there may be one",
        run: empty,
    },
    Check {
        id: "largest",
        sentence: "A frame of 1 MiB, the cap, comes back.",
        expected: "1048576 bytes",
        run: largest,
    },
    Check {
        id: "over-cap",
        sentence: "A header that claims one byte more than the cap ends the connection.",
        expected: "the end or a reset at once, not at some deadline",
        run: |s| refuses(s, &[0x00, 0x10, 0x00, 0x01]),
    },
    Check {
        id: "hostile",
        sentence: "A header that claims 4 GiB - 1 ends the connection.",
        expected: "the end or a reset at once, not at some deadline",
        run: |s| refuses(s, &[0xff; 4]),
    },
    Check {
        id: "end-in-header",
        sentence: "A stream that ends inside a header gets no answer, and ends.",
        expected: "the end or a reset, and no byte before it",
        run: |s| ends_inside(s, &[0, 0]),
    },
    Check {
        id: "end-in-payload",
        sentence: "A stream that ends inside a payload gets no answer, and ends.",
        expected: "the end or a reset, and no byte before it",
        run: |s| ends_inside(s, b"\0\0\0\x0ahalf."),
    },
    Check {
        id: "before-bad",
        sentence: "Frames before a header that claims too much are answered, then comes the end.",
        expected: "every answer, however late it is taken, then the end: no reset",
        run: |s| answers_before(s, &[&[&[0xff; 4][..]], &[&[0xff; 4], &[b'.'; 100_000]]], false),
    },
    Check {
        id: "before-cut",
        sentence: "Frames before an end inside a frame are answered, then comes the end.",
        expected: "every answer, however late it is taken, then the end: no reset",
        run: |s| answers_before(s, &[&[&[0, 0][..]], &[b"\0\0\0\x0ahalf."]], true),
    },
    Check {
        id: "half-close",
        sentence: "A client that has ended its direction still gets its answer.",
        expected: "every answer, then the end",
        run: half_close,
    },
    Check {
        id: "reset",
        sentence: "A client that resets its connection harms nobody else.",
        expected: "the server goes on: another client is served",
        run: reset,
    },
    Check {
        id: "silent",
        sentence: "While a client says nothing, another is served.",
        expected: "an answer to the other",
        run: silent,
    },
    Check {
        id: "stalled",
        sentence: "While clients are stuck inside a frame, another is served.",
        expected: "an answer to the other",
        run: stalled,
    },
    Check {
        id: "silent-64",
        sentence: "While 64 clients say nothing, another is served.",
        expected: "an answer to the other",
        run: silent_crowd,
    },
    Check {
        id: "dropped",
        sentence: "A client that is stuck inside a frame is dropped at the deadline.",
        expected: "the end, neither long before the deadline nor after it",
        run: dropped,
    },
    Check {
        id: "never-reads",
        sentence: "A client that never reads its answers holds nobody up and fills no memory.",
        expected: "another is served; the server grows by 16 MiB at most",
        run: never_reads,
    },
    Check {
        id: "full",
        sentence: "Out of descriptors it sleeps, and takes the next client when there is one again.",
        expected: "it sleeps while a client waits, and serves when it may open more",
        run: full,
    },
    Check {
        id: "thousand",
        sentence: "A thousand connections at once are served.",
        expected: "an answer on each of 1000 connections, all of them open",
        run: thousand,
    },
    Check {
        id: "memory",
        sentence: "500 more clients leave no memory behind.",
        expected: "at most 2048 KiB more than before them",
        run: memory,
    },
    Check {
        id: "descriptors",
        sentence: "After all these clients no descriptor is left open.",
        expected: "at most 8 more than when it began to listen",
        run: descriptors,
    },
    Check {
        id: "served",
        sentence: "After all that a normal client is still served.",
        expected: "an answer",
        run: |s| s.serves_another().map(|()| "an answer".into()).map_err(Fault::from),
    },
    Check {
        id: "unread-log",
        sentence: "While nobody reads what it prints, clients are served.",
        expected: "an answer, after 100 clients that went wrong and with all pipes full",
        run: unread_log,
    },
    Check {
        id: "finishes",
        sentence: "At SIGTERM what has arrived is answered, and a frame that has begun is finished.",
        expected: "every answer that waited, and one to a frame that was half there",
        run: finishes,
    },
    Check {
        id: "sigterm",
        sentence: "SIGTERM ends it.",
        expected: "its end, with no client there",
        run: sigterm,
    },
];

fn echo(s: &mut Subject) -> Observed {
    let client = s.connect()?;
    client.exchange(&payload(258, 0))?; // 258 is 0x0102: in the wrong byte order another number
    client.end()?;
    let end = client.expect_end(s.patience)?;
    Ok(format!("header 00 00 01 02, 258 bytes, then {end}"))
}

/// Also finds out which protocol the server speaks.
fn many(s: &mut Subject) -> Observed {
    let client = s.connect()?;
    client.exchange(b"first")?;
    let second = client.exchange(b"second");
    // A reader of the article's protocol ends its stream here. One that is slow or wrong does not.
    let ended = second.is_err() && client.expect_end(Duration::from_millis(10)).is_ok();
    s.one_frame = ended || s.one_frame_is_meant;
    match second {
        _ if s.one_frame_is_meant => ONE_FRAME,
        Ok(()) => Ok("the second answer".into()),
        Err(e) if ended => Err(Fault::Failed(format!("one frame a connection: {e}"))),
        Err(e) => Err(Fault::Failed(e)),
    }
}

fn split(s: &mut Subject) -> Observed {
    let (first, second) = (payload(9, 1), payload(3, 2));
    let frames: &[&[u8]] = if s.one_frame { &[&first] } else { &[&first, &second] };
    let bytes: Vec<u8> = frames.iter().flat_map(|payload| frame(payload)).collect();
    let ask = |client: &Client, parts: &mut dyn Iterator<Item = &[u8]>| -> Result<(), String> {
        for part in parts {
            client.send(part)?;
            client.wait_until_read(); // or the kernel would join them again
        }
        frames.iter().try_for_each(|payload| client.expect_answer(payload))
    };
    let mut client = s.connect()?;
    for at in 1..bytes.len() {
        let (before, after) = bytes.split_at(at);
        ask(&client, &mut [before, after].into_iter())
            .map_err(|e| format!("cut after byte {at} of {}: {e}", bytes.len()))?;
        if s.one_frame {
            client = s.connect()?;
        }
    }
    ask(&client, &mut bytes.chunks(1)).map_err(|e| format!("a byte a time: {e}"))?;
    Ok(format!("the answers, for {} cuts and for a byte a time", bytes.len() - 1))
}

fn joined(s: &mut Subject) -> Observed {
    if s.one_frame {
        return ONE_FRAME;
    }
    let payloads: Vec<Vec<u8>> = (0..=200).map(|i| payload(i * 7 % 300, i)).collect();
    let bytes: Vec<u8> = payloads.iter().flat_map(|payload| frame(payload)).collect();
    let (most, rest) = bytes.split_at(bytes.len() - 3);
    let client = s.connect()?;
    client.send(most)?;
    for (i, payload) in payloads.iter().enumerate() {
        if i == 200 {
            client.send(rest)?;
        }
        client.expect_answer(payload).map_err(|e| format!("frame {} of 201: {e}", i + 1))?;
    }
    Ok("200 answers to one send, and one to a frame whose end came later".into())
}

fn empty(s: &mut Subject) -> Observed {
    let client = s.connect()?;
    client.exchange(b"")?;
    if !s.one_frame {
        client.exchange(b"next").map_err(|e| format!("the frame after it: {e}"))?;
    }
    Ok("an empty frame".into())
}

fn largest(s: &mut Subject) -> Observed {
    s.connect()?.exchange(&payload(CAP, 0))?;
    Ok(format!("{CAP} bytes"))
}

fn refuses(s: &mut Subject, header: &[u8]) -> Observed {
    let mut how = "";
    for _ in 0..TIMES {
        let client = s.connect()?;
        client.send(header)?;
        how = client.expect_end(s.at_once())?;
    }
    s.serves_another()?;
    Ok(how.into())
}

fn ends_inside(s: &mut Subject, bytes: &[u8]) -> Observed {
    let mut how = "";
    for _ in 0..TIMES {
        let client = s.connect()?;
        client.send(bytes)?;
        client.end()?;
        how = client.expect_end(s.patience)?;
    }
    s.serves_another()?;
    Ok(how.into())
}

/// Whole frames, then each of `tails`, then our end where it is a part of it. Answers are taken only
/// when no more can be sent, so that the server goes wrong while they wait.
fn answers_before(s: &mut Subject, tails: &[&[&[u8]]], ends: bool) -> Observed {
    let count = if s.one_frame { 1 } else { PIPELINED };
    let frames = frame(&payload(1000, 0)).repeat(count);
    for tail in tails {
        let client = s.connect_narrow()?;
        let tail = tail.concat();
        let came = client.send_reluctant(&[&frames[..], &tail].concat())?;
        if ends {
            client.end()?;
        }
        let came = client.recv_to_end(came).map_err(|e| format!("of {} {e}", frames.len()))?;
        if came != frames {
            let (came, all, more) = (came.len(), frames.len(), tail.len());
            return Err(format!("{came} of {all} bytes before {more} that are wrong").into());
        }
    }
    s.serves_another()?;
    Ok(format!("{count} of {count} answers, then the end"))
}

fn half_close(s: &mut Subject) -> Observed {
    let count = if s.one_frame { 1 } else { 3 };
    let payloads: Vec<Vec<u8>> = (0..count).map(|i| payload(1000, i)).collect();
    for _ in 0..TIMES {
        let client = s.connect()?;
        client.send(&payloads.iter().flat_map(|payload| frame(payload)).collect::<Vec<u8>>())?;
        client.end()?;
        for payload in &payloads {
            client.expect_answer(payload)?;
        }
        if client.expect_end(s.patience)? == "a reset" {
            return Err(Fault::Failed("a reset instead of the end".into()));
        }
    }
    Ok(format!("{count} of {count} answers, then the end"))
}

fn reset(s: &mut Subject) -> Observed {
    for _ in 0..TIMES {
        // Inside a frame: the server's recv says ECONNRESET.
        let client = s.connect()?;
        client.send(b"\0\0\0\x0ahalf.")?;
        client.wait_until_read();
        client.reset()?;
        // Between request and answer: its send may say EPIPE, and raise SIGPIPE.
        let client = s.connect_narrow()?;
        client.send(&frame(&payload(CAP, 0)))?;
        client.wait_for_answer()?;
        client.reset()?;
    }
    s.serves_another()?;
    Ok("the server goes on: another client is served".into())
}

fn silent(s: &mut Subject) -> Observed {
    let _silent = s.connect_silent()?;
    s.serves_another()?;
    Ok("an answer to the other".into())
}

fn stalled(s: &mut Subject) -> Observed {
    let in_header = s.connect()?;
    in_header.send(&[0, 0])?;
    let in_payload = s.connect()?;
    in_payload.send(b"\0\0\0\x0ahalf.")?;
    in_payload.wait_until_read();
    s.serves_another()?;
    Ok("an answer to the other".into())
}

fn silent_crowd(s: &mut Subject) -> Observed {
    let _silent: Vec<Client> = (0..SILENT).map(|_| s.connect_silent()).collect::<Result<_, _>>()?;
    s.serves_another()?;
    Ok("an answer to the other".into())
}

fn dropped(s: &mut Subject) -> Observed {
    let Some(deadline) = s.deadline else {
        return Err(Fault::NotApplicable("no deadline is promised: --deadline"));
    };
    let from = Instant::now();
    let client = s.connect()?;
    client.send(&[0, 0])?; // between frames a client may be silent for longer
    let end = client.expect_end(deadline + s.patience)?;
    let after = from.elapsed();
    let observed = format!("{end} after {:.1} s", after.as_secs_f64());
    if after < deadline / 2 { Err(Fault::Failed(observed)) } else { Ok(observed) }
}

fn never_reads(s: &mut Subject) -> Observed {
    let before = s.server.memory_kib();
    let client = s.connect_narrow()?;
    let (size, most) = if s.one_frame { (CAP, CAP) } else { (64 << 10, NEVER_READ) };
    let request = frame(&payload(size, 0));
    let (mut sent, mut moved) = (0, Instant::now());
    // Until the server does not mean to read more, or has dropped us, which is its right.
    while sent < most && moved.elapsed() < s.patience {
        match client.send_some(&request[sent % request.len()..]) {
            Ok(0) => {
                let (server, us) = client.ends();
                if leaves_unread(s.server.id(), server, us) {
                    break;
                }
                client.wait_for_room(Duration::from_millis(10));
            }
            Ok(n) => (sent, moved) = (sent + n, Instant::now()),
            Err(_) => break,
        }
    }
    s.serves_another()?;
    let grown = s.server.memory_kib().saturating_sub(before);
    let observed = format!("{} KiB sent, the server grew by {grown} KiB", sent >> 10);
    if grown > MAY_GROW_KIB { Err(Fault::Failed(observed)) } else { Ok(observed) }
}

fn full(s: &mut Subject) -> Observed {
    let server = s.server.id();
    let limit = |most| limit_descriptors(server, most).map_err(|e| format!("prlimit: {e}"));
    let before = limit(next_descriptor(server) as u64)?;
    // One waits in the queue; or the server, which has kept a descriptor for this, lets it go.
    let noticed = |waiting: &[Client]| {
        queued(s.server.addr) > 0 || waiting.last().is_some_and(Client::has_something)
    };
    let (mut waiting, mut slept) = (Vec::new(), Ok(false));
    while matches!(slept, Ok(false)) && waiting.len() < CROWD {
        waiting.push(s.connect_silent()?); // perhaps into a descriptor that another one has left
        slept = within(s.patience, || {
            if !noticed(&waiting) {
                return Ok(false);
            }
            let sleeps = sleeps_mostly(server);
            match noticed(&waiting) {
                true if !sleeps => Err("it does not sleep: it calls accept again and again"),
                // A server that has just been woken, to accept, was still asleep.
                noticed => Ok(noticed),
            }
        });
    }
    limit(before)?;
    if !slept.map_err(str::to_owned)? {
        return Err(Fault::Failed(format!("it serves {CROWD} more with no descriptor left")));
    }
    drop(waiting);
    s.serves_another().map_err(|e| format!("with descriptors again, {e}"))?;
    Ok("it slept, and serves again".into())
}

fn thousand(s: &mut Subject) -> Observed {
    let mut clients: Vec<Client> = Vec::with_capacity(CROWD);
    let mut served = 0;
    let ask = |clients: &[Client], served: &mut usize| -> Result<(), String> {
        clients.iter().try_for_each(|client| client.send(&frame(b"one of a thousand")))?;
        for client in clients {
            client.expect_answer(b"one of a thousand").map_err(|e| {
                format!("{served} answers, then on one of the open connections: {e}")
            })?;
            *served += 1;
        }
        Ok(())
    };
    while clients.len() < CROWD {
        let before = clients.len();
        for _ in 0..TOGETHER {
            clients.push(s.connect().map_err(|e| format!("{served} answers, then {e}"))?);
        }
        ask(&clients[before..], &mut served)?;
    }
    if !s.one_frame {
        ask(&clients, &mut served)?; // and now all at once
    }
    let open = clients.len();
    Ok(format!("{served} answers on {open} connections, all of them open"))
}

fn memory(s: &mut Subject) -> Observed {
    let ask = || {
        (0..CLIENTS).try_for_each(|i| s.connect()?.exchange(&payload(16 << 10, i)))?;
        Ok::<usize, String>(s.server.memory_kib())
    };
    let (before, after) = (ask()?, ask()?);
    let grown = after.saturating_sub(before);
    let observed = format!("{before} KiB, then {after}: {grown} KiB more");
    if grown > MAY_KEEP_KIB { Err(Fault::Failed(observed)) } else { Ok(observed) }
}

fn descriptors(s: &mut Subject) -> Observed {
    let at_start = s.server.fds_at_start();
    // It may still be closing the last ones.
    let settled = within(s.patience, || match s.server.open_fds() {
        now if now <= at_start + SPARE_FDS => Ok(now),
        now => Err(now),
    });
    match settled {
        Ok(now) => Ok(format!("{at_start} at the start, {now} now")),
        Err(now) => Err(Fault::Failed(format!("{at_start} at the start, {now} now"))),
    }
}

fn unread_log(s: &mut Subject) -> Observed {
    s.server.kill();
    s.server = Server::start_unread(&s.recipe)?;
    let served = (0..WRONG).try_for_each(|_| {
        let client = s.connect()?;
        client.send(&[0xff; 4])?;
        client.reset()
    });
    let served = served.and_then(|()| s.serves_another());
    s.restart()?; // one that is read again
    served?;
    Ok(format!("an answer, after {WRONG} clients that went wrong"))
}

fn finishes(s: &mut Subject) -> Observed {
    let half = s.connect()?;
    let request = frame(b"begun before, finished after");
    let (before, after) = request.split_at(10);
    half.send(before)?;
    half.wait_until_read();
    // Another one takes no answers, until they wait for it and frames are left unread.
    let waiting = s.connect_narrow()?;
    let (server, us) = waiting.ends();
    let (one, mut count) = (payload(1000, 0), 0);
    while count < if s.one_frame { 1 } else { PIPELINED } {
        waiting.send(&frame(&one))?;
        count += 1;
        if leaves_unread(s.server.id(), server, us) {
            break;
        }
    }
    within(s.patience, || match under_way(us, server) {
        None | Some(0) => Ok(()),
        Some(bytes) => Err(format!("{bytes} bytes do not arrive")),
    })?;
    s.server.ask_to_end()?;
    let finish = || -> Result<(), String> {
        half.send(after)?;
        half.expect_answer(b"begun before, finished after")?;
        for at in 1..=count {
            let answered = waiting.expect_answer(&one);
            answered.map_err(|e| format!("{at} of {count} that had arrived: {e}"))?;
        }
        let _ = waiting.end(); // the server may have ended first
        match waiting.expect_end(s.patience)? {
            "the end" => Ok(()),
            how => Err(format!("{count} answers, then {how}")),
        }
    };
    // If it has died of the signal, that says more than the connection that it cut.
    finish().map_err(|e| s.server.wait_for_end(Instant::now() + s.at_once()).unwrap_or(e))?;
    Ok(format!("{count} of {count} answers, and the one to a frame that was half there"))
}

fn sigterm(s: &mut Subject) -> Observed {
    if s.server.asked_to_end.is_none() {
        s.server.ask_to_end()?;
    }
    let from = s.server.asked_to_end.unwrap_or_else(Instant::now);
    match s.server.wait_for_end(Instant::now() + s.patience + s.at_once()) {
        Some(how) => Ok(how),
        None => {
            let so_far = from.elapsed().as_secs_f64();
            Err(Fault::Failed(format!("it still runs {so_far:.1} s after the signal")))
        }
    }
}

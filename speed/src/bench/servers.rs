//! Echo servers under load: the rungs of `servers/`, as they lie beside this program, and Go's.
//!
//! The server has one core, the load the other. Each connection has one request of 64 bytes on
//! the way and sends the next when the answer is there.

use std::fs;
use std::io::{self, BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::os::fd::AsFd;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::signal::{Signal, kill};
use nix::time::{ClockId, clock_gettime};
use nix::unistd::Pid;
use socket2::SockRef;
use tcp_stream_io::sys;

use crate::measure::{Case, Sample};
use crate::threads::{pin, waited_for_core};

pub const SECTION: &str = "echo";
pub const CPU: &str = "us of CPU a request";
pub const MEMORY: &str = "KiB a connection";
pub const CALLS: &str = "system calls a request";
pub const RATE: &str = "requests/s";
pub const CONNECTIONS: [usize; 5] = [1, 10, 100, 1000, 10_000];
pub const GO: &str = "go_echo";
/// What differs at scale, and by what: the page shows these.
pub const AT_SCALE: [(&str, &str); 6] = [
    ("r03_thread_per_connection", "a thread each"),
    ("r05_poll", "poll"),
    ("r06_epoll", "epoll"),
    ("r15_io_uring", "io_uring"),
    ("r14_tokio", "tokio"),
    (GO, "Go, a goroutine each"),
];

/// Whatever takes longer has failed.
const PATIENCE: Duration = Duration::from_secs(10);
/// A server that answers nobody for so long will not answer the rest.
const SILENCE: Duration = Duration::from_secs(2);
const FRAME: usize = 4 + 64;

pub fn cases(
    cores: [usize; 2],
    [beside, out]: [&Path; 2],
    quick: bool,
    most: usize,
    notes: &mut Vec<String>,
) -> Vec<Case> {
    let mut rungs = rungs(beside);
    if rungs.is_empty() {
        notes.push(
            "echo: no server r01_…, r02_… beside this program: cargo build --release -p servers"
                .into(),
        );
    }
    match build_go(&out.join(GO)) {
        Ok(()) => rungs.push(out.join(GO)),
        Err(why) => notes.push(format!("echo {GO}: {why}")),
    }
    let mut cases = Vec::new();
    for connections in CONNECTIONS {
        if quick && ![1, 1000].contains(&connections) {
            continue;
        }
        if connections + 50 > most {
            notes.push(format!("echo at {connections}: only {most} descriptors are allowed"));
            continue;
        }
        let rungs = rungs.iter().filter(|path| connections <= 1000 || is_at_scale(path));
        cases.extend(rungs.map(|rung| {
            let (rung, peer) = (rung.clone(), name(rung));
            let run = move |time: Duration| {
                // A thread of its own, for it changes cores.
                thread::scope(|s| s.spawn(|| sample(&rung, cores, connections, 4 * time)).join())
                    .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
            };
            // The figure that is judged is taken more often.
            let rounds = match connections {
                _ if quick => 1,
                1000 => 7,
                _ => 3,
            };
            Case { section: SECTION, peer, x: connections, rounds, run: Box::new(run) }
        }));
    }
    if quick {
        return cases;
    }
    let at_scale: Vec<PathBuf> = rungs.into_iter().filter(|path| is_at_scale(path)).collect();
    cases.extend(counted(&at_scale, cores, out));
    cases
}

fn is_at_scale(path: &Path) -> bool {
    AT_SCALE.iter().any(|(server, _)| name(path) == *server)
}

/// The same servers under strace, which counts their calls.
fn counted(servers: &[PathBuf], cores: [usize; 2], out: &Path) -> Vec<Case> {
    let mut cases = Vec::new();
    for connections in [1, 100] {
        cases.extend(servers.iter().map(|server| {
            let (server, out, peer) = (server.clone(), out.join("calls"), name(server));
            let run = move |time: Duration| {
                let count = || calls_a_request(&server, cores, connections, time, &out);
                let calls = thread::scope(|s| s.spawn(count).join())
                    .unwrap_or_else(|panic| std::panic::resume_unwind(panic));
                let calls = calls.map_err(|e| io::Error::new(ErrorKind::Unsupported, e))?;
                Ok(Sample { values: vec![(CALLS, calls)], contended: false })
            };
            Case { section: SECTION, peer, x: connections, rounds: 1, run: Box::new(run) }
        }));
    }
    cases
}

/// What a long run makes more than a short one, by the requests that it answers more.
fn calls_a_request(
    server: &Path,
    cores: [usize; 2],
    connections: usize,
    time: Duration,
    list: &Path,
) -> io::Result<f64> {
    let run = |time| -> io::Result<[f64; 2]> {
        pin(cores[0])?;
        let mut strace = Command::new("strace");
        strace.args(["-f", "-qq", "-c", "-U", "calls,name", "-o"]).arg(list).arg(server);
        let mut server = Server::spawn(strace)?;
        pin(cores[1])?;
        let mut load = Load::new()?;
        load.connect(server.at, connections)?;
        let answered = load.run(Instant::now() + time)?;
        server.end_traced()?;
        let calls = fs::read_to_string(list)?;
        let rows = calls.lines().filter_map(|line| line.split_once(" ").map(|_| line.trim()));
        let counts = rows.filter(|row| !row.ends_with("total"));
        let counts = counts.filter_map(|row| row.split(' ').next()?.parse::<f64>().ok());
        Ok([counts.sum(), answered as f64])
    };
    let ([few, short], [many, long]) = (run(time)?, run(3 * time)?);
    Ok((many - few) / (long - short))
}

/// Compiles the server in Go, if a Go is there.
fn build_go(program: &Path) -> Result<(), String> {
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/peers/echo.go");
    let mut go = Command::new("go");
    go.args(["build", "-o"]).args([program, Path::new(source)]).stdin(Stdio::null());
    match go.output() {
        Ok(output) if output.status.success() => Ok(()),
        Ok(output) => Err(String::from_utf8_lossy(&output.stderr).trim().to_owned()),
        Err(e) => Err(format!("no Go to compile it: {e}")),
    }
}

/// The servers in this directory, in order.
fn rungs(dir: &Path) -> Vec<PathBuf> {
    let is_rung = |path: &PathBuf| {
        let name = name(path).into_bytes();
        matches!(name[..], [b'r', b'0'..=b'9', b'0'..=b'9', b'_', ..]) && path.extension().is_none()
    };
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    let mut rungs: Vec<PathBuf> = entries.map(|entry| entry.path()).filter(is_rung).collect();
    rungs.sort();
    rungs
}

fn name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// Asks for as many descriptors as are allowed, for us and the servers, and says how many.
pub fn allow_descriptors() -> usize {
    let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE) else { return 0 };
    match setrlimit(Resource::RLIMIT_NOFILE, hard, hard) {
        Ok(()) => hard as usize,
        Err(_) => soft as usize,
    }
}

fn sample(
    rung: &Path,
    cores: [usize; 2],
    connections: usize,
    time: Duration,
) -> io::Result<Sample> {
    pin(cores[0])?; // the server inherits it
    let server = Server::start(rung)?;
    pin(cores[1])?;

    let mut load = Load::new()?;
    let result = run_load(&server, &mut load, connections, time);
    result.map_err(|e| io::Error::new(ErrorKind::Unsupported, e))
}

fn run_load(
    server: &Server,
    load: &mut Load,
    connections: usize,
    time: Duration,
) -> io::Result<Sample> {
    load.connect(server.at, 1)?;
    load.one_each()?;
    let one = server.memory()?;
    load.connect(server.at, connections)?;
    load.one_each()?;
    let all = server.memory()?;

    let (start, cpu, waited) = (Instant::now(), server.cpu()?, waited_for_core());
    let requests = load.run(Instant::now() + time)? as f64;
    let (wall, cpu) = (start.elapsed(), server.cpu()? - cpu);
    let contended = waited_for_core() - waited > wall / 20;
    let mut values =
        vec![(CPU, cpu.as_secs_f64() * 1e6 / requests), (RATE, requests / wall.as_secs_f64())];
    if connections > 1 {
        let grown = all.saturating_sub(one) as f64;
        values.push((MEMORY, grown / (connections - 1) as f64));
    }
    Ok(Sample { values, contended })
}

/// A running server. It ends with this value, and with this process.
struct Server {
    child: Child,
    at: SocketAddr,
}

impl Server {
    fn start(path: &Path) -> io::Result<Server> {
        Server::spawn(Command::new(path))
    }

    fn spawn(mut command: Command) -> io::Result<Server> {
        command.args(["127.0.0.1", "0"]);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
        // SAFETY:
        // - between fork and exec: prctl allocates nothing and takes no lock.
        unsafe {
            command.pre_exec(|| Ok(nix::sys::prctl::set_pdeathsig(Signal::SIGKILL)?));
        }
        let mut child = command.spawn()?;
        let stdout = child.stdout.take();
        let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let mut server = Server { child, at: any }; // from here on Drop ends it
        let mut stdout = BufReader::new(stdout.ok_or(ErrorKind::BrokenPipe)?);
        if sys::poll(stdout.get_ref().as_fd(), libc::POLLIN, PATIENCE.as_millis() as i32)? == 0 {
            return Err(io::Error::new(ErrorKind::TimedOut, "it does not say that it listens"));
        }
        let mut line = String::new();
        stdout.read_line(&mut line)?;
        let address = line.trim().strip_prefix("[listen-ok] ").and_then(|at| at.parse().ok());
        server.at = address.ok_or_else(|| {
            let text = format!("its first line is {:?}, not [listen-ok] ADDR:PORT", line.trim());
            io::Error::new(ErrorKind::Unsupported, text)
        })?;
        // What else it prints is thrown away, so that it never waits for a reader.
        thread::spawn(move || io::copy(&mut stdout, &mut io::sink()));
        Ok(server)
    }

    /// Ends the one below strace, which then writes its list.
    fn end_traced(&mut self) -> io::Result<()> {
        let strace = self.child.id();
        let children = fs::read_to_string(format!("/proc/{strace}/task/{strace}/children"))?;
        let server = children.trim().parse().map_err(io::Error::other)?;
        kill(Pid::from_raw(server), Signal::SIGTERM)?;
        self.child.wait().map(drop)
    }

    /// CPU time of all its threads, user and kernel.
    fn cpu(&self) -> io::Result<Duration> {
        let clock = ClockId::pid_cpu_clock_id(Pid::from_raw(self.child.id() as i32))?;
        Ok(clock_gettime(clock)?.into())
    }

    /// KiB of memory of its own; what the kernel keeps for its sockets is not in it.
    fn memory(&self) -> io::Result<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:"));
        let kib = line.and_then(|line| line.trim().strip_suffix(" kB")?.parse().ok());
        kib.ok_or_else(|| io::Error::other("no RssAnon in /proc/PID/status"))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The clients, all in one thread.
struct Load {
    epoll: Epoll,
    request: [u8; FRAME],
    clients: Vec<Client>,
}

struct Client {
    stream: TcpStream,
    /// Bytes of the answer that are still to come.
    missing: usize,
}

impl Load {
    fn new() -> io::Result<Load> {
        let mut request = [b'x'; FRAME];
        request[..4].copy_from_slice(&64_u32.to_be_bytes());
        Ok(Load { epoll: Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?, request, clients: vec![] })
    }

    /// Connects until there are so many.
    fn connect(&mut self, server: SocketAddr, connections: usize) -> io::Result<()> {
        while self.clients.len() < connections {
            let number = self.clients.len();
            let stream = TcpStream::connect_timeout(&server, SILENCE)
                .map_err(|e| io::Error::new(e.kind(), format!("connection {number}: {e}")))?;
            stream.set_nonblocking(true)?;
            // Closed with a reset: thousands in TIME_WAIT would be in the next sample's way.
            SockRef::from(&stream).set_linger(Some(Duration::ZERO))?;
            self.epoll.add(&stream, EpollEvent::new(EpollFlags::EPOLLIN, number as u64))?;
            self.clients.push(Client { stream, missing: 0 });
        }
        Ok(())
    }

    fn ask(&mut self, number: usize) -> io::Result<()> {
        let client = &mut self.clients[number];
        client.missing = FRAME;
        // 68 bytes fit, for the last answer is here: a short write would be an error of ours.
        match (&client.stream).write(&self.request)? {
            FRAME => Ok(()),
            n => Err(io::Error::other(format!("sent {n} of {FRAME} bytes"))),
        }
    }

    /// One request on each connection.
    fn one_each(&mut self) -> io::Result<()> {
        for number in 0..self.clients.len() {
            self.ask(number)?;
        }
        let (end, mut answered) = (Instant::now() + PATIENCE, 0);
        while answered < self.clients.len() {
            let now = self.answers(|_, _| Ok(()))?;
            answered += now;
            if now == 0 || Instant::now() > end {
                let text = format!("answers {answered} of {} connections", self.clients.len());
                return Err(io::Error::new(ErrorKind::TimedOut, text));
            }
        }
        Ok(())
    }

    /// Keeps every connection busy until then, or for one request each. How many answers came.
    fn run(&mut self, end: Instant) -> io::Result<usize> {
        for number in 0..self.clients.len() {
            self.ask(number)?;
        }
        let mut answered = 0;
        while Instant::now() < end || answered < self.clients.len() {
            match self.answers(Load::ask)? {
                0 => return Err(io::Error::new(ErrorKind::TimedOut, "stops answering")),
                now => answered += now,
            }
        }
        Ok(answered)
    }

    /// Waits once, reads what came, and calls `then` for each whole answer. How many there were,
    /// and 0 after silence.
    fn answers(&mut self, then: fn(&mut Load, usize) -> io::Result<()>) -> io::Result<usize> {
        let (mut events, mut answered) = ([EpollEvent::empty(); 256], 0);
        let silent = Instant::now() + SILENCE;
        while answered == 0 && Instant::now() < silent {
            let ready = match self.epoll.wait(&mut events, SILENCE.as_millis() as u16) {
                Err(nix::errno::Errno::EINTR) => continue,
                ready => ready?,
            };
            for event in &events[..ready] {
                let number = event.data() as usize;
                let client = &mut self.clients[number];
                let n = (&client.stream).read(&mut [0; FRAME + 1])?;
                if n == 0 {
                    return Err(io::Error::new(
                        ErrorKind::UnexpectedEof,
                        "it closed a connection: not frames in plain bytes, or one a connection",
                    ));
                }
                let missing = client.missing.checked_sub(n);
                client.missing = missing.ok_or_else(|| io::Error::other("answers too much"))?;
                if client.missing == 0 {
                    answered += 1;
                    then(self, number)?;
                }
            }
        }
        Ok(answered)
    }
}

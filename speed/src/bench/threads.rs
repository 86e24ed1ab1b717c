//! Two pinned threads and a connection between them, and what others took from them meanwhile.

use std::io;
use std::sync::Barrier;
use std::thread;
use std::time::{Duration, Instant};

use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::time::{ClockId, clock_gettime};
use nix::unistd::Pid;
use tcp_stream_io::net::{accept, connect_to, listen_on};
use tcp_stream_io::{UniqueFd, sys};

/// Two cores that this process may use. With one core only, both are the same.
pub fn two_cores() -> io::Result<[usize; 2]> {
    let allowed = sched_getaffinity(Pid::from_raw(0))?;
    let mut cores = (0..CpuSet::count()).filter(|&core| allowed.is_set(core) == Ok(true));
    let first = cores.next().ok_or_else(|| io::Error::other("no core to run on"))?;
    Ok([first, cores.next().unwrap_or(first)])
}

/// Binds the calling thread, and the threads and processes it will start, to one core.
pub fn pin(core: usize) -> io::Result<()> {
    let mut set = CpuSet::new();
    set.set(core)?;
    Ok(sched_setaffinity(Pid::from_raw(0), &set)?)
}

/// Both ends of a new connection over the loopback.
pub fn pair() -> io::Result<(UniqueFd, UniqueFd)> {
    let listener = listen_on(Some("127.0.0.1"), 0, 1)?;
    let port = sys::getsockname(&listener)?.port();
    let client = connect_to("127.0.0.1", port)?;
    Ok((client, accept(&listener)?.0))
}

/// Tells a sender when to stop. The clock is asked once in a stretch of calls, not each time.
pub struct Clock {
    stretch: u32,
    left: u32,
    end: Instant,
    /// When the first stretch was done.
    warm: Option<Instant>,
    /// How many there were, and when the last of them was done.
    pub calls: u64,
    last: Instant,
}

impl Clock {
    pub fn new(stretch: usize, time: Duration) -> Clock {
        let (stretch, now) = (stretch.max(1) as u32, Instant::now());
        Clock { stretch, left: stretch, end: now + time, warm: None, calls: 0, last: now }
    }

    /// Lets so many through, whatever time it is.
    pub fn counting(n: u64) -> Clock {
        let now = Instant::now();
        Clock { stretch: n as u32, left: n as u32, end: now, warm: Some(now), calls: 0, last: now }
    }

    /// Whether to go on with one more.
    #[inline]
    pub fn more(&mut self) -> bool {
        if self.left == 0 && !self.next_stretch() {
            return false;
        }
        self.left -= 1;
        true
    }

    #[cold]
    fn next_stretch(&mut self) -> bool {
        self.calls += u64::from(self.stretch);
        self.last = Instant::now();
        if self.warm.is_some() && self.last >= self.end {
            return false;
        }
        self.warm.get_or_insert(self.last);
        self.left = self.stretch;
        true
    }

    /// Seconds a call, the first stretch left out: a new connection begins in a mode of its own.
    pub fn seconds_a_call(&self) -> f64 {
        let warm = self.warm.unwrap_or(self.last);
        let calls = self.calls - u64::from(self.stretch);
        (self.last - warm).as_secs_f64() / calls as f64
    }
}

/// Runs two roles at once, each on its core, and returns what they returned, how long both took
/// together, and whether they had their cores for themselves.
pub fn two_roles<A: Send, B: Send>(
    cores: [usize; 2],
    one: impl FnOnce() -> io::Result<A> + Send,
    other: impl FnOnce() -> io::Result<B> + Send,
) -> io::Result<(A, B, Took)> {
    let ready = Barrier::new(2);
    let (one, other) = thread::scope(|scope| {
        let one = scope.spawn(|| watched(cores[0], &ready, one));
        let other = scope.spawn(|| watched(cores[1], &ready, other));
        (join(one), join(other))
    });
    let ((a, one), (b, other)) = (one?, other?);
    let (wall, cpu) = (one.wall.max(other.wall), one.cpu.max(other.cpu));
    let cpu_both = one.cpu + other.cpu;
    let lost = if cores[0] == cores[1] {
        // One of the two is always ready to run, so the core is ours or somebody else's.
        wall.saturating_sub(one.cpu + other.cpu)
    } else {
        one.waited.max(other.waited)
    };
    Ok((a, b, Took { wall, cpu, cpu_both, contended: lost > wall / 20 }))
}

/// How long a sample took, and whether somebody else had a core for more than 5 % of that.
pub struct Took {
    pub wall: Duration,
    /// CPU time of the busier role: what would be left if each had a core for itself, and nothing
    /// to wait for. It hardly changes on a busy machine.
    pub cpu: Duration,
    /// CPU time of both roles: what the messages cost the machine.
    pub cpu_both: Duration,
    pub contended: bool,
}

struct Watched {
    wall: Duration,
    cpu: Duration,
    waited: Duration,
}

fn watched<T>(
    core: usize,
    ready: &Barrier,
    role: impl FnOnce() -> io::Result<T>,
) -> io::Result<(T, Watched)> {
    let pinned = pin(core);
    ready.wait();
    pinned?;
    let (start, cpu, waited) = (Instant::now(), cpu_time()?, waited_for_core());
    let result = role()?;
    let wall = start.elapsed();
    Ok((result, Watched { wall, cpu: cpu_time()? - cpu, waited: waited_for_core() - waited }))
}

fn join<T>(handle: thread::ScopedJoinHandle<T>) -> T {
    handle.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

fn cpu_time() -> io::Result<Duration> {
    Ok(clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID)?.into())
}

/// How long this thread was ready to run while its core did something else. man: proc(5). Zero
/// where the kernel does not count it.
pub fn waited_for_core() -> Duration {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    let field = text.split(' ').nth(1).and_then(|field| field.parse().ok());
    Duration::from_nanos(field.unwrap_or(0))
}

//! `docs/speed.md`: the tables of a run, and the sentences that they bear out.

use std::fmt::Write;
use std::path::Path;
use std::{fs, io};

use crate::cost::{self, FRAME, LINE, PAIR};
use crate::frames;
use crate::measure::Measured;
use crate::picture;
use crate::servers::{self, AT_SCALE, CALLS, CPU, MEMORY};
use crate::steps::{FRAMES, LINES, TRIPS, TWO_CORES};
use crate::stepwise;
use crate::targets;
use crate::units::{bytes, digits};

const HEAD: &str = "\
# Why the same bytes go faster

The room [speed](../speed/README.md) goes from the article's code to the fastest that it knows, one
step at a time. Each step is a short module of [its own](../speed/src/steps/mod.rs), and each table
says what the steps bought in one run on one machine. `make bench` writes this page anew.

Rates differ from machine to machine, and on a busy one from minute to minute. CPU time is that of
both sides together, user and kernel. System calls, segments and user instructions are counted, not
timed.
";

const ON_FRAMES: &str = "
A payload of 64 bytes is copied in nanoseconds. A system call takes some hundred of them, and a
segment more: it is built, goes through IP and TCP on both sides, is acknowledged, and may wake a
sleeper. The article's frame makes four calls. Gathering saves one of them; a full buffer saves the
sender's, and a full receive the receiver's. Only when both sides are rid of their calls does the rate
rise tenfold and more.

A segment of the loopback carries 65,483 bytes, a batch of step 3 up to 524,288: eight segments and
424 bytes. Those leave as a ninth segment, unless the next batch is there in time to fill it, and the
ninth costs what a full one costs. Step 5 cuts the batch where the eighth is full, through the middle
of a frame. So its segments come as near as they can to 1.04 for a thousand frames, which is 68,000
bytes by 65,483. The reader does not notice: it never knew where a send ended.

Step 6 matters where both sides have a core of their own and the machine is quiet. A reader that
sleeps has to be woken, and while a stream flows that takes longer than the next segment does.
";

const ON_LINES: &str = "
A byte at a time is a call a byte. The buffer takes them all at once, and pays for it with a copy and
a `Vec` a line and with a search that looks at one byte at a time. The last step copies nothing, and
`memchr` looks at 32 bytes at a time.
";

const ON_TRIPS: &str = "
Here nothing can be gathered across messages: each waits for the one before. Two sends cost 40 ms a
direction, Nagle's rule on one side and the delayed acknowledgement on the other. TCP_NODELAY removes
the wait and leaves two segments; one send makes them one. On two cores what is left is mostly the time
to wake a sleeper: on one core the other thread goes on where this one waits, on two an interrupt has
to go across. A reader that does not sleep saves that, for the price of its core.
";

const ON_PEERS: &str = "\
## Beside the usual crates

CPU time of the busier side, in nanoseconds a frame. The peers are std's `BufWriter` and `BufReader`,
tokio-util's codec, with 64 and 256 KiB each, and asynchronous-codec. With a deadline the clock is
asked once a KiB and once a receive.

";

const ON_LIMITS: &str = "
Two columns show how far down it could go. Raw bytes are as many bytes that nobody looks at, with the
best of three sizes of buffers. What they take is the kernel's copying, from one side's memory into
its own and from there into the other's, and nobody can take less. Ready-made frames cost their sender
nothing, for they were made before. Their receiver runs the shortest loop that finds each of them. Such
a loop has its own limit: where a frame begins is known only when the length of the one before was
read. So no frame is found sooner than a read, a change of the byte order and an addition after the
one before it, and the processor cannot work on two at a time.

";

const ON_SCALE: &str = "
## Echo servers by the number of connections

The [rungs](../servers/README.md) with one core, the load with the other. Each connection has one
request of 64 bytes on the way, and sends the next when the answer is there. A dash stands for a
server that does not answer so many.

Microseconds of the server's CPU a request:

![Microseconds of CPU a request, by the number of connections](PICTURE)

";

const ON_CALLS: &str = "
System calls a request, counted by strace, under which a server is slower and so more is ready when
it looks:

";

const ON_MEMORY: &str = "
KiB of the server's own memory a connection; what the kernel keeps for its sockets is not in it:

![KiB of memory a connection, by the number of connections](PICTURE)

";

const ON_URING: &str = "
With one connection there is nothing to share: each server makes its calls for each request. With
many, one wait tells of many requests. `poll` goes through all connections to find them; `epoll` is
told of those that have something. io_uring saves the calls to receive and to send, too: one call
hands over what is to be done for all that are ready. The work behind the calls stays, and the kernel
does some more of it: it notes each request, watches the socket for it, and has a buffer for each
connection. A thread a connection pays with a stack, and with a change of threads for each request.

";

pub fn write(path: &Path, measured: &Measured) -> io::Result<()> {
    let mut text = HEAD.to_owned();
    let _ = writeln!(text, "\nThis run: {}.\n", machine(measured));
    for (title, series, after) in [
        ("Frames one way", FRAMES, ON_FRAMES),
        ("Lines one way", LINES, ON_LINES),
        ("Request and answer on one core", TRIPS, ""),
        ("Request and answer on two cores", TWO_CORES, ON_TRIPS),
    ] {
        let rows = stepwise::rows(measured, series);
        if !rows.is_empty() {
            let _ =
                writeln!(text, "## {title}\n\n{series}; calls and segments of 1000, both sides.\n");
            text += &table(&stepwise::HEAD, &rows);
            text += after;
            text.push('\n');
        }
    }
    text += &beside(measured);
    text += &at_scale(path, measured)?;
    text += &instructions(measured);
    let text = text.trim_end().to_owned() + "\n";
    fs::write(path, text).map_err(|e| io::Error::new(e.kind(), format!("{}: {e}", path.display())))
}

/// What a reader has to know of it before comparing.
fn machine(measured: &Measured) -> String {
    let read = |path| fs::read_to_string(path).unwrap_or_default();
    let release = read("/proc/sys/kernel/osrelease");
    let cores = std::thread::available_parallelism().map_or(1, |n| n.get());
    let Measured { kept, rows, .. } = measured;
    format!(
        "Linux `{}`, {cores} cores; {kept} of its {} samples had to share a core",
        release.trim(),
        rows.iter().map(|r| (r.section, &r.peer, r.x, r.round)).collect::<Samples>().len(),
    )
}

type Samples<'a> = std::collections::HashSet<(&'a str, &'a String, usize, u32)>;

fn table<const N: usize>(head: &[&str; N], rows: &[[String; N]]) -> String {
    let mut text = format!("| {} |\n|{}\n", head.join(" | "), " --- |".repeat(N));
    for row in rows {
        let _ = writeln!(text, "| {} |", row.join(" | "));
    }
    text
}

/// The last step beside the usual crates, by CPU time.
fn beside(measured: &Measured) -> String {
    let cpu = |peer: &str, size| measured.median(frames::SECTION, peer, size, frames::CPU);
    let row = |size| {
        let (best, theirs) = targets::leanest_peer(measured, size)?;
        let (ours, safe) = (cpu("ours", size)?, cpu("ours, with a deadline", size)?);
        let (made, raw) =
            (targets::ready_made(measured, size)?, targets::raw_bytes(measured, size)?);
        let times = [ours, safe, made, raw, theirs].map(digits);
        let shares = [ours, made, raw].map(|time| digits(time / theirs));
        let ([ours, safe, made, raw, theirs], [share, limit, copying]) = (times, shares);
        let which = format!("`{best}`");
        Some([bytes(size), ours, safe, made, raw, theirs, which, share, limit, copying])
    };
    let rows: Vec<_> = frames::SIZES.into_iter().filter_map(row).collect();
    if rows.is_empty() {
        return String::new();
    }
    let head = [
        "payload",
        "ours",
        "with a deadline",
        "ready-made",
        "raw bytes",
        "best peer",
        "which",
        "ours / best",
        "ready-made / best",
        "raw / best",
    ];
    let text = table(&head, &rows);
    format!("{ON_PEERS}{text}{ON_LIMITS}")
}

/// The echo servers by the number of their connections, with a picture of each table.
fn at_scale(page: &Path, measured: &Measured) -> io::Result<String> {
    let mut text = String::new();
    for (metric, picture, about) in
        [(CPU, "cpu", ON_SCALE), (CALLS, "", ON_CALLS), (MEMORY, "memory", ON_MEMORY)]
    {
        let counts = measured.distinct(servers::SECTION, metric, |row| row.x);
        let row = |(server, what): (&str, &str)| {
            let value = |&x| measured.median(servers::SECTION, server, x, metric);
            let cells = counts.iter().map(|x| value(x).map_or("-".into(), digits));
            let cells: Vec<String> = cells.collect();
            let any = counts.iter().any(|x| value(x).is_some());
            any.then(|| format!("| `{server}` | {what} | {} |\n", cells.join(" | ")))
        };
        let rows: String = AT_SCALE.into_iter().filter_map(row).collect();
        if rows.is_empty() {
            continue;
        }
        let name = format!("speed_{picture}.svg");
        if !picture.is_empty() {
            picture::at_scale(&page.with_file_name(&name), measured, metric, &counts)?;
        }
        let counts: Vec<String> = counts.iter().map(ToString::to_string).collect();
        text += &about.replace("PICTURE", &name);
        text += &format!("| server | what it is | {} |\n", counts.join(" | "));
        text += &format!("| --- | --- |{}\n{rows}", " ---: |".repeat(counts.len()));
    }
    Ok(if text.is_empty() { text } else { text + ON_URING })
}

/// What is counted, and comes out the same each time.
fn instructions(measured: &Measured) -> String {
    let mut rows = Vec::new();
    for section in [PAIR, FRAME, LINE] {
        for peer in measured.distinct(section, cost::METRIC, |row| row.peer.as_str()) {
            let x = measured.distinct(section, cost::METRIC, |row| row.x)[0];
            let value = measured.median(section, peer, x, cost::METRIC);
            rows.push([section.into(), peer.into(), value.map_or("-".into(), digits)]);
        }
    }
    if rows.is_empty() {
        return String::new();
    }
    let text = table(&["what", "whose", "instructions"], &rows);
    format!("## User instructions\n\nCounted by callgrind, in the same program.\n\n{text}")
}

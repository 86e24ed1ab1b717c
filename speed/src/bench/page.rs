//! `docs/speed.md`: the tables of a run, and the sentences that they bear out.

use std::fmt::Write;
use std::path::Path;
use std::{fs, io};

use crate::cost::{self, FRAME, LINE, PAIR};
use crate::frames;
use crate::measure::Measured;
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
rise by a factor and not by a share.

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
the wait and leaves two segments; one send removes both. On two cores what is left is mostly the time
to wake a sleeper, and a reader that does not sleep saves that, for the price of its core.
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
        let (ours, raw) = (cpu("ours", size)?, cpu(frames::RAW_CPU, size)?);
        let safe = cpu("ours, with a deadline", size)?;
        let [share, limit] = [ours / theirs, raw / theirs].map(digits);
        let [ours, safe, theirs, raw] = [ours, safe, theirs, raw].map(digits);
        Some([bytes(size), ours, safe, raw, theirs, format!("`{best}`"), share, limit])
    };
    let rows: Vec<_> = frames::SIZES.into_iter().filter_map(row).collect();
    if rows.is_empty() {
        return String::new();
    }
    let head = [
        "payload",
        "ours",
        "with a deadline",
        "raw bytes",
        "best peer",
        "which",
        "ours / best",
        "raw / best",
    ];
    let text = table(&head, &rows);
    format!(
        "## Beside the usual crates\n\nCPU time of the busier side, in nanoseconds a frame. The peers \
         are std's `BufWriter` and `BufReader`,\ntokio-util's codec, with 64 and 256 KiB each, and \
         asynchronous-codec. Raw bytes are as many bytes\nwithout a look at them: where their share of \
         the best peer is high, the kernel's copying is what\nstands in the way, for nobody can take \
         less. With a deadline the clock is asked once a KiB and once\na receive.\n\n{text}\n"
    )
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

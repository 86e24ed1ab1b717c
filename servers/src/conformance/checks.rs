//! What every echo server is asked, one function a check.
//!
//! A check returns what it observed: `Ok` if that is what was expected.

use std::time::{Duration, Instant};

use super::client::{AT_ONCE, CAP, Client, PATIENCE, frame, payload};
use super::server::Server;
use super::tls;

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
    fn connect(&self) -> Result<Client, String> {
        Client::connect(self.server.addr, self.tls.as_ref(), self.server.watched())
    }

    fn connect_narrow(&self) -> Result<Client, String> {
        Client::connect_narrow(self.server.addr, self.tls.as_ref(), self.server.watched())
    }

    /// One that says nothing at all, not even what begins a handshake.
    fn connect_silent(&self) -> Result<Client, String> {
        Client::connect(self.server.addr, None, self.server.watched())
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

/// What a client that never reads sends at most, and what the server may grow by meanwhile.
const NEVER_READ: usize = 64 << 20;
const MAY_GROW_KIB: usize = 16 << 10;

/// Clients one after the other, twice; the second time the server may grow by so much.
const CLIENTS: usize = 500;
const MAY_KEEP_KIB: usize = 2 << 10;

/// What all are asked, in this order. The last two end the server.
pub const CHECKS: [Check; 23] = [
    Check {
        id: "echo",
        sentence: "A frame comes back as it was sent, and nothing behind it.",
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
        expected: "the end or a reset, before the server sleeps again",
        run: |s| refuses(s, &[0x00, 0x10, 0x00, 0x01]),
    },
    Check {
        id: "hostile",
        sentence: "A header that claims 4 GiB - 1 ends the connection.",
        expected: "the end or a reset, before the server sleeps again",
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
        expected: "an answer to the other, meanwhile",
        run: silent,
    },
    Check {
        id: "stalled",
        sentence: "While clients are stuck inside a frame, another is served.",
        expected: "an answer to the other, meanwhile",
        run: stalled,
    },
    Check {
        id: "silent-64",
        sentence: "While 64 clients say nothing, another is served.",
        expected: "an answer to the other, meanwhile",
        run: silent_crowd,
    },
    Check {
        id: "dropped",
        sentence: "A client that is stuck inside a frame is dropped at the deadline.",
        expected: "the end, and not long before the deadline",
        run: dropped,
    },
    Check {
        id: "never-reads",
        sentence: "A client that never reads its answers holds nobody up and fills no memory.",
        expected: "another is served; the server grows by 16 MiB at most",
        run: never_reads,
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
        id: "finishes",
        sentence: "At SIGTERM a request that has begun is finished.",
        expected: "the answer to a frame whose second half came after the signal",
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
    let end = client.expect_end(PATIENCE)?;
    Ok(format!("header 00 00 01 02, 258 bytes, then {end}"))
}

/// Also finds out which protocol the server speaks.
fn many(s: &mut Subject) -> Observed {
    let client = s.connect()?;
    client.exchange(b"first")?;
    let second = client.exchange(b"second");
    // A reader of the article's protocol ends its stream here. One that is slow or wrong does not.
    let ended = second.is_err() && client.expect_end(1).is_ok();
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
        let (before, behind) = bytes.split_at(at);
        ask(&client, &mut [before, behind].into_iter())
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
        client.exchange(b"next").map_err(|e| format!("the frame behind it: {e}"))?;
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
        how = client.expect_end(AT_ONCE)?;
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
        how = client.expect_end(PATIENCE)?;
    }
    s.serves_another()?;
    Ok(how.into())
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
        if client.expect_end(PATIENCE)? == "a reset" {
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
    let end = client.expect_end_by(from + deadline + Duration::from_secs(1))?;
    let after = from.elapsed();
    let observed = format!("{end} after {:.1} s", after.as_secs_f64());
    if after < deadline / 2 { Err(Fault::Failed(observed)) } else { Ok(observed) }
}

fn never_reads(s: &mut Subject) -> Observed {
    let before = s.server.memory_kib();
    let client = s.connect_narrow()?;
    let (size, most) = if s.one_frame { (CAP, CAP) } else { (64 << 10, NEVER_READ) };
    let request = frame(&payload(size, 0));
    let mut sent = 0;
    // Until there is no room for more, or the server has dropped us, which is its right.
    while sent < most && client.send_if_room(&request, 30) {
        sent += size;
    }
    s.serves_another()?;
    let grown = s.server.memory_kib().saturating_sub(before);
    let observed = format!("{} KiB sent, the server grew by {grown} KiB", sent >> 10);
    if grown > MAY_GROW_KIB { Err(Fault::Failed(observed)) } else { Ok(observed) }
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
    let few = || (s.server.open_fds() <= at_start + SPARE_FDS).then_some(());
    let settled = s.server.watched().asks(PATIENCE, few).is_some();
    let observed = format!("{at_start} at the start, {} now", s.server.open_fds());
    if settled { Ok(observed) } else { Err(Fault::Failed(observed)) }
}

fn finishes(s: &mut Subject) -> Observed {
    let client = s.connect()?;
    let request = frame(b"begun before, finished after");
    let (before, after) = request.split_at(10);
    client.send(before)?;
    client.wait_until_read();
    s.server.ask_to_end()?;
    // Time to die of the signal. A server that takes it as a request is still there afterwards.
    if let Some(how) = s.server.wait_for_end(10) {
        return Err(Fault::Failed(how));
    }
    client.send(after)?;
    client.expect_answer(b"begun before, finished after")?;
    Ok("the answer".into())
}

fn sigterm(s: &mut Subject) -> Observed {
    if s.server.asked_to_end.is_none() {
        s.server.ask_to_end()?;
    }
    let from = s.server.asked_to_end.unwrap_or_else(Instant::now);
    match s.server.wait_for_end(300) {
        Some(how) => Ok(how),
        None => {
            let so_far = from.elapsed().as_secs_f64();
            Err(Fault::Failed(format!("it still runs {so_far:.1} s after the signal, and sleeps")))
        }
    }
}

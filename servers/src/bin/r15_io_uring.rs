//! r15_io_uring  Ask, and be told: one call for all that is to do and all that has been done.
//!
//! Adds: io_uring: the server writes down what the kernel shall do and reads what it has done, in
//!   memory that both see. A request is answered by a chain: send the answer, then receive the
//!   next. One `io_uring_enter` hands over the chains of all clients and takes what has come.
//! Promises: as r06, a client that does not read is not read from, and none costs a thread. But
//!   where the kernel waits for bytes it has a buffer for them: each client costs 4.2 KiB.
//! Limits: those of r06. Where io_uring is forbidden, as in many containers, it ends at once.
//! At work: servers with very many small requests; monoio, compio and tokio-uring have it inside.
//!   Elsewhere epoll is fast enough, and lends no memory away.

use std::io::{self, ErrorKind};
use std::os::fd::{AsRawFd, FromRawFd, RawFd};
use std::process::ExitCode;
use std::{mem, ptr};

use io_uring::squeue::{Entry, Flags};
use io_uring::types::{Fd, Timespec};
use io_uring::{IoUring, opcode};
use libc::{IPPROTO_TCP, MSG_WAITALL, SHUT_WR, SOCK_CLOEXEC, TCP_NODELAY};
use servers::conn::whole_frames;
use servers::wait::retry_eintr;
use servers::{log, start};
use tcp_stream_io::UniqueFd;
use tcp_stream_io::net::{AcceptAdvice, accept_advice};
use tcp_stream_io::sys::{self, NO_SIGPIPE};

/// The room of a client's buffer between two requests.
const ROOM: usize = 4096;

// What was asked for. What the kernel tells carries this, and the descriptor.
const ACCEPT: u8 = 0;
const PAUSE: u8 = 1;
const SEND: u8 = 2;
const SEND_THEN_RECV: u8 = 3;
const RECV: u8 = 4;

struct Server {
    ring: IoUring,
    listener: UniqueFd,
    pause: Timespec,
    /// By descriptor. None is closed while the kernel still works for it.
    clients: Vec<Option<Client>>,
}

/// A client always has something that the kernel was asked for. Until that is done, its buffer is
/// the kernel's.
struct Client {
    conn: UniqueFd,
    buffer: Vec<u8>,
    /// How many bytes have arrived and are not answered, or whose answer is just leaving.
    filled: usize,
    /// How many of them, at the front, are answers that leave.
    leaving: usize,
    /// Our end has left. What still comes is thrown away.
    finished: bool,
}

fn main() -> ExitCode {
    start::run(include_str!("r15_io_uring.rs"), |listener| {
        // Single issuer: this thread alone asks. Defer taskrun: the kernel does its part while this
        // thread waits, and does not interrupt it.
        let ring = IoUring::builder().setup_single_issuer().setup_defer_taskrun().build(4096);
        let ring = ring.map_err(|e| start::named("io_uring_setup", e))?;
        let pause = start::ACCEPT_AGAIN.into();
        Server { ring, listener, pause, clients: Vec::new() }.serve()
    })
}

impl Server {
    fn serve(&mut self) -> io::Result<()> {
        self.ask_accept()?;
        let mut done = Vec::new();
        loop {
            retry_eintr(|| self.ring.submit_and_wait(1)).map_err(enter_failed)?;
            done.extend(self.ring.completion());
            for told in done.drain(..) {
                let (fd, what) = ((told.user_data() >> 8) as usize, told.user_data() as u8);
                let result = match told.result() {
                    n @ 0.. => Ok(n as usize),
                    errno => Err(io::Error::from_raw_os_error(-errno)),
                };
                match what {
                    ACCEPT => self.accepted(result)?,
                    PAUSE => self.ask_accept()?,
                    _ => self.go_on(fd, what, result)?,
                }
            }
        }
    }

    /// Asks for the next connection. (`AcceptMulti` would ask once for all. It would also keep to the
    /// limit of descriptors of that moment.)
    fn ask_accept(&mut self) -> io::Result<()> {
        let (fd, nowhere) = (Fd(self.listener.as_raw_fd()), ptr::null_mut());
        let accept = opcode::Accept::new(fd, nowhere, ptr::null_mut()).flags(SOCK_CLOEXEC);
        self.ask(&[marked(accept.build(), &self.listener, ACCEPT)])
    }

    fn accepted(&mut self, result: io::Result<usize>) -> io::Result<()> {
        match result {
            Ok(fd) => {
                // SAFETY: the kernel has just opened `fd` for this server, so nobody else owns it.
                self.admit(unsafe { UniqueFd::from_raw_fd(fd as RawFd) })?;
            }
            Err(e) => match accept_advice(&e) {
                AcceptAdvice::TryAgain => {}
                AcceptAdvice::Wait => {
                    start::say_seldom(&e);
                    let pause = opcode::Timeout::new(&raw const self.pause).build();
                    return self.ask(&[marked(pause, &self.listener, PAUSE)]);
                }
                AcceptAdvice::GiveUp => return Err(start::named("accept", e)),
            },
        }
        self.ask_accept()
    }

    fn admit(&mut self, conn: UniqueFd) -> io::Result<()> {
        // Each answer leaves at once, also while an earlier one is not acknowledged.
        let _ = sys::set_option(&conn, IPPROTO_TCP, TCP_NODELAY, 1);
        let fd = conn.as_raw_fd() as usize;
        if fd >= self.clients.len() {
            self.clients.resize_with(fd + 1, || None);
        }
        let buffer = vec![0; ROOM];
        self.clients[fd] = Some(Client { conn, buffer, filled: 0, leaving: 0, finished: false });
        self.do_next(fd, Next::Recv)
    }

    /// What a client asked for is done, or has failed.
    fn go_on(&mut self, fd: usize, what: u8, result: io::Result<usize>) -> io::Result<()> {
        let Some(client) = &mut self.clients[fd] else { return Ok(()) };
        let next = match (what, result) {
            (RECV, Err(_)) if client.finished => Ok(Next::Close), // how it leaves is its own affair
            (RECV, Ok(n)) => client.received(n),
            (SEND, Ok(n)) if n == client.leaving => client.answer(),
            // The first of a chain is told of only if it fails. Then the second is not done, and not
            // told of: so there is nothing left that the kernel was asked for.
            (_, result) => Err(result.err().unwrap_or(ErrorKind::WriteZero.into())),
        };
        let next = next.unwrap_or_else(|e| {
            log::line(e);
            client.finish()
        });
        self.do_next(fd, next)
    }

    fn do_next(&mut self, fd: usize, next: Next) -> io::Result<()> {
        let Some(client) = &mut self.clients[fd] else { return Ok(()) };
        let chain: &[Entry] = match next {
            Next::Recv => &[client.recv()],
            Next::Send => &[client.send(SEND)],
            Next::SendThenRecv => {
                let silent_link = Flags::IO_LINK | Flags::SKIP_SUCCESS;
                &[client.send(SEND_THEN_RECV).flags(silent_link), client.recv()]
            }
            Next::Close => {
                self.clients[fd] = None;
                return Ok(());
            }
        };
        self.ask(chain)
    }

    /// Writes down what is to be done. The kernel reads it at the next call.
    fn ask(&mut self, chain: &[Entry]) -> io::Result<()> {
        let queue = self.ring.submission();
        let room = queue.capacity() - queue.len();
        drop(queue);
        if room < chain.len() {
            retry_eintr(|| self.ring.submit()).map_err(enter_failed)?; // a chain must not be cut
        }
        // SAFETY: they point to `self.pause` and into clients' buffers, on the heap. These stay as they
        // are until the kernel is done: a client is closed, and its buffer changed, only then.
        unsafe { self.ring.submission().push_multiple(chain) }.map_err(io::Error::other)
    }
}

/// What to ask for next.
enum Next {
    Recv,
    /// The answers alone: once they have left there is room again, or a header to refuse, or a large
    /// buffer to give back.
    Send,
    SendThenRecv,
    Close,
}

impl Client {
    fn received(&mut self, n: usize) -> io::Result<Next> {
        self.filled += n;
        if n > 0 && self.finished {
            self.filled = 0;
            return Ok(Next::Recv);
        }
        if n == 0 && self.filled > self.leaving && !self.finished {
            return Err(io::Error::new(ErrorKind::UnexpectedEof, "ended inside a frame"));
        }
        if n == 0 { Ok(Next::Close) } else { self.answer() }
    }

    /// The answers that were leaving have left. What are the next?
    fn answer(&mut self) -> io::Result<Next> {
        self.buffer.copy_within(self.leaving..self.filled, 0);
        self.filled -= mem::take(&mut self.leaving);
        if self.filled < ROOM && self.buffer.len() > ROOM {
            self.buffer.truncate(ROOM);
            self.buffer.shrink_to_fit();
        }
        let whole = whole_frames(&self.buffer[..self.filled])?;
        self.leaving = whole.bytes;
        let full = self.filled == self.buffer.len();
        if whole.bytes == 0 {
            if full {
                self.buffer.resize(2 * self.filled, 0); // memory follows what came
            }
            return Ok(Next::Recv);
        }
        let alone = full || whole.then_refused || self.buffer.len() > ROOM;
        Ok(if alone { Next::Send } else { Next::SendThenRecv })
    }

    /// No more frames: our end leaves, and the client's is waited for. Closed over bytes that nobody
    /// has read, the kernel would send a reset, which destroys the answers that have not arrived.
    fn finish(&mut self) -> Next {
        (self.filled, self.leaving) = (0, 0);
        let was_finished = mem::replace(&mut self.finished, true);
        let gone = was_finished || sys::shutdown(&self.conn, SHUT_WR).is_err();
        if gone { Next::Close } else { Next::Recv }
    }

    fn recv(&mut self) -> Entry {
        let free = &mut self.buffer[self.filled..];
        let recv =
            opcode::Recv::new(Fd(self.conn.as_raw_fd()), free.as_mut_ptr(), free.len() as u32);
        marked(recv.build(), &self.conn, RECV)
    }

    /// MSG_WAITALL: the kernel goes on until all of it has left.
    fn send(&self, what: u8) -> Entry {
        let (bytes, fd) = (&self.buffer[..self.leaving], Fd(self.conn.as_raw_fd()));
        let send = opcode::Send::new(fd, bytes.as_ptr(), bytes.len() as u32);
        marked(send.flags(NO_SIGPIPE | MSG_WAITALL).build(), &self.conn, what)
    }
}

fn enter_failed(e: io::Error) -> io::Error {
    start::named("io_uring_enter", e)
}

fn marked(entry: Entry, fd: &UniqueFd, what: u8) -> Entry {
    entry.user_data((fd.as_raw_fd() as u64) << 8 | u64::from(what))
}

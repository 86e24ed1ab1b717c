//! `half_close server|client|flood ADDR`: the smallest pair that goes through all of TCP's states.
//! The client sends, ends its stream, reads the answer to its end; the server reads to the end
//! first. `flood` is a client that sends 16 MiB.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};

fn main() -> io::Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [role, addr] = &args[..] else {
        eprintln!("usage: half_close server|client|flood ADDR");
        std::process::exit(2);
    };
    let mut all = Vec::new();
    if role == "server" {
        let (mut conn, _) = TcpListener::bind(addr)?.accept()?;
        conn.read_to_end(&mut all)?;
        conn.write_all(format!("{} bytes", all.len()).as_bytes())
    } else {
        let mut conn = TcpStream::connect(addr)?;
        conn.write_all(b"one two ")?;
        conn.write_all(b"three")?;
        if role == "flood" {
            conn.write_all(&vec![b'x'; 16 << 20])?;
        }
        conn.shutdown(Shutdown::Write)?;
        conn.read_to_end(&mut all)?;
        println!("{}", String::from_utf8_lossy(&all));
        Ok(())
    }
}

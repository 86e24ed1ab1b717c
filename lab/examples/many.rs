//! `many server|client ADDR COUNT`: so many connections, all open at once. Each carries five bytes
//! there and back.

use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::thread;

fn main() -> io::Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = args.iter().map(String::as_str).collect();
    let count = words.get(2).and_then(|count| count.parse().ok()).unwrap_or(0);
    match words[..] {
        ["server", addr, _] => server(addr, count),
        ["client", addr, _] => client(addr, count),
        _ => Err(io::Error::other("usage: many server|client ADDR COUNT")),
    }
}

fn server(addr: &str, count: usize) -> io::Result<()> {
    let listener = TcpListener::bind(addr)?;
    thread::scope(|scope| {
        for _ in 0..count {
            let (mut conn, _) = listener.accept()?;
            scope.spawn(move || -> io::Result<()> {
                let mut all = Vec::new();
                conn.read_to_end(&mut all)?;
                conn.write_all(&all)
            });
        }
        Ok(())
    })
}

fn client(addr: &str, count: usize) -> io::Result<()> {
    let conns: io::Result<Vec<_>> = (0..count).map(|_| TcpStream::connect(addr)).collect();
    for mut conn in conns? {
        conn.write_all(b"hello")?;
        conn.shutdown(std::net::Shutdown::Write)?;
        let mut all = Vec::new();
        conn.read_to_end(&mut all)?;
        assert_eq!(all, b"hello", "what came back");
    }
    Ok(())
}

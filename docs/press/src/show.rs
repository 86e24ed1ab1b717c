//! The book in a browser. A page that is a file may not read the search's files, so they are served.

use std::env;
use std::fs::File;
use std::io::{self, Write};
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Component, Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::anyhow;
use tiny_http::{Method, Request, Server};

/// Serves the books in `dir` to this machine, at a free port, until Ctrl-C, and opens one.
///
/// # Errors
/// No port, no standard output.
pub fn show(dir: &Path) -> anyhow::Result<()> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let is_korean = env::var("LANG").is_ok_and(|lang| lang.starts_with("ko"));
    let book = if is_korean { "ko" } else { "en" };
    let page = format!("http://{}/{book}/index.html", listener.local_addr()?);
    writeln!(io::stdout(), "the book: {page}   (Ctrl-C ends it)")?;
    if !open(&page) {
        writeln!(io::stdout(), "no browser found here: open that address in one")?;
    }
    serve(listener, dir)
}

/// Serves the files below `dir`. Returns only with an error.
///
/// # Errors
/// What the kernel says of the listener.
pub fn serve(listener: TcpListener, dir: &Path) -> anyhow::Result<()> {
    let server = Server::from_listener(listener, None).map_err(|e| anyhow!("{e}"))?;
    for request in server.incoming_requests() {
        let _ = answer(request, dir); // a browser that has gone is its own affair
    }
    Err(anyhow!("it accepts no more"))
}

/// Answers, and asks for the connection to end there: the server has a thread for each that is
/// open, and a browser that keeps its own waits with the next ones for a thread that never comes.
fn answer(request: Request, dir: &Path) -> io::Result<()> {
    let path = below(dir, request.url());
    let file = path.as_ref().and_then(|path| File::open(path).ok());
    let kind = match path.as_ref().and_then(|path| path.extension()?.to_str()) {
        Some("html") => "text/html; charset=utf-8",
        Some("css") => "text/css",
        Some("js") => "text/javascript",
        Some("json") => "application/json",
        Some("svg") => "image/svg+xml",
        Some("wasm") => "application/wasm",
        _ => "application/octet-stream",
    };
    let status = if file.is_some() { "200 OK" } else { "404 Not Found" };
    let length = file.as_ref().map_or(Ok(0), |file| file.metadata().map(|its| its.len()))?;
    let asks_for_body = *request.method() != Method::Head;
    let mut to = request.into_writer();
    write!(
        to,
        "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\n\
         Connection: close\r\n\r\n"
    )?;
    if let Some(mut file) = file.filter(|_| asks_for_body) {
        io::copy(&mut file, &mut to)?;
    }
    to.flush()
}

/// The file that is asked for, unless it would not be below `dir`.
fn below(dir: &Path, url: &str) -> Option<PathBuf> {
    let path = Path::new(url.split(['?', '#']).next()?.trim_start_matches('/'));
    let stays = path.components().all(|part| matches!(part, Component::Normal(_)));
    let file = dir.join(path);
    (stays && file.is_file()).then_some(file)
}

/// Whether a program was found that opens a page.
fn open(page: &str) -> bool {
    let mine = env::var("BROWSER").ok().filter(|browser| !browser.is_empty());
    let programs = mine.into_iter().chain(["xdg-open".to_owned(), "open".to_owned()]);
    let started = |program: String| {
        Command::new(program).arg(page).stdout(Stdio::null()).stderr(Stdio::null()).spawn()
    };
    programs.map(started).any(|started| started.is_ok())
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::{BufRead, BufReader, Read};
    use std::net::{SocketAddr, TcpStream};
    use std::sync::Mutex;
    use std::thread;
    use std::time::Duration;

    use super::*;

    const CONNS: usize = 32;
    const HANG: Duration = Duration::from_secs(60);

    fn ask(addr: SocketAddr, path: &str) -> String {
        let mut conn = TcpStream::connect(addr).unwrap();
        write!(conn, "GET {path} HTTP/1.1\r\nHost: {addr}\r\nConnection: close\r\n\r\n").unwrap();
        let mut answer = String::new();
        conn.read_to_string(&mut answer).unwrap();
        answer
    }

    /// As a browser does: it asks on a connection that it would keep, and ends it if it is told to.
    fn ask_and_keep(conn: TcpStream, kept: &Mutex<Vec<TcpStream>>) {
        let mut head = String::new();
        let mut reader = BufReader::new(conn);
        while !head.ends_with("\r\n\r\n") {
            reader.read_line(&mut head).unwrap();
        }
        if !head.contains("Connection: close") {
            kept.lock().unwrap().push(reader.into_inner());
        }
    }

    #[test]
    fn a_browser_that_opens_many_connections_at_once_is_answered_on_each() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let addr = listener.local_addr().unwrap();
        let connect = |_| TcpStream::connect(addr).unwrap();
        let conns: Vec<TcpStream> = (0..CONNS).map(connect).collect();
        for mut conn in &conns {
            write!(conn, "GET /a HTTP/1.1\r\nHost: {addr}\r\n\r\n").unwrap();
            conn.set_read_timeout(Some(HANG)).unwrap();
        }
        // All of them wait to be accepted before the first is.
        thread::spawn(move || serve(listener, Path::new("/nothing/is/here")));
        let kept = Mutex::new(Vec::new());
        thread::scope(|scope| {
            for conn in conns {
                scope.spawn(|| ask_and_keep(conn, &kept));
            }
        });
    }

    #[test]
    fn what_is_in_the_directory_is_served_and_nothing_above_it() {
        let dir = env::temp_dir().join(format!("press-show-{}", std::process::id()));
        fs::create_dir_all(dir.join("book/ko")).unwrap();
        fs::write(dir.join("book/ko/a.html"), "<p>책</p>").unwrap();
        fs::write(dir.join("above.html"), "not this").unwrap();
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let addr = listener.local_addr().unwrap();
        let book = dir.join("book");
        thread::spawn(move || serve(listener, &book));
        let page = ask(addr, "/ko/a.html");
        assert!(page.starts_with("HTTP/1.1 200 OK\r\n") && page.ends_with("<p>책</p>"), "{page}");
        assert!(page.to_ascii_lowercase().contains("content-type: text/html"), "{page}");
        for path in ["/ko/b.html", "/../above.html", "/ko/../../above.html", "/%2e%2e/above.html"] {
            assert!(ask(addr, path).starts_with("HTTP/1.1 404 "), "{path}");
        }
        fs::remove_dir_all(&dir).unwrap();
    }
}

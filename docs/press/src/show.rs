//! The book in a browser. A page that is a file may not read the search's files, so they are served.

use std::env;
use std::fs::File;
use std::io;
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Component, Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::anyhow;
use tiny_http::{Header, Request, Response, Server, StatusCode};

/// Serves the books in `dir` to this machine, at a free port, until Ctrl-C, and opens one.
///
/// # Errors
/// No port, no standard output.
pub fn show(dir: &Path) -> anyhow::Result<()> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let is_korean = env::var("LANG").is_ok_and(|lang| lang.starts_with("ko"));
    let book = if is_korean { "ko" } else { "en" };
    let page = format!("http://{}/{book}/index.html", listener.local_addr()?);
    use io::Write;
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

fn answer(request: Request, dir: &Path) -> io::Result<()> {
    let path = below(dir, request.url());
    let Some(file) = path.as_ref().and_then(|path| File::open(path).ok()) else {
        return request.respond(Response::empty(StatusCode(404)));
    };
    let kind = match path.as_ref().and_then(|path| path.extension()?.to_str()) {
        Some("html") => "text/html; charset=utf-8",
        Some("css") => "text/css",
        Some("js") => "text/javascript",
        Some("json") => "application/json",
        Some("svg") => "image/svg+xml",
        Some("wasm") => "application/wasm",
        _ => "application/octet-stream",
    };
    let kind = Header::from_bytes("Content-Type", kind).expect("it is ASCII");
    request.respond(Response::from_file(file).with_header(kind))
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
    use std::io::{Read, Write};
    use std::net::{SocketAddr, TcpStream};
    use std::thread;

    use super::*;

    fn ask(addr: SocketAddr, path: &str) -> String {
        let mut conn = TcpStream::connect(addr).unwrap();
        write!(conn, "GET {path} HTTP/1.1\r\nHost: {addr}\r\nConnection: close\r\n\r\n").unwrap();
        let mut answer = String::new();
        conn.read_to_string(&mut answer).unwrap();
        answer
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

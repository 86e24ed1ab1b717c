//! refused: getaddrinfo was never called

use std::net::SocketAddr;
use std::process::ExitCode;

fn resolve(host: Option<&str>, port: u16) -> Result<Vec<SocketAddr>, i32> {
    match host.unwrap_or("0.0.0.0").parse() {
        Ok(ip) => Ok(vec![SocketAddr::new(ip, port)]),
        Err(_) => Err(libc::EAI_NONAME),
    }
}

fn main() -> ExitCode {
    grader::resolve::grade(resolve)
}

//! A call's arguments, as strace(1) writes them, made short: what teaches stays.

/// The arguments one by one. Quotes, braces and brackets hold together what they enclose.
pub fn split(args: &str) -> Vec<&str> {
    let (mut parts, mut begin, mut depth) = (Vec::new(), 0, 0usize);
    let (mut quoted, mut escaped) = (false, false);
    for (index, character) in args.char_indices() {
        match character {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            _ if quoted => {}
            '{' | '[' | '(' => depth += 1,
            '}' | ']' | ')' => depth = depth.saturating_sub(1),
            ',' if depth == 0 => {
                parts.push(args[begin..index].trim());
                begin = index + 1;
            }
            _ => {}
        }
    }
    let last = args[begin..].trim();
    if !last.is_empty() || !parts.is_empty() {
        parts.push(last);
    }
    parts
}

/// The arguments of the call `name` in their short form: addresses as `10.0.0.2:9000`, gathered
/// buffers as `["a", "b"]`; without lengths that repeat what is seen and without empty tails.
pub fn brief(name: &str, args: &str) -> Vec<String> {
    let mut parts = split(args);
    match name {
        "socket" => parts.truncate(2),
        "accept" | "accept4" => parts.truncate(2),
        "bind" | "connect" | "getsockname" | "getpeername" => parts.truncate(2),
        "setsockopt" | "getsockopt" => parts.truncate(4),
        "readv" | "writev" => parts.truncate(2),
        "sendto" | "recvfrom" if parts.get(4) == Some(&"NULL") => parts.truncate(4),
        _ => {}
    }
    if parts.last() == Some(&"0") && (name.starts_with("recv") || name.starts_with("send")) {
        parts.pop(); // no flags
    }
    if name.starts_with("accept") && parts.last() == Some(&"NULL") {
        parts.pop();
    }
    parts.into_iter().map(brief_one).collect()
}

fn brief_one(arg: &str) -> String {
    if let Some(address) = address(arg) {
        return address;
    }
    if let Some(from) = arg.find("msg_iov=[") {
        return buffers(&arg[from + "msg_iov=".len()..]);
    }
    if arg.starts_with("[{iov_base=") {
        return buffers(arg);
    }
    if arg.starts_with("0x7") && arg.len() > 10 {
        return "…".to_owned(); // a place in memory: no two runs agree on it
    }
    arg.replace("|SOCK_CLOEXEC", "")
}

/// `{sa_family=AF_INET, sin_port=htons(9000), sin_addr=inet_addr("10.0.0.2")}`: 10.0.0.2:9000.
fn address(arg: &str) -> Option<String> {
    let rest = arg.strip_prefix("{sa_family=AF_INET")?;
    let (_, port) = rest.split_once("htons(")?;
    let (port, rest) = port.split_once(')')?;
    let (_, ip) = rest.split_once('"')?;
    let (ip, _) = ip.split_once('"')?;
    Some(if ip.contains(':') { format!("[{ip}]:{port}") } else { format!("{ip}:{port}") })
}

/// `[{iov_base="a", iov_len=1}, …]`: `["a", …]`.
fn buffers(list: &str) -> String {
    let mut texts = Vec::new();
    let inside = list.strip_prefix('[').unwrap_or(list);
    for part in split(inside) {
        let Some(buffer) = part.strip_prefix('{') else { break };
        let base = buffer.strip_prefix("iov_base=").unwrap_or(buffer);
        texts.push(split(base)[0].to_owned());
        if !part.ends_with('}') {
            break; // the list ends here: what follows is no buffer
        }
    }
    format!("[{}]", texts.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quoted_comma_does_not_split() {
        assert_eq!(
            split(r#"4, "a, \"b", {x, [y, z]}, 0"#),
            ["4", r#""a, \"b""#, "{x, [y, z]}", "0"]
        );
        assert_eq!(split(""), [""; 0]);
    }

    #[test]
    fn addresses_and_buffers_are_short() {
        let bind =
            r#"3, {sa_family=AF_INET, sin_port=htons(90), sin_addr=inet_addr("10.0.0.2")}, 16"#;
        assert_eq!(brief("bind", bind).join(", "), "3, 10.0.0.2:90");
        let v6 = r#"3, {sa_family=AF_INET6, sin6_port=htons(90), inet_pton(AF_INET6, "::1", &sin6_addr)}, [28 => 28], SOCK_CLOEXEC"#;
        assert_eq!(brief("accept4", v6).join(", "), "3, [::1]:90");
        let message = r#"3, {msg_name=NULL, msg_namelen=0, msg_iov=[{iov_base="\x00", iov_len=1}, {iov_base="he,}", iov_len=4}], msg_iovlen=2, msg_controllen=0, msg_flags=0}, MSG_NOSIGNAL"#;
        assert_eq!(brief("sendmsg", message).join(", "), r#"3, ["\x00", "he,}"], MSG_NOSIGNAL"#);
        assert_eq!(brief("recvfrom", r#"3, "ok", 64, 0, NULL, NULL"#).join(", "), r#"3, "ok", 64"#);
        assert_eq!(
            brief("readv", r#"3, [{iov_base="ab", iov_len=2}], 1"#).join(", "),
            r#"3, ["ab"]"#
        );
    }
}

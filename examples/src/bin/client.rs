//! A terminal client over TCP: prints what comes, with control characters escaped, and sends each line that is typed.
//!
//! `client 127.0.0.1:9002 alice [TOKEN]`, then for example `Q3600|bob|tea at five?` (see `examples::gateway`).

use std::{
    env,
    io::{self, BufRead, Read, Write},
    net::{Shutdown, TcpStream},
    process::ExitCode,
    sync::{Arc, Mutex},
    thread,
};

const USAGE: &str = "usage: client HOST:PORT UID [TOKEN]";

/// Longer frames are none that the gateway sends by default.
const MAX_FRAME: usize = 16 * 1024 * 1024;

fn main() -> ExitCode {
    let args: Vec<String> = env::args().skip(1).collect();
    let (addr, uid, token) = match &args[..] {
        [addr, uid] => (addr, uid, None),
        [addr, uid, token] => (addr, uid, Some(token)),
        _ => {
            eprintln!("{USAGE}");
            return ExitCode::from(2);
        }
    };
    match chat(addr, &login(uid, token.map(String::as_str))) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("client: {error}");
            ExitCode::FAILURE
        }
    }
}

/// The first frame. With `confirm` the server knows what has arrived, and sends again what has not.
fn login(uid: &str, token: Option<&str>) -> String {
    let mut form = format!("uid={}&confirm=1", encode(uid));
    if let Some(token) = token {
        form += &format!("&token={}", encode(token));
    }
    form
}

/// Percent-encodes all but letters and digits.
fn encode(text: &str) -> String {
    text.bytes()
        .map(|byte| match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' => char::from(byte).to_string(),
            _ => format!("%{byte:02X}"),
        })
        .collect()
}

fn chat(addr: &str, login: &str) -> io::Result<()> {
    let mut incoming = TcpStream::connect(addr)?;
    incoming.set_nodelay(true)?;
    // Two threads send, one the lines, the other the confirmations: a frame must stay in one piece.
    let outgoing = Arc::new(Mutex::new(incoming.try_clone()?));
    send(&outgoing, login.as_bytes())?;
    let typing = Arc::clone(&outgoing);
    // It may wait for a line when the connection ends; the process does not wait for it.
    thread::spawn(move || send_lines(&typing));
    while let Some(frame) = read_frame(&mut incoming)? {
        if frame.is_empty() {
            // Fails once the input has ended: what is not confirmed comes again at the next login.
            let _ = send(&outgoing, &[]);
        } else {
            writeln!(io::stdout(), "{}", printable(&String::from_utf8_lossy(&frame)))?;
        }
    }
    eprintln!("client: the server closed the connection");
    Ok(())
}

/// Escapes what a terminal obeys instead of showing it, and what lets one message look like two: control characters (C0,
/// DEL and C1, so also line ends), line separators, and marks that turn the direction of the text around.
fn printable(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        let is_hidden =
            matches!(c, '\u{2028}' | '\u{2029}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
        match c {
            '\t' | '\r' | '\n' => shown.extend(c.escape_default()),
            _ if c.is_control() || is_hidden => shown.extend(c.escape_unicode()),
            _ => shown.push(c),
        }
    }
    shown
}

fn send_lines(outgoing: &Mutex<TcpStream>) {
    for line in io::stdin().lock().lines() {
        match line {
            // An empty frame is a confirmation and never a message.
            Ok(line) if line.is_empty() => {}
            Ok(line) if send(outgoing, line.as_bytes()).is_ok() => {}
            _ => break,
        }
    }
    // At the end of the input: the server closes in return, which ends the program.
    if let Ok(stream) = outgoing.lock() {
        let _ = stream.shutdown(Shutdown::Write);
    }
}

fn send(outgoing: &Mutex<TcpStream>, frame: &[u8]) -> io::Result<()> {
    let length = u32::try_from(frame.len()).map_err(io::Error::other)?;
    let bytes = [&length.to_be_bytes()[..], frame].concat();
    outgoing.lock().map_err(|_| io::Error::other("the other thread failed"))?.write_all(&bytes)
}

/// The next frame; `None` when the server has closed.
fn read_frame(incoming: &mut TcpStream) -> io::Result<Option<Vec<u8>>> {
    let mut length = [0; 4];
    match incoming.read_exact(&mut length) {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        other => other?,
    }
    let length = u32::from_be_bytes(length) as usize;
    if length > MAX_FRAME {
        return Err(io::Error::other(format!("a frame of {length} bytes")));
    }
    let mut frame = vec![0; length];
    incoming.read_exact(&mut frame)?;
    Ok(Some(frame))
}

#[cfg(test)]
mod tests {
    use super::printable;

    #[test]
    fn control_characters_are_escaped_and_other_text_is_not() {
        let text = "caf\u{e9} \u{5e9}\u{5dc}\u{5d5}\u{5dd} \u{1f375} a\\b";
        assert_eq!(printable(text), text);
        assert_eq!(printable("\r\n\t\0\u{1b}\u{7f}\u{85}\u{9f}"), r"\r\n\t\u{0}\u{1b}\u{7f}\u{85}\u{9f}");
        for c in ['\u{2028}', '\u{2029}', '\u{202a}', '\u{202e}', '\u{2066}', '\u{2069}'] {
            assert_eq!(printable(&c.to_string()), c.escape_unicode().to_string());
        }
        assert_eq!(printable(&String::from_utf8_lossy(b"\x9b2J")), "\u{fffd}2J");
    }
}

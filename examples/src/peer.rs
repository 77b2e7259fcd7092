//! What the servers that the bench compares the gateway with have in common: the command line and the ready line.

use std::{
    env,
    io::{self, Write as _},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use tokio::{net::TcpListener, runtime::Runtime};

/// `--ws ADDR` and `--workers N`, and what they mean to the gateway.
#[derive(Clone, Debug)]
#[allow(clippy::exhaustive_structs)] // Plain data.
pub struct Flags {
    /// Where to listen; `127.0.0.1:9001` unless said.
    pub ws: String,
    /// Worker threads; tokio's default, one a core, unless said.
    pub workers: Option<usize>,
}

impl Flags {
    /// Reads the command line of this process and passes over what it does not know.
    #[must_use]
    pub fn from_env() -> Self {
        let args: Vec<String> = env::args().collect();
        let flag = |name: &str| args.get(args.iter().position(|arg| arg == name)? + 1);
        Self {
            ws: flag("--ws").map_or("127.0.0.1:9001", |ws| ws).to_owned(),
            workers: flag("--workers")
                .and_then(|workers| workers.parse().ok())
                .filter(|workers| *workers > 0),
        }
    }

    /// Tokio's multi-thread runtime, as `#[tokio::main]` makes it.
    ///
    /// # Errors
    /// The operating system's, for a thread or an epoll that cannot be had.
    pub fn multi_thread(&self) -> io::Result<Runtime> {
        let mut builder = tokio::runtime::Builder::new_multi_thread();
        if let Some(workers) = self.workers {
            builder.worker_threads(workers);
        }
        builder.enable_all().build()
    }

    /// Tokio's current-thread runtime if one worker is asked for: a thread less to be woken.
    ///
    /// # Errors
    /// See [`multi_thread`](Self::multi_thread).
    pub fn smallest(&self) -> io::Result<Runtime> {
        match self.workers {
            Some(1) => tokio::runtime::Builder::new_current_thread().enable_all().build(),
            _ => self.multi_thread(),
        }
    }

    /// Listens, and says so as the gateway does.
    ///
    /// # Errors
    /// The address cannot be bound, or nobody reads the ready line.
    pub async fn listen(&self) -> io::Result<TcpListener> {
        let listener = TcpListener::bind(&self.ws).await?;
        writeln!(io::stdout(), "ready ws={}", listener.local_addr()?)?;
        Ok(listener)
    }
}

/// Reads `GET /ws?uid=NAME` with the headers of RFC 6455, section 4.1, and returns the name and the 101; `None` while the
/// request is not whole, and for a request that asks for nothing of the kind.
#[must_use]
pub fn log_in(request: &[u8]) -> Option<(String, String)> {
    let head = str::from_utf8(request).ok()?.strip_suffix("\r\n\r\n")?;
    let (_, name) = head.lines().next()?.split_once("uid=")?;
    let key = head.lines().find_map(|line| {
        let (header, value) = line.split_once(':')?;
        header.eq_ignore_ascii_case("sec-websocket-key").then(|| value.trim())
    })?;
    let digest = sha1_smol::Sha1::from(format!("{key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11")).digest();
    let answer = format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Accept: {}\r\n\r\n",
        STANDARD.encode(digest.bytes())
    );
    Some((name.split(' ').next()?.to_owned(), answer))
}

/// Takes the mask off what follows a frame's lengths, the key and the payload, and returns the payload: RFC 6455,
/// section 5.3, eight bytes at a time.
pub fn unmask(masked: &mut [u8]) -> &mut [u8] {
    let Some(([a, b, c, d], payload)) = masked.split_first_chunk_mut() else { return &mut [] };
    for eight in payload.chunks_mut(8) {
        eight.iter_mut().zip([*a, *b, *c, *d, *a, *b, *c, *d]).for_each(|(byte, key)| *byte ^= key);
    }
    payload
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_answer_to_a_login_is_that_of_the_rfc() {
        let request = b"GET /ws?uid=amy HTTP/1.1\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
        let (name, answer) = log_in(request).unwrap();
        assert_eq!(name, "amy");
        assert!(answer.contains("\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"), "{answer}");
        assert_eq!(log_in(&request[..request.len() - 1]), None);
    }

    #[test]
    fn the_mask_goes_round_in_fours() {
        let mut masked: Vec<u8> = [1, 2, 3, 4].into_iter().chain(0..19).collect();
        let payload = unmask(&mut masked);
        assert_eq!(payload.len(), 19);
        assert!(payload.iter().zip(0..).all(|(byte, at)| *byte == at ^ (at % 4 + 1)));
        assert!(unmask(&mut [1, 2, 3]).is_empty());
    }
}

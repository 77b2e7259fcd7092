//! A client's connection, WebSocket or TCP: whole messages in and out, nothing decided.

use std::{
    future::poll_fn,
    io,
    net::SocketAddr,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use socket2::SockRef;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf},
    net::{TcpSocket, TcpStream},
};

use crate::load::frame::{BINARY, CLOSE, CONTINUATION, PING, PONG, TEXT, push_masked};

/// Bytes of the answer to the upgrade, at most.
const MAX_ANSWER: usize = 8 * 1024;
/// What a slow reader lets the system take on its behalf. Below the 64 KiB of a segment on the loopback interface a
/// window that was closed opens only when a timer says so, and it is the system that is slow.
const SMALL_BUFFER: u32 = 64 * 1024;
/// Read at once.
const CHUNK: usize = 32 * 1024;

/// What a connection runs over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Transport {
    WebSocket,
    Tcp,
}

/// What a login says.
pub(super) fn login(uid: &str, device: &str, transport: Transport) -> String {
    let uid: String = form_urlencoded::byte_serialize(uid.as_bytes()).collect();
    let confirm = match transport {
        Transport::WebSocket => "",
        Transport::Tcp => "&confirm=1",
    };
    format!("uid={uid}&device={device}{confirm}")
}

/// What comes from the gateway.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Incoming {
    Message(Vec<u8>),
    /// A Ping or an empty frame: the answer to it confirms what came before.
    Question(Vec<u8>),
    /// A close frame.
    Close(Option<u16>),
    /// The end of the stream.
    End,
}

/// A connection whose login was sent and not refused by the upgrade.
#[derive(Debug)]
pub(super) struct Connection {
    stream: TcpStream,
    transport: Transport,
    unsent: Vec<u8>,
    unread: Vec<u8>,
    /// The message that continuation frames are adding to.
    partial: Vec<u8>,
}

impl Connection {
    /// Connects and sends the login: a WebSocket's is done with the 101, that over TCP when it is written.
    pub(super) async fn login(
        addr: SocketAddr,
        transport: Transport,
        query: &str,
        small_buffer: bool,
    ) -> io::Result<Self> {
        let socket = TcpSocket::new_v4()?;
        if small_buffer {
            socket.set_recv_buffer_size(SMALL_BUFFER)?;
        }
        let stream = socket.connect(addr).await?;
        stream.set_nodelay(true)?;
        let (unsent, unread, partial) = (Vec::new(), Vec::new(), Vec::new());
        let mut connection = Self { stream, transport, unsent, unread, partial };
        match transport {
            Transport::WebSocket => connection.upgrade(addr, query).await?,
            Transport::Tcp => {
                connection.send(query.as_bytes());
                let login = std::mem::take(&mut connection.unsent);
                connection.stream.write_all(&login).await?;
            }
        }
        Ok(connection)
    }

    async fn upgrade(&mut self, addr: SocketAddr, query: &str) -> io::Result<()> {
        let request = format!(
            "GET /ws?{query} HTTP/1.1\r\nHost: {addr}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
        );
        self.stream.write_all(request.as_bytes()).await?;
        let body = loop {
            if let Some(end) = self.unread.windows(4).position(|four| four == b"\r\n\r\n") {
                break end + 4;
            }
            if self.unread.len() > MAX_ANSWER || self.stream.read_buf(&mut self.unread).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        };
        let head = String::from_utf8_lossy(&self.unread[..body]).into_owned();
        self.unread.drain(..body);
        match head.split(' ').nth(1) {
            Some("101") => Ok(()),
            _ => Err(io::Error::other(format!("refused: {}", head.lines().next().unwrap_or_default()))),
        }
    }

    /// Gives a message to send, which goes out while [`next`](Self::next) is waited for.
    pub(super) fn send(&mut self, message: &[u8]) {
        match self.transport {
            Transport::WebSocket => push_masked(&mut self.unsent, TEXT, message),
            Transport::Tcp => {
                // Messages are some kilobytes.
                self.unsent.extend((message.len() as u32).to_be_bytes());
                self.unsent.extend(message);
            }
        }
    }

    /// Answers a question, which confirms what came before it.
    pub(super) fn answer(&mut self, question: &[u8]) {
        match self.transport {
            Transport::WebSocket => push_masked(&mut self.unsent, PONG, question),
            Transport::Tcp => self.send(b""),
        }
    }

    /// Says goodbye; the gateway closes then.
    pub(super) fn close(&mut self) {
        match self.transport {
            Transport::WebSocket => push_masked(&mut self.unsent, CLOSE, &1000u16.to_be_bytes()),
            // Where there is no close frame, the end of the stream is one; `finish` sends it.
            Transport::Tcp => {}
        }
    }

    /// What was given to send is written, and over TCP the stream's end behind it.
    pub(super) async fn finish(&mut self) -> io::Result<()> {
        let unsent = std::mem::take(&mut self.unsent);
        self.stream.write_all(&unsent).await?;
        match self.transport {
            Transport::WebSocket => Ok(()),
            Transport::Tcp => self.stream.shutdown().await,
        }
    }

    /// Writes what waits and reads on. Dropping the future loses nothing.
    pub(super) async fn next(&mut self) -> io::Result<Incoming> {
        loop {
            // The answer to the upgrade may have brought some already.
            if let Some(incoming) = self.parse()? {
                return Ok(incoming);
            }
            if poll_fn(|cx| self.poll(cx)).await? == 0 {
                return Ok(Incoming::End);
            }
        }
    }

    /// Vanishes: what is unread is lost, and the gateway gets a reset instead of a close.
    pub(super) fn reset(self) {
        // Without it the socket closes in the usual way, which is a way to vanish, too.
        let _ = SockRef::from(&self.stream).set_linger(Some(Duration::ZERO));
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        while !self.unsent.is_empty() {
            match Pin::new(&mut self.stream).poll_write(cx, &self.unsent) {
                Poll::Ready(Ok(count)) => drop(self.unsent.drain(..count)),
                // Who cannot write any more may still have something to read: the goodbye.
                Poll::Ready(Err(_)) => self.unsent.clear(),
                Poll::Pending => break,
            }
        }
        let mut chunk = [0; CHUNK];
        let mut buffer = ReadBuf::new(&mut chunk);
        ready!(Pin::new(&mut self.stream).poll_read(cx, &mut buffer))?;
        self.unread.extend_from_slice(buffer.filled());
        Poll::Ready(Ok(buffer.filled().len()))
    }

    /// Takes the next whole message.
    fn parse(&mut self) -> io::Result<Option<Incoming>> {
        match self.transport {
            Transport::Tcp => {
                let Some((length, rest)) = self.unread.split_first_chunk() else { return Ok(None) };
                let length = u32::from_be_bytes(*length) as usize;
                let Some(message) = rest.get(..length).map(<[u8]>::to_vec) else { return Ok(None) };
                self.unread.drain(..4 + length);
                Ok(Some(if length == 0 { Incoming::Question(message) } else { Incoming::Message(message) }))
            }
            Transport::WebSocket => loop {
                let Some((first, head, length)) = header(&self.unread) else { return Ok(None) };
                let Some(payload) = self.unread.get(head..head + length).map(<[u8]>::to_vec) else {
                    return Ok(None);
                };
                self.unread.drain(..head + length);
                let (whole, opcode) = (first & 0x80 != 0, first & 0x0f);
                match opcode {
                    CONTINUATION | TEXT | BINARY => {
                        self.partial.extend(payload);
                        if whole {
                            return Ok(Some(Incoming::Message(std::mem::take(&mut self.partial))));
                        }
                    }
                    PING => return Ok(Some(Incoming::Question(payload))),
                    CLOSE => {
                        let code = payload.first_chunk().copied().map(u16::from_be_bytes);
                        return Ok(Some(Incoming::Close(code)));
                    }
                    PONG => {}
                    _ => return Err(io::Error::other(format!("a frame with opcode {opcode}"))),
                }
            },
        }
    }
}

/// A server's frame: its first byte, the length of the header and that of the payload, once the header is whole.
fn header(bytes: &[u8]) -> Option<(u8, usize, usize)> {
    let (first, length) = (*bytes.first()?, *bytes.get(1)?);
    match length {
        126 => Some((first, 4, usize::from(u16::from_be_bytes(*bytes.get(2..)?.first_chunk()?)))),
        127 => Some((first, 10, usize::try_from(u64::from_be_bytes(*bytes.get(2..)?.first_chunk()?)).ok()?)),
        length => Some((first, 2, usize::from(length))),
    }
}

//! One connection to the server under load.

use std::{
    cell::RefCell,
    future::poll_fn,
    io,
    net::SocketAddr,
    pin::Pin,
    task::{Context, Poll, ready},
};

use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf},
    net::TcpStream,
};

use super::frame::{self, Walker, push_masked};

thread_local! {
    /// All connections of a thread read into one buffer: an idle one holds none.
    static BUFFER: RefCell<Box<[u8]>> = RefCell::new(vec![0; 64 * 1024].into());
}

/// Bytes of the answer to the upgrade, at most.
const MAX_ANSWER: usize = 8 * 1024;

/// A logged-in WebSocket client on a non-blocking socket, without a task or a buffer of its own.
#[derive(Debug)]
pub(super) struct Client {
    stream: TcpStream,
    walker: Walker,
    /// What the socket did not take at once.
    unsent: Vec<u8>,
}

impl Client {
    /// Connects and logs in; done with the server's 101.
    pub(super) async fn connect(addr: SocketAddr, uid: &str) -> io::Result<Self> {
        let mut stream = TcpStream::connect(addr).await?;
        stream.set_nodelay(true)?;
        let request = format!(
            "GET /ws?uid={uid} HTTP/1.1\r\nHost: {addr}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
        );
        tokio::io::AsyncWriteExt::write_all(&mut stream, request.as_bytes()).await?;
        let mut answer = [0; MAX_ANSWER];
        let mut have = 0;
        let body = loop {
            if let Some(end) = answer[..have].windows(4).position(|four| four == b"\r\n\r\n") {
                break end + 4;
            }
            match stream.read(&mut answer[have..]).await? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                read => have += read,
            }
        };
        let line = String::from_utf8_lossy(&answer[..body]).lines().next().unwrap_or_default().to_owned();
        if line.split(' ').nth(1) != Some("101") {
            return Err(io::Error::other(format!("login refused: {line}")));
        }
        let mut client = Self { stream, walker: Walker::default(), unsent: Vec::new() };
        client.walker.walk(&answer[body..have], |_| {});
        Ok(client)
    }

    /// Sends frames, keeping what the socket does not take for [`poll_messages`](Self::poll_messages) to write.
    pub(super) fn send(&mut self, frames: &[u8]) -> io::Result<()> {
        let mut written = 0;
        if self.unsent.is_empty() {
            match self.stream.try_write(frames) {
                Ok(count) => written = count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
        }
        self.unsent.extend_from_slice(&frames[written..]);
        Ok(())
    }

    /// Writes what waits, reads once, and calls `on` with the first bytes of each message; Pings are answered.
    pub(super) fn poll_messages(
        &mut self,
        cx: &mut Context<'_>,
        mut on: impl FnMut(&[u8]),
    ) -> Poll<io::Result<()>> {
        while !self.unsent.is_empty() {
            match Pin::new(&mut self.stream).poll_write(cx, &self.unsent) {
                Poll::Ready(Ok(count)) => drop(self.unsent.drain(..count)),
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => break,
            }
        }
        BUFFER.with_borrow_mut(|buffer| {
            let mut buffer = ReadBuf::new(buffer);
            ready!(Pin::new(&mut self.stream).poll_read(cx, &mut buffer))?;
            if buffer.filled().is_empty() {
                return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
            }
            let mut pongs = Vec::new();
            let mut closed = None;
            self.walker.walk(buffer.filled(), |frame| match frame.opcode {
                frame::TEXT | frame::BINARY | frame::CONTINUATION if frame.fin => {
                    on(frame.sample);
                }
                frame::PING => push_masked(&mut pongs, frame::PONG, frame.sample),
                frame::CLOSE => closed = Some(frame.sample.first_chunk().copied().map(u16::from_be_bytes)),
                _ => {}
            });
            if let Some(code) = closed {
                return Poll::Ready(Err(io::Error::other(format!("the server closed with code {code:?}"))));
            }
            if !pongs.is_empty() {
                self.send(&pongs)?;
            }
            Poll::Ready(Ok(()))
        })
    }

    /// Waits until `count` messages are there, each beginning with `operation`.
    pub(super) async fn expect(&mut self, operation: u8, mut count: u64) -> io::Result<()> {
        while count > 0 {
            let mut refused = None;
            poll_fn(|cx| {
                self.poll_messages(cx, |message| {
                    count = count.saturating_sub(1);
                    refused = refused.take().or_else(|| unexpected(message, operation));
                })
            })
            .await?;
            if let Some(error) = refused {
                return Err(error);
            }
        }
        Ok(())
    }
}

/// An error if the message is not one of this operation.
pub(super) fn unexpected(message: &[u8], operation: u8) -> Option<io::Error> {
    (message.first() != Some(&operation)).then(|| {
        let text = String::from_utf8_lossy(message);
        io::Error::other(format!("expected a message that begins with {}, got: {text}", operation as char))
    })
}

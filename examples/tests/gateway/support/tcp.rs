use std::{net::SocketAddr, path::Path, time::Duration};

use socket2::SockRef;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpStream, UnixStream},
};

use super::within;

/// A client that speaks frames.
pub(crate) struct Tcp<S = TcpStream> {
    stream: S,
    /// It answers empty frames with empty frames, and does not show them.
    confirms: bool,
    /// Bytes of frames that have not come whole.
    buffer: Vec<u8>,
}

impl Tcp {
    pub(crate) async fn connect(addr: SocketAddr) -> Self {
        let stream = within("a connection", TcpStream::connect(addr)).await.unwrap();
        stream.set_nodelay(true).unwrap();
        Self { stream, confirms: false, buffer: Vec::new() }
    }

    pub(crate) async fn login(addr: SocketAddr, login: &str) -> Self {
        let mut client = Self::connect(addr).await;
        client.log_in(login).await;
        client
    }

    /// As [`login`](Self::login), to a server that may be gone.
    #[cfg(feature = "redb")]
    pub(crate) async fn try_login(addr: SocketAddr, login: &str) -> Option<Self> {
        let stream = within("a connection or its refusal", TcpStream::connect(addr)).await.ok()?;
        let mut client = Self { stream, confirms: login.contains("&confirm=1"), buffer: Vec::new() };
        client.try_send_all([login]).await.then_some(client)
    }

    /// As [`login`](Self::login), and waits until it has taken effect.
    pub(crate) async fn settled(addr: SocketAddr, login: &str) -> Self {
        let mut client = Self::login(addr, login).await;
        client.settle().await;
        client
    }

    /// The process dies, for all that the server can see: what is unread is lost, and the connection is reset.
    pub(crate) fn vanish(self) {
        SockRef::from(&self.stream).set_linger(Some(Duration::ZERO)).unwrap();
    }

    /// Two clients on the one connection: one to read, one to write at the same time.
    pub(crate) fn split(self) -> (Self, Self) {
        let stream = self.stream.into_std().unwrap();
        let write = TcpStream::from_std(stream.try_clone().unwrap()).unwrap();
        let read = TcpStream::from_std(stream).unwrap();
        let client = |stream, buffer| Self { stream, confirms: self.confirms, buffer };
        (client(read, self.buffer), client(write, Vec::new()))
    }

    pub(crate) fn local_addr(&self) -> SocketAddr {
        self.stream.local_addr().unwrap()
    }

    /// Makes the system take little on behalf of a client that does not read.
    pub(crate) fn shrink(&self) {
        SockRef::from(&self.stream).set_recv_buffer_size(4096).unwrap();
    }
}

impl Tcp<UnixStream> {
    pub(crate) async fn unix(path: &Path, login: &str) -> Self {
        let stream = within("a connection", UnixStream::connect(path)).await.unwrap();
        Self::over(stream, login).await
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Tcp<S> {
    /// Logs in over this connection.
    pub(crate) async fn over(stream: S, login: &str) -> Self {
        let mut client = Self { stream, confirms: false, buffer: Vec::new() };
        client.log_in(login).await;
        client
    }

    /// The connection itself.
    pub(crate) fn stream(&mut self) -> &mut S {
        &mut self.stream
    }

    async fn log_in(&mut self, login: &str) {
        self.confirms = login.contains("&confirm=1");
        self.send(login).await;
    }

    /// Waits until the login has taken effect.
    pub(crate) async fn settle(&mut self) {
        let answer = self.ask("N").await;
        assert!(answer.starts_with("+users "), "{answer}");
    }

    pub(crate) async fn send(&mut self, message: impl AsRef<[u8]>) {
        self.send_all([message]).await;
    }

    /// Sends messages in one go.
    pub(crate) async fn send_all<M: AsRef<[u8]>>(&mut self, messages: impl IntoIterator<Item = M>) {
        assert!(self.try_send_all(messages).await, "the server is gone");
    }

    /// As [`send_all`](Self::send_all), to a server that may be gone: whether the system took them.
    pub(crate) async fn try_send_all<M: AsRef<[u8]>>(
        &mut self,
        messages: impl IntoIterator<Item = M>,
    ) -> bool {
        let mut bytes = Vec::new();
        for message in messages {
            let message = message.as_ref();
            bytes.extend(u32::try_from(message.len()).unwrap().to_be_bytes());
            bytes.extend(message);
        }
        within("room to write", self.stream.write_all(&bytes)).await.is_ok()
    }

    pub(crate) async fn send_raw(&mut self, bytes: &[u8]) {
        within("room to write", self.stream.write_all(bytes)).await.unwrap();
    }

    /// The next message; `None` at the end of the stream or when it is reset.
    pub(crate) async fn next(&mut self) -> Option<Vec<u8>> {
        loop {
            if let Some(frame) = self.take_frame() {
                if !(frame.is_empty() && self.confirms) {
                    return Some(frame);
                }
                // Fails when the server has gone, which the next read shows.
                let _ = within("room to write", self.stream.write_all(&[0; 4])).await;
            } else if within("a frame", self.stream.read_buf(&mut self.buffer)).await.unwrap_or(0) == 0 {
                return None;
            }
        }
    }

    fn take_frame(&mut self) -> Option<Vec<u8>> {
        let (length, rest) = self.buffer.split_first_chunk()?;
        let length = u32::from_be_bytes(*length) as usize;
        let frame = rest.get(..length)?.to_vec();
        self.buffer.drain(..4 + length);
        Some(frame)
    }

    /// The next message, as text.
    pub(crate) async fn recv(&mut self) -> String {
        let message = self.next().await.expect("the server closed");
        String::from_utf8(message).unwrap()
    }

    pub(crate) async fn ask(&mut self, question: impl AsRef<[u8]>) -> String {
        self.send(question).await;
        self.recv().await
    }

    /// Everything until the end of the stream.
    pub(crate) async fn rest(&mut self) -> Vec<String> {
        let mut rest = Vec::new();
        while let Some(message) = self.next().await {
            rest.push(String::from_utf8(message).unwrap());
        }
        rest
    }
}

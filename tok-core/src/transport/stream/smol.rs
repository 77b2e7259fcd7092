use std::{
    io::{self, IoSlice},
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use futures_io::{AsyncRead, AsyncWrite};
#[cfg(unix)]
use smol::net::unix::{UnixListener, UnixStream};
use smol::net::{TcpListener, TcpStream};

use super::{Accept, ByteStream, PeerAddr, options};

/// Any of futures-io's byte streams as a [`ByteStream`].
#[derive(Debug)]
pub struct FuturesStream<T>(T);

impl<T> FuturesStream<T> {
    /// Wraps a stream.
    pub fn new(stream: T) -> Self {
        Self(stream)
    }

    /// The stream.
    pub fn into_inner(self) -> T {
        self.0
    }
}

impl<T> AsRef<T> for FuturesStream<T> {
    fn as_ref(&self) -> &T {
        &self.0
    }
}

impl<T: AsyncRead + AsyncWrite + Send + Unpin + 'static> ByteStream for FuturesStream<T> {
    fn poll_read(&mut self, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_read(cx, buf)
    }

    fn poll_write_vectored(&mut self, cx: &mut Context<'_>, bufs: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write_vectored(cx, bufs)
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_close(cx)
    }
}

impl Accept for TcpListener {
    type Stream = FuturesStream<TcpStream>;

    async fn accept(&self) -> io::Result<(Self::Stream, PeerAddr)> {
        let (stream, addr) = Self::accept(self).await?;
        options::prepare(&stream);
        Ok((FuturesStream(stream), PeerAddr::Ip(addr)))
    }

    fn set_user_timeout(&self, stream: &Self::Stream, timeout: Duration) {
        options::set_user_timeout(&stream.0, timeout);
    }
}

#[cfg(unix)]
impl Accept for UnixListener {
    type Stream = FuturesStream<UnixStream>;

    async fn accept(&self) -> io::Result<(Self::Stream, PeerAddr)> {
        let (stream, _) = Self::accept(self).await?;
        Ok((FuturesStream(stream), PeerAddr::Unix))
    }
}

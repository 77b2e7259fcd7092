use std::{
    io::{self, IoSlice},
    net::Shutdown,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use socket2::SockRef;
#[cfg(unix)]
use tokio::net::{UnixListener, UnixStream, unix};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpStream, tcp},
};

use super::{Accept, ByteStream, PeerAddr, WriteNow, options};
use crate::transport::Frame;

/// Any of tokio's byte streams as a [`ByteStream`].
#[derive(Debug)]
pub struct TokioStream<T>(T);

impl<T> TokioStream<T> {
    /// Wraps a stream.
    pub fn new(stream: T) -> Self {
        Self(stream)
    }

    /// The stream.
    pub fn into_inner(self) -> T {
        self.0
    }
}

impl<T: AsyncRead + AsyncWrite + Send + Unpin + 'static> ByteStream for TokioStream<T> {
    fn poll_read(&mut self, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        poll_read(&mut self.0, cx, buf)
    }

    fn poll_write_vectored(&mut self, cx: &mut Context<'_>, bufs: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write_vectored(cx, bufs)
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

/// One of tokio's sockets as a [`ByteStream`] whose idle receivers senders write to directly. It is made `From` a
/// `TcpStream` or, on Unix, a `UnixStream`, and consists of the halves that tokio splits the socket into.
///
/// Dropping it ends the connection.
#[derive(Debug)]
pub struct TokioSocket<R, W> {
    reader: R,
    /// Shared with the [`writer`](ByteStream::writer).
    writer: Arc<W>,
}

macro_rules! sockets {
    ($($(#[$cfg:meta])* $socket:ty, $reader:ty, $writer:ty;)*) => {$(
        $(#[$cfg])*
        impl From<$socket> for TokioSocket<$reader, $writer> {
            fn from(socket: $socket) -> Self {
                let (reader, writer) = socket.into_split();
                Self { reader, writer: Arc::new(writer) }
            }
        }

        $(#[$cfg])*
        impl AsRef<$socket> for TokioSocket<$reader, $writer> {
            fn as_ref(&self) -> &$socket {
                self.reader.as_ref()
            }
        }

        $(#[$cfg])*
        impl ByteStream for TokioSocket<$reader, $writer> {
            // The half's own `poll_read` knows on which systems a read that does not fill its buffer has emptied the
            // socket, and spares the system call that would find nothing only there.
            fn poll_read(&mut self, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
                poll_read(&mut self.reader, cx, buf)
            }

            fn poll_write_vectored(
                &mut self,
                cx: &mut Context<'_>,
                bufs: &[IoSlice<'_>],
            ) -> Poll<io::Result<usize>> {
                let socket: &$socket = self.as_ref();
                loop {
                    ready!(socket.poll_write_ready(cx))?;
                    match write(bufs, |buf| socket.try_write(buf), |bufs| socket.try_write_vectored(bufs)) {
                        Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                        result => return Poll::Ready(result),
                    }
                }
            }

            fn poll_flush(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
                Poll::Ready(Ok(()))
            }

            fn poll_shutdown(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
                let socket: &$socket = self.as_ref();
                match SockRef::from(socket).shutdown(Shutdown::Write) {
                    // The peer was faster.
                    Err(error) if error.kind() == io::ErrorKind::NotConnected => Poll::Ready(Ok(())),
                    result => Poll::Ready(result),
                }
            }

            fn writer(&self) -> Option<Arc<dyn WriteNow>> {
                let writer: Arc<$writer> = Arc::clone(&self.writer);
                Some(writer)
            }
        }

        $(#[$cfg])*
        impl WriteNow for $writer {
            fn write_now(&self, frames: &[Frame]) -> io::Result<usize> {
                write_frames(frames, |buf| self.try_write(buf), |bufs| self.try_write_vectored(bufs))
            }
        }
    )*};
}

sockets! {
    TcpStream, tcp::OwnedReadHalf, tcp::OwnedWriteHalf;
    #[cfg(unix)]
    UnixStream, unix::OwnedReadHalf, unix::OwnedWriteHalf;
}

fn poll_read(
    stream: &mut (impl AsyncRead + Unpin),
    cx: &mut Context<'_>,
    buf: &mut [u8],
) -> Poll<io::Result<usize>> {
    let mut buf = ReadBuf::new(buf);
    ready!(Pin::new(stream).poll_read(cx, &mut buf))?;
    Poll::Ready(Ok(buf.filled().len()))
}

/// A single buffer is what mostly waits, and costs the kernel less where it is not a table of one.
fn write(
    bufs: &[IoSlice<'_>],
    single: impl FnOnce(&[u8]) -> io::Result<usize>,
    vectored: impl FnOnce(&[IoSlice<'_>]) -> io::Result<usize>,
) -> io::Result<usize> {
    match bufs {
        [buf] => single(buf),
        _ => vectored(bufs),
    }
}

fn write_frames(
    frames: &[Frame],
    single: impl FnOnce(&[u8]) -> io::Result<usize>,
    vectored: impl FnOnce(&[IoSlice<'_>]) -> io::Result<usize>,
) -> io::Result<usize> {
    const MAX_SLICES: usize = 16;
    let result = match frames {
        [frame] => single(frame.bytes()),
        _ => {
            let mut slices = [IoSlice::new(&[]); MAX_SLICES];
            frames.iter().zip(&mut slices).for_each(|(frame, slice)| *slice = IoSlice::new(frame.bytes()));
            vectored(&slices[..frames.len().min(MAX_SLICES)])
        }
    };
    match result {
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(0),
        result => result,
    }
}

impl Accept for TcpListener {
    type Stream = TokioSocket<tcp::OwnedReadHalf, tcp::OwnedWriteHalf>;

    async fn accept(&self) -> io::Result<(Self::Stream, PeerAddr)> {
        let (stream, addr) = Self::accept(self).await?;
        options::prepare(&stream);
        Ok((stream.into(), PeerAddr::Ip(addr)))
    }

    fn set_user_timeout(&self, stream: &Self::Stream, timeout: Duration) {
        let socket: &TcpStream = stream.as_ref();
        options::set_user_timeout(socket, timeout);
    }
}

#[cfg(unix)]
impl Accept for UnixListener {
    type Stream = TokioSocket<unix::OwnedReadHalf, unix::OwnedWriteHalf>;

    async fn accept(&self) -> io::Result<(Self::Stream, PeerAddr)> {
        let (stream, _) = Self::accept(self).await?;
        Ok((stream.into(), PeerAddr::Unix))
    }
}

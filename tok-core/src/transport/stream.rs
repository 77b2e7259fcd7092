use std::{
    fmt,
    io::{self, IoSlice},
    net::SocketAddr,
    sync::Arc,
    task::{Context, Poll},
};

use super::WriteNow;

/// A connection of bytes, whatever carries it: TCP, TLS, a Unix socket. What tok's transports are built over.
///
/// With the feature `tokio` any of tokio's `AsyncRead + AsyncWrite` becomes one by `TokioStream`, with the feature
/// `smol` any of futures-io's by `FuturesStream`.
///
/// # Contract
/// As tokio's and futures-io's traits of the same methods: `Pending` registers the waker, reading 0 bytes into a
/// buffer that is not empty is the end of the stream.
pub trait ByteStream: Send + Unpin + 'static {
    /// Reads at most `buf.len()` bytes.
    fn poll_read(&mut self, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>>;

    /// Writes some of `bufs`, in order, and says how many bytes it took.
    fn poll_write_vectored(&mut self, cx: &mut Context<'_>, bufs: &[IoSlice<'_>]) -> Poll<io::Result<usize>>;

    /// Pushes on what the stream itself buffers.
    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>>;

    /// Ends the writing direction; reading goes on.
    fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>>;

    /// A way to write past the owner, for streams that have one: see
    /// [`Transport::writer`](super::Transport::writer). None by default.
    fn writer(&self) -> Option<Arc<dyn WriteNow>> {
        None
    }
}

/// Where connections come from: a listening socket. Implemented for tokio's and smol's TCP and Unix listeners.
///
/// Accepting is cancel-safe: dropping the future loses no connection.
pub trait Accept: Send + Sync + 'static {
    /// What a connection is.
    type Stream: ByteStream;

    /// Waits for the next connection. TCP connections have `TCP_NODELAY` set, and keepalive, which finds a dead peer
    /// after some minutes where the transport itself cannot ask (RFC 1122 section 4.2.3.6).
    ///
    /// # Errors
    /// As the operating system's; the caller pauses and tries again.
    fn accept(&self) -> impl Future<Output = io::Result<(Self::Stream, PeerAddr)>> + Send;
}

/// The address of a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum PeerAddr {
    /// An IP address and port.
    Ip(SocketAddr),
    /// A process on this machine, through a Unix socket.
    Unix,
}

impl fmt::Display for PeerAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ip(addr) => addr.fmt(f),
            Self::Unix => f.write_str("unix"),
        }
    }
}

/// Sets what every TCP connection should have. A socket that refuses is dead already, which reading it will tell.
#[cfg(any(feature = "smol", feature = "tokio"))]
fn prepare<'s, S>(socket: &'s S)
where
    socket2::SockRef<'s>: From<&'s S>,
{
    use std::time::Duration;

    let keepalive = socket2::TcpKeepalive::new()
        .with_time(Duration::from_secs(60))
        .with_interval(Duration::from_secs(15));
    let socket = socket2::SockRef::from(socket);
    let _ = socket.set_tcp_nodelay(true);
    let _ = socket.set_tcp_keepalive(&keepalive);
}

#[cfg(feature = "tokio")]
pub use self::tokio::{TokioSocket, TokioStream};

#[cfg(feature = "tokio")]
mod tokio {
    use std::{
        io::{self, IoSlice, Read},
        net::Shutdown,
        pin::Pin,
        sync::Arc,
        task::{Context, Poll, ready},
    };

    use socket2::SockRef;
    use tokio::{
        io::{AsyncRead, AsyncWrite, Interest, ReadBuf},
        net::{TcpListener, TcpStream, UnixListener, UnixStream},
    };

    use super::{Accept, ByteStream, PeerAddr, WriteNow};
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
            let mut buf = ReadBuf::new(buf);
            ready!(Pin::new(&mut self.0).poll_read(cx, &mut buf))?;
            Poll::Ready(Ok(buf.filled().len()))
        }

        fn poll_write_vectored(
            &mut self,
            cx: &mut Context<'_>,
            bufs: &[IoSlice<'_>],
        ) -> Poll<io::Result<usize>> {
            Pin::new(&mut self.0).poll_write_vectored(cx, bufs)
        }

        fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
            Pin::new(&mut self.0).poll_flush(cx)
        }

        fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
            Pin::new(&mut self.0).poll_shutdown(cx)
        }
    }

    /// One of tokio's sockets as a [`ByteStream`] whose idle receivers senders write to directly.
    #[derive(Debug)]
    pub struct TokioSocket<S>(Arc<S>);

    impl<S> TokioSocket<S> {
        /// Wraps a socket.
        pub fn new(socket: S) -> Self {
            Self(Arc::new(socket))
        }
    }

    macro_rules! sockets {
        ($($socket:ty)*) => {$(
            impl ByteStream for TokioSocket<$socket> {
                fn poll_read(&mut self, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
                    loop {
                        ready!(self.0.poll_read_ready(cx))?;
                        match read(buf, |run| self.0.try_io(Interest::READABLE, run), &SockRef::from(&*self.0)) {
                            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                            result => return Poll::Ready(result),
                        }
                    }
                }

                fn poll_write_vectored(
                    &mut self,
                    cx: &mut Context<'_>,
                    bufs: &[IoSlice<'_>],
                ) -> Poll<io::Result<usize>> {
                    loop {
                        ready!(self.0.poll_write_ready(cx))?;
                        match write(bufs, |buf| self.0.try_write(buf), |bufs| self.0.try_write_vectored(bufs)) {
                            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                            result => return Poll::Ready(result),
                        }
                    }
                }

                fn poll_flush(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
                    Poll::Ready(Ok(()))
                }

                fn poll_shutdown(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
                    match SockRef::from(&*self.0).shutdown(Shutdown::Write) {
                        // The peer was faster.
                        Err(error) if error.kind() == io::ErrorKind::NotConnected => Poll::Ready(Ok(())),
                        result => Poll::Ready(result),
                    }
                }

                fn writer(&self) -> Option<Arc<dyn WriteNow>> {
                    let socket: Arc<$socket> = Arc::clone(&self.0);
                    Some(socket)
                }
            }

            impl WriteNow for $socket {
                fn write_now(&self, frames: &[Frame]) -> io::Result<usize> {
                    write_frames(frames, |buf| self.try_write(buf), |bufs| self.try_write_vectored(bufs))
                }
            }
        )*};
    }

    sockets!(TcpStream UnixStream);

    /// Reads once. A read that does not fill the buffer has emptied the socket; telling tokio so spares the system
    /// call that would find nothing. It has to be told within `try_io`, or an event in between would be forgotten.
    fn read(
        buf: &mut [u8],
        try_io: impl FnOnce(&mut dyn FnMut() -> io::Result<()>) -> io::Result<()>,
        mut socket: &socket2::Socket,
    ) -> io::Result<usize> {
        let mut count = None;
        let result = try_io(&mut || {
            let read = socket.read(buf)?;
            count = Some(read);
            if (1..buf.len()).contains(&read) { Err(io::ErrorKind::WouldBlock.into()) } else { Ok(()) }
        });
        count.map_or_else(|| result.map(|()| 0), Ok)
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
                frames
                    .iter()
                    .zip(&mut slices)
                    .for_each(|(frame, slice)| *slice = IoSlice::new(frame.bytes()));
                vectored(&slices[..frames.len().min(MAX_SLICES)])
            }
        };
        match result {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(0),
            result => result,
        }
    }

    impl Accept for TcpListener {
        type Stream = TokioSocket<TcpStream>;

        async fn accept(&self) -> io::Result<(Self::Stream, PeerAddr)> {
            let (stream, addr) = Self::accept(self).await?;
            super::prepare(&stream);
            Ok((TokioSocket::new(stream), PeerAddr::Ip(addr)))
        }
    }

    impl Accept for UnixListener {
        type Stream = TokioSocket<UnixStream>;

        async fn accept(&self) -> io::Result<(Self::Stream, PeerAddr)> {
            let (stream, _) = Self::accept(self).await?;
            Ok((TokioSocket::new(stream), PeerAddr::Unix))
        }
    }
}

#[cfg(feature = "smol")]
pub use self::smol::FuturesStream;

#[cfg(feature = "smol")]
mod smol {
    use std::{
        io::{self, IoSlice},
        pin::Pin,
        task::{Context, Poll},
    };

    use futures_io::{AsyncRead, AsyncWrite};
    use smol::net::{
        TcpListener, TcpStream,
        unix::{UnixListener, UnixStream},
    };

    use super::{Accept, ByteStream, PeerAddr};

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

    impl<T: AsyncRead + AsyncWrite + Send + Unpin + 'static> ByteStream for FuturesStream<T> {
        fn poll_read(&mut self, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
            Pin::new(&mut self.0).poll_read(cx, buf)
        }

        fn poll_write_vectored(
            &mut self,
            cx: &mut Context<'_>,
            bufs: &[IoSlice<'_>],
        ) -> Poll<io::Result<usize>> {
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
            super::prepare(&stream);
            Ok((FuturesStream(stream), PeerAddr::Ip(addr)))
        }
    }

    impl Accept for UnixListener {
        type Stream = FuturesStream<UnixStream>;

        async fn accept(&self) -> io::Result<(Self::Stream, PeerAddr)> {
            let (stream, _) = Self::accept(self).await?;
            Ok((FuturesStream(stream), PeerAddr::Unix))
        }
    }
}

mod options;
#[cfg(feature = "smol")]
mod smol;
#[cfg(feature = "tokio")]
mod tokio;

use std::{
    fmt,
    io::{self, IoSlice},
    net::SocketAddr,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

pub(super) use self::options::user_timeout;
#[cfg(feature = "smol")]
pub use self::smol::FuturesStream;
#[cfg(feature = "tokio")]
pub use self::tokio::{TokioSocket, TokioStream};
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

/// Where connections come from: a listening socket. Implemented for tokio's and smol's TCP listeners, and on Unix for
/// their Unix listeners.
///
/// Accepting is cancel-safe: dropping the future loses no connection.
pub trait Accept: Send + Sync + 'static {
    /// What a connection is.
    type Stream: ByteStream;

    /// Waits for the next connection.
    ///
    /// TCP connections have `TCP_NODELAY` set, and keep-alive, which finds a dead peer after three minutes where the
    /// transport itself cannot ask (RFC 1122 section 4.2.3.6). The kernel takes little that it cannot send yet: 16 KiB
    /// and a segment on Linux (`TCP_NOTSENT_LOWAT`), a send buffer of 128 KiB elsewhere. So a probe reaches a slow peer
    /// soon, and what [`written`](super::Transport::written) counts is on its way.
    ///
    /// # Errors
    /// As the operating system's; the caller pauses and tries again.
    fn accept(&self) -> impl Future<Output = io::Result<(Self::Stream, PeerAddr)>> + Send;

    /// Sets how long bytes on an accepted connection may stay unacknowledged before the operating system breaks it
    /// (TCP's user timeout, RFC 5482). [`listen`](super::listen) calls it. A listener around another one passes it on.
    ///
    /// The default ignores it. So do connections other than TCP, and systems other than Linux, which break such a
    /// connection after a time of their own.
    fn set_user_timeout(&self, stream: &Self::Stream, timeout: Duration) {
        let _ = (stream, timeout);
    }
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

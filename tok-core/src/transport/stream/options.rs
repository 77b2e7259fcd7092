//! The options of accepted TCP sockets.

use std::time::Duration;

#[cfg(any(feature = "smol", feature = "tokio"))]
pub(super) use self::sockets::{prepare, set_user_timeout};

/// TCP probes a peer that was silent for this long.
const KEEPALIVE_TIME: Duration = Duration::from_secs(60);
/// The time between two probes.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(15);
/// The unanswered probes after which TCP breaks the connection.
const KEEPALIVE_PROBES: u32 = 8;

/// The user timeout of TCP for connections whose sessions have this write timeout; `None` where that is zero.
///
/// A peer that vanishes with data unacknowledged is found as soon as keep-alive finds one that vanishes while nothing is
/// under way. Linux also breaks the connection of a live peer that takes nothing for so long. So the user timeout is
/// longer than the write timeout, and the session, which can name the reason, ends first.
pub(crate) fn user_timeout(write_timeout: Duration) -> Option<Duration> {
    let dead_after = KEEPALIVE_TIME + KEEPALIVE_INTERVAL * KEEPALIVE_PROBES;
    (!write_timeout.is_zero()).then(|| dead_after.max(write_timeout.saturating_add(KEEPALIVE_INTERVAL)))
}

#[cfg(any(feature = "smol", feature = "tokio"))]
mod sockets {
    use std::time::Duration;

    use socket2::{SockRef, TcpKeepalive};

    use super::{KEEPALIVE_INTERVAL, KEEPALIVE_PROBES, KEEPALIVE_TIME};

    /// Bytes that Linux takes for a connection beyond those that it has sent, with up to one segment more. Little enough
    /// for a probe not to wait long behind them on a slow line.
    #[cfg(any(target_os = "android", target_os = "linux"))]
    const MAX_NOT_SENT: u32 = 16 * 1024;

    /// The same bound where the system limits only what is unsent and unacknowledged together.
    #[cfg(not(any(target_os = "android", target_os = "linux")))]
    const SEND_BUFFER: usize = 128 * 1024;

    /// Sets what every TCP connection should have. A socket that refuses is dead already, which reading it will tell.
    pub(in super::super) fn prepare<'s, S>(socket: &'s S)
    where
        SockRef<'s>: From<&'s S>,
    {
        let keepalive = TcpKeepalive::new()
            .with_time(KEEPALIVE_TIME)
            .with_interval(KEEPALIVE_INTERVAL)
            .with_retries(KEEPALIVE_PROBES);
        let socket = SockRef::from(socket);
        let _ = socket.set_tcp_nodelay(true);
        let _ = socket.set_tcp_keepalive(&keepalive);
        #[cfg(any(target_os = "android", target_os = "linux"))]
        let _ = socket.set_tcp_notsent_lowat(MAX_NOT_SENT);
        #[cfg(not(any(target_os = "android", target_os = "linux")))]
        let _ = socket.set_send_buffer_size(SEND_BUFFER);
    }

    /// Sets TCP's user timeout where the system has it.
    pub(in super::super) fn set_user_timeout<'s, S>(socket: &'s S, timeout: Duration)
    where
        SockRef<'s>: From<&'s S>,
    {
        #[cfg(any(target_os = "android", target_os = "fuchsia", target_os = "linux"))]
        let _ = SockRef::from(socket).set_tcp_user_timeout(Some(timeout));
        #[cfg(not(any(target_os = "android", target_os = "fuchsia", target_os = "linux")))]
        let _ = (socket, timeout);
    }
}

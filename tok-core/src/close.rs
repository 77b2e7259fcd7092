use std::fmt;

/// Why a session ended, or was never begun. Each reason has a stable name and a stable close code.
///
/// The code is the one that a WebSocket peer sees (RFC 6455 section 7.4); other transports may show it as they can.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum CloseReason {
    /// The peer closed in good order, or ended its direction between two messages.
    PeerClosed,
    /// The connection broke: reset, cut, or ended in the middle of a message.
    Disconnected,
    /// A newer login of the same user took the place (single sign-on).
    Sso,
    /// The same device came back over the same connection; the older session ended without a goodbye.
    Replaced,
    /// [`Hub::kick`](crate::Hub::kick).
    Kicked,
    /// The hub is shutting down, or was when the login came.
    Draining,
    /// The peer reads slower than messages that are not kept arrive, or took no bytes within the write timeout.
    Slow,
    /// The peer sent nothing within the read timeout, or did not answer keep-alive probes.
    Idle,
    /// The peer sent a message over the size limit.
    TooBig,
    /// The peer sent text that is not UTF-8.
    BadText,
    /// The peer broke the transport's protocol.
    Protocol,
    /// A limit on sessions was reached; the login was not accepted.
    Full,
    /// The login was refused by authentication, or its user id is unusable.
    Unauthorized,
    /// A handler or hook panicked.
    Panicked,
    /// Another part of the server (the cluster, the queue) failed; the login was not accepted.
    Unavailable,
    /// The future returned by [`Hub::serve`](crate::Hub::serve) was dropped.
    Dropped,
    /// The application ended it: [`Session::close`](crate::Session::close) or a hook.
    Application(AppCode),
}

/// What a client should do after a close.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Reconnect {
    /// Come back at once, with jitter.
    Now,
    /// Come back after a pause: the server is full, or this client is too slow for what it asked for.
    Later,
    /// Do not come back by itself: somebody else has the place, or the client is at fault.
    Never,
}

impl CloseReason {
    /// Every reason of tok's own: all but [`Application`](Self::Application). For metrics and tables; a later version may
    /// have more.
    pub const ALL: &'static [Self] = &[
        Self::PeerClosed,
        Self::Disconnected,
        Self::Sso,
        Self::Replaced,
        Self::Kicked,
        Self::Draining,
        Self::Slow,
        Self::Idle,
        Self::TooBig,
        Self::BadText,
        Self::Protocol,
        Self::Full,
        Self::Unauthorized,
        Self::Panicked,
        Self::Unavailable,
        Self::Dropped,
    ];

    /// The reason's stable name, in lower case.
    #[must_use]
    pub const fn name(self) -> &'static str {
        self.row().0
    }

    /// The close code. 1006 (RFC 6455: never sent) stands for a connection that broke.
    #[must_use]
    pub const fn code(self) -> u16 {
        self.row().1
    }

    /// What a client that sees the code should do.
    #[must_use]
    pub const fn reconnect(self) -> Reconnect {
        self.row().2
    }

    /// Whether the peer can still be told: false where the connection is gone or the peer closed first.
    #[must_use]
    pub const fn can_say_goodbye(self) -> bool {
        !matches!(self, Self::PeerClosed | Self::Disconnected | Self::Dropped | Self::Replaced)
    }

    // The one table.
    const fn row(self) -> (&'static str, u16, Reconnect) {
        use Reconnect::{Later, Never, Now};
        match self {
            Self::PeerClosed => ("peer_closed", 1000, Never),
            Self::Disconnected => ("disconnected", 1006, Now),
            Self::Draining => ("drain", 1001, Now),
            Self::Protocol => ("protocol", 1002, Never),
            Self::BadText => ("bad_text", 1007, Never),
            Self::TooBig => ("too_big", 1009, Never),
            Self::Panicked => ("panicked", 1011, Later),
            Self::Unavailable => ("unavailable", 1013, Later),
            Self::Full => ("full", 1013, Later),
            Self::Dropped => ("dropped", 1006, Now),
            Self::Sso => ("sso", 4000, Never),
            Self::Replaced => ("replaced", 4000, Never),
            Self::Kicked => ("kicked", 4001, Never),
            Self::Slow => ("slow", 4002, Later),
            Self::Idle => ("idle", 4003, Now),
            Self::Unauthorized => ("unauthorized", 4004, Never),
            Self::Application(code) => ("application", code.0, Never),
        }
    }
}

impl fmt::Display for CloseReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A close code of the application's own, from 4100 to 4999 (RFC 6455 section 7.4.2 leaves 4000 to 4999 to
/// applications; tok keeps the first hundred).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct AppCode(u16);

impl AppCode {
    /// Takes a code from 4100 to 4999; `None` for any other.
    #[must_use]
    pub const fn new(code: u16) -> Option<Self> {
        if code >= 4100 && code <= 4999 { Some(Self(code)) } else { None }
    }

    /// The code.
    #[must_use]
    pub const fn get(self) -> u16 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn application_codes_stay_in_their_range() {
        assert_eq!(AppCode::new(4099), None);
        assert_eq!(AppCode::new(5000), None);
        assert_eq!(CloseReason::Application(AppCode::new(4100).unwrap()).code(), 4100);
    }

    #[test]
    fn all_are_listed_once() {
        // One that is new fails to compile here, until it is in both lists.
        let place = |reason: CloseReason| match reason {
            CloseReason::PeerClosed => 0,
            CloseReason::Disconnected => 1,
            CloseReason::Sso => 2,
            CloseReason::Replaced => 3,
            CloseReason::Kicked => 4,
            CloseReason::Draining => 5,
            CloseReason::Slow => 6,
            CloseReason::Idle => 7,
            CloseReason::TooBig => 8,
            CloseReason::BadText => 9,
            CloseReason::Protocol => 10,
            CloseReason::Full => 11,
            CloseReason::Unauthorized => 12,
            CloseReason::Panicked => 13,
            CloseReason::Unavailable => 14,
            CloseReason::Dropped => 15,
            CloseReason::Application(_) => usize::MAX,
        };
        let places: Vec<usize> = CloseReason::ALL.iter().map(|reason| place(*reason)).collect();
        assert_eq!(places, (0..16).collect::<Vec<_>>());
    }

    #[test]
    fn the_codes_that_clients_know_do_not_change() {
        let table = [
            (CloseReason::Sso, 4000),
            (CloseReason::Kicked, 4001),
            (CloseReason::Slow, 4002),
            (CloseReason::Idle, 4003),
            (CloseReason::Draining, 1001),
            (CloseReason::Protocol, 1002),
            (CloseReason::BadText, 1007),
            (CloseReason::TooBig, 1009),
        ];
        for (reason, code) in table {
            assert_eq!(reason.code(), code, "{reason}");
        }
    }
}

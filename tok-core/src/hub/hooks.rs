use std::{
    any::Any,
    fmt,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
};

use crate::{CloseReason, Message, Session, Uid, trace::event};

/// What a [`before_receive`](crate::HubBuilder::before_receive) hook makes of a client's message.
#[derive(Debug)]
#[non_exhaustive]
pub enum Received {
    /// The actor handles this message: the one that came, or another in its place.
    Pass(Message),
    /// It is dropped.
    Drop,
    /// The session ends.
    Close(CloseReason),
}

/// What a [`before_send`](crate::HubBuilder::before_send) hook makes of a message for one device.
#[derive(Debug)]
#[non_exhaustive]
pub enum Sending {
    /// It is sent as it is.
    Pass,
    /// The device is sent this in its place. The message keeps its id, and the log keeps the original.
    Replace(Message),
    /// The device is not sent it. It counts as confirmed there, holds nothing back, and is reported to the
    /// [`undelivered`](crate::HubBuilder::undelivered) hook.
    Refuse,
}

/// Why a message did not reach a session now, or will not at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Undelivered {
    /// The message was stored while the user was offline, and waits for the next login. The node that stored it reports
    /// it. The time to send a push notification.
    Stored,
    /// The user's last session ended without confirming the message, which is stored and waits for the next login. The node
    /// of that session reports it, also if it was reported as [`Stored`](Self::Stored) before. The time to send a push
    /// notification.
    ///
    /// In a cluster it is the last session on all nodes. A node reports each message once, as long as it runs and fewer
    /// than 16,384 other users have left messages since.
    Left,
    /// The user is offline and the message was not to be kept.
    Offline,
    /// Its TTL ran out before anyone confirmed it. It can be reported more than once.
    Expired,
    /// An overflow policy dropped it for one session.
    Dropped,
    /// A `before_send` hook refused it for one session.
    Refused,
    /// The message could not be kept, and the sessions that were given it ended without confirming it.
    NotKept,
}

type Hook<F> = Option<Arc<F>>;
pub(crate) type BeforeReceive = dyn Fn(&Session, Message) -> Received + Send + Sync;
pub(crate) type BeforeSend = dyn Fn(&Session, &Message) -> Sending + Send + Sync;
pub(crate) type AfterSend = dyn Fn(&Session, &Message) + Send + Sync;
pub(crate) type Open = dyn Fn(&Session) + Send + Sync;
pub(crate) type Close = dyn Fn(&Session, CloseReason) + Send + Sync;
pub(crate) type UndeliveredHook = dyn Fn(&Uid, &Message, Undelivered) + Send + Sync;
pub(crate) type Ping = dyn Fn(&Session) -> Message + Send + Sync;
pub(crate) type Bye = dyn Fn(&Session, CloseReason) -> Option<Message> + Send + Sync;

/// The application's hooks. A panic in one is caught and logged; those that belong to a session end it.
#[derive(Clone, Default)]
pub(crate) struct Hooks {
    pub(crate) before_receive: Hook<BeforeReceive>,
    pub(crate) before_send: Hook<BeforeSend>,
    pub(crate) after_send: Hook<AfterSend>,
    pub(crate) open: Hook<Open>,
    pub(crate) close: Hook<Close>,
    pub(crate) undelivered: Hook<UndeliveredHook>,
    pub(crate) ping: Hook<Ping>,
    pub(crate) bye: Hook<Bye>,
}

/// A hook panicked.
#[derive(Debug)]
pub(crate) struct Panicked;

impl Hooks {
    /// Whether one is called at each delivery.
    pub(crate) fn see_deliveries(&self) -> bool {
        self.before_send.is_some() || self.after_send.is_some()
    }

    pub(crate) fn before_receive(&self, session: &Session, message: Message) -> Result<Received, Panicked> {
        match &self.before_receive {
            None => Ok(Received::Pass(message)),
            Some(hook) => guard("before_receive", || hook(session, message)),
        }
    }

    pub(crate) fn before_send(&self, session: &Session, message: &Message) -> Result<Sending, Panicked> {
        self.before_send
            .as_ref()
            .map_or(Ok(Sending::Pass), |hook| guard("before_send", || hook(session, message)))
    }

    pub(crate) fn after_send(&self, session: &Session, message: &Message) -> Result<(), Panicked> {
        self.after_send.as_ref().map_or(Ok(()), |hook| guard("after_send", || hook(session, message)))
    }

    pub(crate) fn open(&self, session: &Session) -> Result<(), Panicked> {
        self.open.as_ref().map_or(Ok(()), |hook| guard("open", || hook(session)))
    }

    pub(crate) fn close(&self, session: &Session, reason: CloseReason) {
        let uid = session.device().uid();
        match reason {
            CloseReason::Slow
            | CloseReason::Idle
            | CloseReason::TooBig
            | CloseReason::BadText
            | CloseReason::Protocol
            | CloseReason::Full
            | CloseReason::Unavailable
            | CloseReason::Panicked => event!(INFO, user = ?uid, reason = %reason, "a session was ended"),
            _ => event!(DEBUG, user = ?uid, reason = %reason, "a session ended"),
        }
        if let Some(hook) = &self.close {
            let _ = guard("close", || hook(session, reason));
        }
    }

    pub(crate) fn undelivered(&self, uid: &Uid, message: &Message, why: Undelivered) {
        match why {
            Undelivered::Dropped | Undelivered::NotKept => {
                event!(WARN, user = ?uid, why = ?why, "a message was lost");
            }
            Undelivered::Expired | Undelivered::Refused => {
                event!(INFO, user = ?uid, why = ?why, "a message was not delivered");
            }
            // Nothing out of the ordinary: the sender knows, or the message waits.
            _ => event!(DEBUG, user = ?uid, why = ?why, "a message was not delivered at once"),
        }
        if let Some(hook) = &self.undelivered {
            let _ = guard("undelivered", || hook(uid, message, why));
        }
    }

    pub(crate) fn ping(&self, session: &Session) -> Result<Option<Message>, Panicked> {
        self.ping.as_ref().map_or(Ok(None), |hook| guard("ping", || hook(session)).map(Some))
    }

    pub(crate) fn bye(&self, session: &Session, reason: CloseReason) -> Option<Message> {
        guard("bye", || self.bye.as_ref().and_then(|hook| hook(session, reason))).unwrap_or_default()
    }
}

impl fmt::Debug for Hooks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Hooks")
    }
}

/// Runs user code; a panic becomes an error. `hook` names the code in the log.
pub(crate) fn guard<T>(hook: &'static str, run: impl FnOnce() -> T) -> Result<T, Panicked> {
    // Nothing of tok's is borrowed mutably by user code, so nothing of ours can be left half changed.
    catch_unwind(AssertUnwindSafe(run)).map_err(|payload| {
        event!(ERROR, hook = %hook, panic = ?text_of(&*payload), "a hook or handler panicked");
        Panicked
    })
}

/// What a panic said, cut to a length that a log can bear.
fn text_of(payload: &(dyn Any + Send)) -> &str {
    const MAX_BYTES: usize = 256;
    let text = payload.downcast_ref::<&str>().copied();
    let text = text.or_else(|| payload.downcast_ref::<String>().map(String::as_str)).unwrap_or("(no text)");
    let end = (0..=MAX_BYTES.min(text.len())).rev().find(|end| text.is_char_boundary(*end));
    &text[..end.unwrap_or_default()]
}

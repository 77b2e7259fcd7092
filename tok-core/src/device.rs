use std::{collections::BTreeMap, fmt};

use crate::{Refusal, Uid, sync::Mutex};

/// Who is at the other end: a user, one of the user's devices, and what the application noted about it.
///
/// Authentication makes one for each login and [`Hub::serve`](crate::Hub::serve) takes it; handlers see it through
/// [`Session::device`](crate::Session::device).
///
/// ```
/// use tok_core::Device;
///
/// let device = Device::new("alice").with_id("phone");
/// device.put_meta("locale", "de");
/// assert_eq!(device.meta("locale").as_deref(), Some("de"));
/// ```
pub struct Device {
    uid: Uid,
    id: Box<str>,
    confirm: Option<Confirm>,
    meta: Mutex<BTreeMap<String, String>>,
}

impl Device {
    /// A device of `uid` with an empty device id.
    #[must_use]
    pub fn new(uid: impl Into<Uid>) -> Self {
        Self { uid: uid.into(), id: "".into(), confirm: None, meta: Mutex::default() }
    }

    /// The longest device id that a login may have, in bytes.
    pub const MAX_ID_BYTES: usize = 255;

    /// Names the device, which [`Sso::PerDevice`](crate::Sso::PerDevice) and kicks go by. Empty by default. A login
    /// with an id of more than [`MAX_ID_BYTES`](Self::MAX_ID_BYTES) is refused.
    #[must_use]
    pub fn with_id(mut self, id: impl Into<String>) -> Self {
        self.id = id.into().into_boxed_str();
        self
    }

    /// Sets what it takes for a kept message to count as received by this session, in place of the hub's default.
    #[must_use]
    pub fn with_confirm(mut self, confirm: Confirm) -> Self {
        self.confirm = Some(confirm);
        self
    }

    /// The user.
    #[must_use]
    pub fn uid(&self) -> &Uid {
        &self.uid
    }

    /// The device id; empty when none was given.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The confirmation level asked for, if any.
    #[must_use]
    pub fn confirm(&self) -> Option<Confirm> {
        self.confirm
    }

    /// Returns an error if the hub refuses this device at login.
    ///
    /// # Errors
    /// A refusal with status 400 if the uid is not [valid](Uid::check), or if the device id has more than
    /// [`MAX_ID_BYTES`](Self::MAX_ID_BYTES) bytes.
    pub fn check(&self) -> Result<(), Refusal> {
        self.uid.check()?;
        if self.id.len() > Self::MAX_ID_BYTES {
            return Err(Refusal::bad_request("a device id has at most 255 bytes"));
        }
        Ok(())
    }

    /// Reads a note that authentication or a handler has put.
    #[must_use]
    pub fn meta(&self, key: &str) -> Option<String> {
        self.meta.lock().get(key).cloned()
    }

    /// Puts a note and returns the one it replaces. Notes live as long as the session.
    pub fn put_meta(&self, key: impl Into<String>, value: impl Into<String>) -> Option<String> {
        self.meta.lock().insert(key.into(), value.into())
    }
}

impl fmt::Debug for Device {
    // Metadata may hold secrets (tokens, addresses), so it stays out of logs.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Device").field("uid", &self.uid).field("id", &self.id).finish_non_exhaustive()
    }
}

/// What proves that a session has a kept message. Only then does the message leave the user's log.
///
/// Each level includes the ones before it. A message that is not confirmed when the user's last session ends stays
/// in the queue for the next login, so a stronger level loses less and repeats more.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Confirm {
    /// The operating system took its bytes. A peer that vanishes afterwards without reading them loses it.
    Written,
    /// The peer answered a probe that was sent behind it: on WebSocket the Pong that every client's stack sends by
    /// itself (RFC 6455 section 5.5.3), on TCP the empty frame of a login with `confirm=1`. It proves that the peer's
    /// network stack has read the message; behind a proxy that answers Pings itself, that the proxy has.
    /// A transport that cannot ask falls back to [`Confirm::Written`].
    #[default]
    Received,
    /// The application called [`Session::ack`](crate::Session::ack) for it or for a later one. It proves whatever
    /// the application takes the client's answer to mean.
    Acknowledged,
}

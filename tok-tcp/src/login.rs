use std::{borrow::Cow, fmt, str};

use bytes::Bytes;
use tok_core::{Device, Refusal, Uid, transport::PeerAddr};

use crate::form;

/// What a new connection shows of itself: its first frame and its address.
///
/// The frame is either `uid=NAME&device=ID&token=SECRET&confirm=1`, encoded as HTML forms are
/// (`application/x-www-form-urlencoded`: `+` is a space, `%41` is `A`), all but the uid optional and in any order; or
/// the bare name, which is taken as it is. It is a form if a part of it begins with one of these keys and `=`, so that a
/// form that lacks the uid is never mistaken for somebody's name. Of a key that comes twice, the first counts.
///
/// An application with a login format of its own reads [`frame`](Self::frame).
///
/// ```
/// use tok_core::{Device, Refusal};
/// use tok_tcp::Login;
///
/// async fn authenticate(login: Login) -> Result<Device, Refusal> {
///     match login.token().as_deref() {
///         Some("secret") => login.device(),
///         _ => Err(Refusal::unauthorized("bad token")),
///     }
/// }
/// ```
#[derive(Clone)]
pub struct Login {
    frame: Bytes,
    peer: PeerAddr,
    is_form: bool,
}

const KEYS: [&str; 4] = ["uid", "device", "token", "confirm"];

impl Login {
    /// The login of `peer` whose first frame is `frame`.
    #[must_use]
    pub fn new(frame: Bytes, peer: PeerAddr) -> Self {
        let mut parts = frame.split(|byte| *byte == b'&');
        let is_form = parts.any(|part| {
            KEYS.iter()
                .any(|key| part.strip_prefix(key.as_bytes()).is_some_and(|rest| rest.starts_with(b"=")))
        });
        Self { frame, peer, is_form }
    }

    /// The first frame, as it came.
    #[must_use]
    pub fn frame(&self) -> &Bytes {
        &self.frame
    }

    /// Returns true if the frame is a form, false if it is the bare name.
    #[must_use]
    pub fn is_form(&self) -> bool {
        self.is_form
    }

    /// The address of the peer.
    #[must_use]
    pub fn peer(&self) -> PeerAddr {
        self.peer
    }

    /// The user's name. `None` if there is none or it is not UTF-8: a repaired name could be somebody else's.
    #[must_use]
    pub fn uid(&self) -> Option<Cow<'_, str>> {
        if self.is_form {
            utf8(self.field_bytes("uid")?)
        } else {
            str::from_utf8(&self.frame).ok().map(Cow::Borrowed)
        }
    }

    /// The device id. Bytes that are not UTF-8 become U+FFFD; [`device`](Self::device) refuses them.
    #[must_use]
    pub fn device_id(&self) -> Option<Cow<'_, str>> {
        self.field("device")
    }

    /// The token.
    #[must_use]
    pub fn token(&self) -> Option<Cow<'_, str>> {
        self.field("token")
    }

    /// Whether the client answers empty frames: `confirm=1`, and no other value.
    #[must_use]
    pub fn confirm(&self) -> bool {
        self.field("confirm").as_deref() == Some("1")
    }

    /// Any field of the form; `None` when it is missing or the login is a bare name. Bytes that are not UTF-8 become
    /// U+FFFD, so different values can become the same text: read names and secrets with
    /// [`field_bytes`](Self::field_bytes).
    #[must_use]
    pub fn field(&self, key: &str) -> Option<Cow<'_, str>> {
        if !self.is_form {
            return None;
        }
        form_urlencoded::parse(&self.frame).find_map(|(k, value)| (k == key).then_some(value))
    }

    /// The bytes of any field of the form, decoded; `None` if it is missing or the login is a bare name.
    #[must_use]
    pub fn field_bytes(&self, key: &str) -> Option<Cow<'_, [u8]>> {
        if self.is_form { form::field(&self.frame, key) } else { None }
    }

    /// The device that the login claims to be. It proves nothing: check the [`token`](Self::token) first.
    ///
    /// # Errors
    /// A refusal with status 400 if there is no name, if the device id is not UTF-8, or if one of them is not
    /// [valid](Device::check).
    pub fn device(&self) -> Result<Device, Refusal> {
        let uid = Uid::from(self.uid().ok_or_else(|| Refusal::bad_request("no uid"))?.into_owned());
        let id = match self.field_bytes("device").map(utf8) {
            None => Cow::default(),
            Some(Some(id)) => id,
            Some(None) => return Err(Refusal::bad_request("the device id is not UTF-8")),
        };
        let device = Device::new(uid).with_id(id);
        device.check()?;
        Ok(device)
    }
}

/// The same bytes as text, if they are UTF-8.
fn utf8(bytes: Cow<'_, [u8]>) -> Option<Cow<'_, str>> {
    match bytes {
        Cow::Borrowed(bytes) => str::from_utf8(bytes).ok().map(Cow::Borrowed),
        Cow::Owned(bytes) => String::from_utf8(bytes).ok().map(Cow::Owned),
    }
}

impl fmt::Debug for Login {
    // The frame may hold a secret, so it stays out of logs.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Login")
            .field("peer", &self.peer)
            .field("bytes", &self.frame.len())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn login(frame: &[u8]) -> Login {
        Login::new(Bytes::copy_from_slice(frame), PeerAddr::Unix)
    }

    #[test]
    fn a_form_is_decoded() {
        let login = login(b"token=a%26b&uid=J%C3%BCrgen+K%7Cx&device=my+phone&confirm=1&locale=de&uid=other");
        assert_eq!(login.uid().as_deref(), Some("Jürgen K|x"));
        assert_eq!(login.device_id().as_deref(), Some("my phone"));
        assert_eq!(login.token().as_deref(), Some("a&b"));
        assert_eq!(login.field("locale").as_deref(), Some("de"));
        assert!(login.confirm());
    }

    #[test]
    fn a_bare_name_is_taken_as_it_is() {
        for name in ["alice", "a+b%41", "50%", "a=b", "uid", "YQ==", "x&y", "myuid=1"] {
            let login = login(name.as_bytes());
            assert_eq!(login.uid().as_deref(), Some(name));
            assert_eq!((login.device_id(), login.token(), login.confirm()), (None, None, false));
        }
    }

    #[test]
    fn a_form_without_a_usable_uid_is_no_name() {
        for frame in [&b"device=d"[..], b"token=t&user=bob", b"confirm=1", b"uid=%ff", b"\xff", b"uid=\xff"] {
            assert_eq!(login(frame).uid(), None);
            assert_eq!(login(frame).device().unwrap_err().status(), 400);
        }
        let long = format!("uid={}", "x".repeat(Uid::MAX_BYTES + 1));
        for frame in [&b""[..], b"uid=", b"uid=&device=d", long.as_bytes()] {
            assert_eq!(login(frame).device().unwrap_err().status(), 400);
        }
    }

    #[test]
    fn a_name_may_hold_a_replacement_character_of_its_own() {
        for frame in ["a\u{fffd}", "uid=a\u{fffd}", "uid=a%EF%BF%BD", "device=%ff&uid=a%ef%bf%bd"] {
            assert_eq!(login(frame.as_bytes()).uid().as_deref(), Some("a\u{fffd}"), "{frame}");
        }
        for frame in [&b"uid=\xef\xbf%BD\xff"[..], b"uid=%EF%BF", b"uid=%EF%BF%B", b"uid=%ff"] {
            assert_eq!(login(frame).uid(), None, "{}", frame.escape_ascii());
        }
    }

    #[test]
    fn device_ids_are_utf8_of_at_most_255_bytes() {
        let id = |frame: &[u8]| login(frame).device().map(|device| device.id().to_owned());
        assert_eq!(id(b"uid=a&device=x%EF%BF%BD").unwrap(), "x\u{fffd}");
        let longest = "%41".repeat(Device::MAX_ID_BYTES);
        assert_eq!(id(format!("uid=a&device={longest}").as_bytes()).unwrap().len(), Device::MAX_ID_BYTES);
        for device in ["%ff", "%ed%a0%80", &*format!("{longest}x")] {
            let refusal = id(format!("uid=a&device={device}").as_bytes()).unwrap_err();
            assert_eq!(refusal.status(), 400, "{device}");
        }
    }

    #[test]
    fn only_1_confirms() {
        for (frame, confirm) in
            [("uid=a&confirm=1", true), ("uid=a&confirm=true", false), ("uid=a&confirm", false)]
        {
            assert_eq!(login(frame.as_bytes()).confirm(), confirm, "{frame}");
        }
    }

    #[test]
    fn lengths_count_after_decoding() {
        let frame = format!("uid={}", "%41".repeat(Uid::MAX_BYTES));
        assert_eq!(login(frame.as_bytes()).device().unwrap().uid().as_str().len(), Uid::MAX_BYTES);
    }

    #[test]
    fn secrets_stay_out_of_logs() {
        assert!(!format!("{:?}", login(b"uid=a&token=hunter2")).contains("hunter2"));
    }
}

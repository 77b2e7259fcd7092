//! Who a new connection is.

use std::{
    borrow::Cow,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use tok_core::{Authenticate, Device, Refusal, async_trait, transport::PeerAddr};
use tok_tcp::Login;
use tok_ws::UpgradeHead;

use super::{operation::SEPARATOR, secret::Token};

/// A note on devices that came over TCP or a Unix socket, where the goodbye has to say what a close code says on
/// WebSocket. The many WebSocket connections carry none, which saves memory.
pub(super) const FRAMES_ONLY: &str = "frames-only";

/// Lets in who carries the token, under the name that the login claims.
#[derive(Clone, Debug)]
pub(super) struct Door {
    token: Token,
    /// Logins without a name get one of their own.
    nameless: bool,
    names_given: Arc<AtomicU64>,
}

/// What a login says, decoded.
#[derive(Default)]
struct Claim<'a> {
    uid: Option<Cow<'a, [u8]>>,
    device: Option<Cow<'a, [u8]>>,
    token: Option<Cow<'a, [u8]>>,
}

impl Door {
    pub(super) fn new(token: Token, nameless: bool) -> Self {
        Self { token, nameless, names_given: Arc::default() }
    }

    fn admit(&self, claim: Claim<'_>, peer: Option<PeerAddr>) -> Result<Device, Refusal> {
        self.decide(claim).inspect_err(|refusal| {
            let peer = peer.map_or_else(|| "unknown".to_owned(), |peer| peer.to_string());
            let (status, reason) = (refusal.status(), refusal.reason());
            tracing::info!(target: "gateway", status, reason, peer, "a login was refused");
        })
    }

    fn decide(&self, claim: Claim<'_>) -> Result<Device, Refusal> {
        if !self.token.admits(&claim.token.unwrap_or_default()) {
            return Err(Refusal::unauthorized("bad token"));
        }
        let uid = match claim.uid.filter(|uid| !(self.nameless && uid.is_empty())) {
            // A name that no login can claim.
            None if self.nameless => {
                format!("{SEPARATOR}{}", self.names_given.fetch_add(1, Ordering::Relaxed))
            }
            None => return Err(Refusal::bad_request("no uid")),
            Some(uid) if uid.contains(&(SEPARATOR as u8)) => {
                return Err(Refusal::bad_request("a uid has no |"));
            }
            Some(uid) => text(uid).ok_or_else(|| Refusal::bad_request("the uid is not UTF-8"))?,
        };
        let id = claim.device.map_or_else(|| Some(String::new()), text);
        let id = id.ok_or_else(|| Refusal::bad_request("the device id is not UTF-8"))?;
        let device = Device::new(uid).with_id(id);
        device.check()?;
        Ok(device)
    }
}

/// Bytes that are not UTF-8 are no text: a repaired name could be somebody else's.
fn text(bytes: Cow<'_, [u8]>) -> Option<String> {
    String::from_utf8(bytes.into_owned()).ok()
}

#[async_trait]
impl Authenticate<UpgradeHead> for Door {
    async fn authenticate(&self, head: UpgradeHead) -> Result<Device, Refusal> {
        let field = |name| head.query_bytes(name);
        let claim = Claim { uid: field("uid"), device: field("device"), token: field("token") };
        self.admit(claim, head.remote_addr())
    }
}

#[async_trait]
impl Authenticate<Login> for Door {
    async fn authenticate(&self, login: Login) -> Result<Device, Refusal> {
        let field = |name| login.field_bytes(name);
        // A login that is no form is a bare name.
        let bare = || Some(Cow::Borrowed(&login.frame()[..]));
        let uid = if login.is_form() { field("uid") } else { bare() };
        let claim = Claim { uid, device: field("device"), token: field("token") };
        let device = self.admit(claim, Some(login.peer()))?;
        device.put_meta(FRAMES_ONLY, "");
        Ok(device)
    }
}

#[cfg(test)]
mod tests {
    use super::{super::secret::Secret, *};

    fn admit(door: &Door, uid: Option<&[u8]>, token: Option<&str>) -> Result<String, u16> {
        let token = token.map(|token| token.as_bytes().into());
        let device = door.admit(Claim { uid: uid.map(Into::into), device: None, token }, None);
        device.map(|device| device.uid().to_string()).map_err(|refusal| refusal.status())
    }

    fn device_id(id: &[u8]) -> Result<String, u16> {
        let claim = Claim { uid: Some(b"alice".into()), device: Some(id.into()), token: None };
        let device = Door::new(Token::default(), false).admit(claim, None);
        device.map(|device| device.id().to_owned()).map_err(|refusal| refusal.status())
    }

    #[test]
    fn names_are_checked() {
        let door = Door::new(Token::default(), false);
        let (longest, too_long) = ([b'x'; 255], [b'x'; 256]);
        for uid in [b"alice", "a\u{fffd}".as_bytes(), &longest] {
            assert_eq!(admit(&door, Some(uid), None).as_deref(), Ok(std::str::from_utf8(uid).unwrap()));
        }
        for uid in
            [None, Some(&b""[..]), Some(b"a|b"), Some(b"a\xff"), Some(b"\xed\xa0\x80"), Some(&too_long)]
        {
            assert_eq!(admit(&door, uid, None), Err(400), "{uid:?}");
        }
    }

    #[test]
    fn device_ids_are_utf8_of_at_most_255_bytes() {
        let (longest, too_long) = ([b'x'; 255], [b'x'; 256]);
        for id in [b"", "a\u{fffd}|".as_bytes(), &longest] {
            assert_eq!(device_id(id).as_deref(), Ok(std::str::from_utf8(id).unwrap()));
        }
        for id in [&b"\xff"[..], b"x\xed\xa0\x80", &too_long] {
            assert_eq!(device_id(id), Err(400), "{id:?}");
        }
    }

    #[test]
    fn the_token_has_to_be_the_same() {
        let door = Door::new(Token::new(Secret::new(b"secret")), false);
        assert_eq!(admit(&door, Some(b"alice"), Some("secret")), Ok("alice".to_owned()));
        for token in [None, Some(""), Some("secre"), Some("secrets"), Some("Secret")] {
            assert_eq!(admit(&door, Some(b"alice"), token), Err(401), "{token:?}");
        }
    }

    #[test]
    fn the_nameless_get_different_names_that_nobody_can_claim() {
        let door = Door::new(Token::default(), true);
        let (first, second) = (admit(&door, None, None).unwrap(), admit(&door, Some(b""), None).unwrap());
        assert_ne!(first, second);
        assert_eq!(admit(&door, Some(first.as_bytes()), None), Err(400));
    }
}

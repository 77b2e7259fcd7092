//! Who a new connection is.

use std::{
    borrow::Cow,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use tok_core::{Authenticate, Device, Refusal, Uid, async_trait};
use tok_tcp::Login;
use tok_ws::UpgradeHead;

use super::operation::SEPARATOR;

/// A note on devices that came over TCP or a Unix socket, where the goodbye has to say what a close code says on
/// WebSocket. The many WebSocket connections carry none, which saves memory.
pub(super) const FRAMES_ONLY: &str = "frames-only";

/// Lets in who carries the token, under the name that the login claims.
#[derive(Clone, Debug)]
pub(super) struct Door {
    token: Option<Arc<str>>,
    /// Logins without a name get one of their own.
    nameless: bool,
    names_given: Arc<AtomicU64>,
}

impl Door {
    pub(super) fn new(token: Option<&str>, nameless: bool) -> Self {
        Self { token: token.map(Into::into), nameless, names_given: Arc::default() }
    }

    fn admit(
        &self,
        uid: Option<Cow<'_, str>>,
        device: Option<Cow<'_, str>>,
        token: Option<Cow<'_, str>>,
    ) -> Result<Device, Refusal> {
        let token = token.unwrap_or_default();
        if self.token.as_ref().is_some_and(|secret| !same(secret.as_bytes(), token.as_bytes())) {
            return Err(Refusal::unauthorized("bad token"));
        }
        let uid = match uid.filter(|uid| !(self.nameless && uid.is_empty())) {
            // A name that no login can claim.
            None if self.nameless => {
                Uid::from(format!("{SEPARATOR}{}", self.names_given.fetch_add(1, Ordering::Relaxed)))
            }
            None => return Err(Refusal::bad_request("no uid")),
            Some(uid) if uid.contains(SEPARATOR) => return Err(Refusal::bad_request("a uid has no |")),
            // Bytes that were not UTF-8: two names could become the same.
            Some(uid) if uid.contains(char::REPLACEMENT_CHARACTER) => {
                return Err(Refusal::bad_request("the uid is not UTF-8"));
            }
            Some(uid) => Uid::from(uid.into_owned()),
        };
        uid.check()?;
        Ok(Device::new(uid).with_id(device.unwrap_or_default()))
    }
}

#[async_trait]
impl Authenticate<UpgradeHead> for Door {
    async fn authenticate(&self, head: UpgradeHead) -> Result<Device, Refusal> {
        self.admit(head.query("uid"), head.query("device"), head.query("token"))
    }
}

#[async_trait]
impl Authenticate<Login> for Door {
    async fn authenticate(&self, login: Login) -> Result<Device, Refusal> {
        let device = self.admit(login.uid(), login.device_id(), login.token())?;
        device.put_meta(FRAMES_ONLY, "");
        Ok(device)
    }
}

/// Compares in a time that does not tell how many bytes are right.
fn same(secret: &[u8], given: &[u8]) -> bool {
    let differing = secret.iter().zip(given).fold(0, |bits, (a, b)| std::hint::black_box(bits | (a ^ b)));
    secret.len() == given.len() && differing == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn admit(door: &Door, uid: Option<&str>, token: Option<&str>) -> Result<String, u16> {
        let device = door.admit(uid.map(Into::into), None, token.map(Into::into));
        device.map(|device| device.uid().to_string()).map_err(|refusal| refusal.status())
    }

    #[test]
    fn names_are_checked() {
        let door = Door::new(None, false);
        assert_eq!(admit(&door, Some("alice"), None), Ok("alice".to_owned()));
        assert_eq!(admit(&door, Some(&"x".repeat(255)), None), Ok("x".repeat(255)));
        for uid in [None, Some(""), Some("a|b"), Some("\u{fffd}"), Some(&*"x".repeat(256))] {
            assert_eq!(admit(&door, uid, None), Err(400), "{uid:?}");
        }
    }

    #[test]
    fn the_token_has_to_be_the_same() {
        let door = Door::new(Some("secret"), false);
        assert_eq!(admit(&door, Some("alice"), Some("secret")), Ok("alice".to_owned()));
        for token in [None, Some(""), Some("secre"), Some("secrets"), Some("Secret")] {
            assert_eq!(admit(&door, Some("alice"), token), Err(401), "{token:?}");
        }
    }

    #[test]
    fn the_nameless_get_different_names_that_nobody_can_claim() {
        let door = Door::new(None, true);
        let (first, second) = (admit(&door, None, None).unwrap(), admit(&door, Some(""), None).unwrap());
        assert_ne!(first, second);
        assert_eq!(admit(&door, Some(&first), None), Err(400));
    }
}

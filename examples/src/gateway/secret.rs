//! The secret that logins carry.

use std::{
    fmt, fs,
    path::PathBuf,
    sync::{Arc, PoisonError, RwLock},
};

use subtle::ConstantTimeEq;

use super::Error;

/// A secret, which no log and no error shows.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Arc<[u8]>);

impl Secret {
    /// The secret of these bytes; `None` if there are none: an empty secret lets everybody in.
    pub(super) fn new(bytes: &[u8]) -> Option<Self> {
        (!bytes.is_empty()).then(|| Self(bytes.into()))
    }

    /// Compares in a time that depends on the length of what a client gives, and not on its bytes.
    fn is(&self, given: &[u8]) -> bool {
        self.0.ct_eq(given).into()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}

/// `--token` or `--token-file`.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs, clippy::exhaustive_enums)]
pub enum TokenSource {
    Flag(Secret),
    File(PathBuf),
}

impl TokenSource {
    pub(super) fn load(&self) -> Result<Secret, Error> {
        match self {
            Self::Flag(secret) => Ok(secret.clone()),
            Self::File(path) => {
                let unusable = |cause: String| Error::Secret { flag: "--token-file", cause };
                let bytes = fs::read(path).map_err(|error| unusable(error.to_string()))?;
                Secret::new(without_newline(&bytes)).ok_or_else(|| unusable("the secret is empty".to_owned()))
            }
        }
    }
}

/// Editors end a file with a newline that is no part of the secret.
fn without_newline(bytes: &[u8]) -> &[u8] {
    let Some(line) = bytes.strip_suffix(b"\n") else { return bytes };
    line.strip_suffix(b"\r").unwrap_or(line)
}

/// What every login must carry, if anything. Clones share it.
#[derive(Clone, Debug, Default)]
pub(super) struct Token(Arc<RwLock<Option<Secret>>>);

impl Token {
    pub(super) fn new(secret: Option<Secret>) -> Self {
        Self(Arc::new(RwLock::new(secret)))
    }

    /// Asks for another secret from now on. Sessions that exist go on.
    pub(super) fn replace(&self, secret: Secret) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Some(secret);
    }

    /// Returns true if a login that carries these bytes may pass.
    pub(super) fn admits(&self, given: &[u8]) -> bool {
        self.0.read().unwrap_or_else(PoisonError::into_inner).as_ref().is_none_or(|secret| secret.is(given))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_newline_of_a_file_is_stripped() {
        for (file, secret) in [
            (&b"s"[..], &b"s"[..]),
            (b"s\n", b"s"),
            (b"s\r\n", b"s"),
            (b"s\n\n", b"s\n"),
            (b" s \n", b" s "),
            (b"\n", b""),
            (b"s\r", b"s\r"),
        ] {
            assert_eq!(without_newline(file), secret, "{}", file.escape_ascii());
        }
    }

    #[test]
    fn a_token_admits_its_own_bytes_alone() {
        let secret = |bytes: &[u8]| Secret::new(bytes).unwrap();
        let token = Token::new(Some(secret(b"\xffsecret")));
        assert!(token.admits(b"\xffsecret"));
        for wrong in [&b""[..], b"\xff", b"\xfesecret", b"\xffsecre", b"\xffsecrets", b"\xef\xbf\xbdsecret"] {
            assert!(!token.admits(wrong), "{}", wrong.escape_ascii());
        }
        token.clone().replace(secret(b"next"));
        assert!(token.admits(b"next") && !token.admits(b"\xffsecret"));
        assert!(Token::default().admits(b"") && Token::default().admits(b"anything"));
        assert_eq!(Secret::new(b""), None);
        assert!(!format!("{token:?}").contains("next"));
    }
}

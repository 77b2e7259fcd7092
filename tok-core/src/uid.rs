use std::{fmt, sync::Arc};

/// A user's id: any string of 1 to 255 bytes.
///
/// Cloning is cheap (a reference count). Making one never fails and never truncates, so that ids can be built from
/// whatever an application has; login and every hub operation refuse an id that is empty or too long with
/// [`InvalidUid`].
///
/// ```
/// use tok_core::Uid;
///
/// assert_eq!(Uid::from(42_u64), Uid::from("42"));
/// assert!(Uid::from("").check().is_err());
/// ```
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Uid(Arc<str>);

impl Uid {
    /// The longest id that operations accept, in bytes.
    pub const MAX_BYTES: usize = 255;

    /// The id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The id spelled with `A-Z a-z 0-9 - _` alone, for where it becomes part of a name that others give a meaning: a
    /// broker's subject, a key, a path. Different ids have different tokens, and [`from_token`](Self::from_token)
    /// goes back. Other bytes than `A-Z a-z 0-9 -` become `_` and two hexadecimal digits, so a token has at most three
    /// times the id's bytes.
    ///
    /// ```
    /// use tok_core::Uid;
    ///
    /// assert_eq!(Uid::from("alice-7").to_token(), "alice-7");
    /// assert_eq!(Uid::from("a.*").to_token(), "a_2e_2a");
    /// ```
    #[must_use]
    pub fn to_token(&self) -> String {
        const HEX: [char; 16] =
            ['0', '1', '2', '3', '4', '5', '6', '7', '8', '9', 'a', 'b', 'c', 'd', 'e', 'f'];
        let mut token = String::with_capacity(self.0.len());
        for byte in self.0.bytes() {
            if is_plain(byte) {
                token.push(char::from(byte));
            } else {
                token.extend(['_', HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]]);
            }
        }
        token
    }

    /// The id of a token; `None` for what [`to_token`](Self::to_token) never makes.
    #[must_use]
    pub fn from_token(token: &str) -> Option<Self> {
        let digit = |byte: u8| match byte {
            b'0'..=b'9' => Some(byte - b'0'),
            b'a'..=b'f' => Some(byte - b'a' + 10),
            _ => None,
        };
        let mut id = Vec::with_capacity(token.len());
        let mut bytes = token.bytes();
        while let Some(byte) = bytes.next() {
            if is_plain(byte) {
                id.push(byte);
                continue;
            }
            if byte != b'_' {
                return None;
            }
            let byte = digit(bytes.next()?)? << 4 | digit(bytes.next()?)?;
            // One spelling for each id, or two keys would be one user's.
            if is_plain(byte) {
                return None;
            }
            id.push(byte);
        }
        String::from_utf8(id).ok().map(Self::from)
    }

    /// Says whether operations will accept this id.
    ///
    /// # Errors
    /// [`InvalidUid`] when it is empty or longer than [`Uid::MAX_BYTES`].
    pub fn check(&self) -> Result<(), InvalidUid> {
        if (1..=Self::MAX_BYTES).contains(&self.0.len()) {
            Ok(())
        } else {
            Err(InvalidUid { bytes: self.0.len() })
        }
    }
}

/// Whether a byte stands for itself in a token.
fn is_plain(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'-'
}

/// The id is empty or longer than [`Uid::MAX_BYTES`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a uid must have 1 to {} bytes, this one has {bytes}", Uid::MAX_BYTES)]
#[non_exhaustive]
pub struct InvalidUid {
    /// The length of the refused id.
    pub bytes: usize,
}

impl fmt::Debug for Uid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Escaped, so that an id with control characters cannot forge a line in a log.
        fmt::Debug::fmt(self.as_str(), f)
    }
}

impl fmt::Display for Uid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl AsRef<str> for Uid {
    fn as_ref(&self) -> &str {
        self.as_str()
    }
}

impl From<&str> for Uid {
    fn from(id: &str) -> Self {
        Self(id.into())
    }
}

impl From<String> for Uid {
    fn from(id: String) -> Self {
        Self(id.into())
    }
}

impl From<&String> for Uid {
    fn from(id: &String) -> Self {
        Self(id.as_str().into())
    }
}

impl From<&Self> for Uid {
    fn from(id: &Self) -> Self {
        id.clone()
    }
}

macro_rules! from_integer {
    ($($int:ty)*) => {$(
        impl From<$int> for Uid {
            fn from(id: $int) -> Self {
                id.to_string().into()
            }
        }
    )*};
}

from_integer!(u8 u16 u32 u64 u128 usize i8 i16 i32 i64 i128 isize);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn length_is_checked_and_never_changed() {
        for (len, ok) in [(0, false), (1, true), (255, true), (256, false)] {
            let uid = Uid::from("x".repeat(len));
            assert_eq!(uid.check().is_ok(), ok, "{len} bytes");
            assert_eq!(uid.as_str().len(), len);
        }
    }

    #[test]
    fn debug_escapes_control_characters() {
        assert_eq!(format!("{:?}", Uid::from("a\nb")), r#""a\nb""#);
    }

    #[test]
    fn a_token_names_one_id_and_holds_nothing_that_a_broker_understands() {
        let ids =
            ["alice", "a.b", "a_b", "a_2eb", "*", ">", "a b", "../x", "\r\n", "Zo\u{eb}", "{a}:b", "\0"];
        for id in ids.map(Uid::from) {
            let token = id.to_token();
            assert!(token.bytes().all(|byte| is_plain(byte) || byte == b'_'), "{token}");
            assert_eq!(Uid::from_token(&token), Some(id));
        }
        for never_made in ["a.b", "_", "_2", "_2E", "_61", "_ff", "a_2e_", "\u{eb}"] {
            assert_eq!(Uid::from_token(never_made), None, "{never_made}");
        }
    }
}

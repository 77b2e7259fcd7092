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
}

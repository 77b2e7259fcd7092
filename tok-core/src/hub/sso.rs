use std::{fmt, sync::Arc};

use crate::Device;

/// Single sign-on: which of a user's sessions a new login ends.
///
/// ```
/// use tok_core::Sso;
///
/// // One phone and one desktop at a time.
/// let policy = Sso::by_class(|device| device.id().split('-').next().unwrap_or("").to_owned());
/// # let _ = policy;
/// ```
#[derive(Clone, Default)]
#[non_exhaustive]
pub enum Sso {
    /// All others of the user: one session at a time. The default, as in the Go original.
    #[default]
    PerUser,
    /// Those with the same device id.
    PerDevice,
    /// Those that a function puts into the same class.
    ByClass(Arc<dyn Fn(&Device) -> String + Send + Sync>),
    /// None.
    Off,
}

/// What sessions of one user have to share for the newer to displace the older; `None` displaces nothing.
pub(crate) type Class = Option<Box<str>>;

impl Sso {
    /// [`Sso::ByClass`] of a closure. It is called once a login and must always give one device the same class.
    #[must_use]
    pub fn by_class(class: impl Fn(&Device) -> String + Send + Sync + 'static) -> Self {
        Self::ByClass(Arc::new(class))
    }

    /// Whether a user can have several sessions.
    pub(crate) fn keeps_others(&self) -> bool {
        !matches!(self, Self::PerUser)
    }

    pub(crate) fn class(&self, device: &Device) -> Class {
        match self {
            Self::PerUser => Some("".into()),
            Self::PerDevice => Some(device.id().into()),
            Self::ByClass(class) => Some(class(device).into()),
            Self::Off => None,
        }
    }
}

impl fmt::Debug for Sso {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::PerUser => "PerUser",
            Self::PerDevice => "PerDevice",
            Self::ByClass(_) => "ByClass",
            Self::Off => "Off",
        })
    }
}

use tok_core::{ConfigError, error::BoxError};

/// A queue on a server cannot be used: its `connect` failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// A setting of the builder cannot work.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// Nobody answers at that address, or not within the timeout, or the credentials are refused.
    #[error("the server cannot be reached")]
    Unreachable(#[source] BoxError),
    /// The server is too old to keep what the queue promises.
    #[error("the server is version {found}, but {needed} or later is needed")]
    TooOld {
        /// What the server says.
        found: String,
        /// The oldest version that does.
        needed: &'static str,
    },
    /// Something on the server is set up so that it would not keep what the queue promises.
    #[error("the server's {setting} is {found}, but {rule}")]
    Unsuitable {
        /// The server's name for it.
        setting: String,
        /// What it is.
        found: String,
        /// What would be right.
        rule: String,
    },
}

/// Major and minor version, from as much of a text as is one: `7.0.15`, `2.12.0-RC.3`.
pub(crate) fn version(text: &str) -> Option<(u64, u64)> {
    let mut numbers = text.trim_start_matches('v').split(|c: char| !c.is_ascii_digit());
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

/// A limit that would keep nothing is refused.
pub(crate) fn at_least_one(setting: &'static str, value: u64) -> Result<(), ConfigError> {
    if value == 0 {
        return Err(ConfigError::Invalid { setting, value: "0".to_owned(), rule: "must be at least 1" });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read() {
        for (text, expected) in [
            ("7.0.15", Some((7, 0))),
            ("2.12.0-RC.3", Some((2, 12))),
            ("v2.9.10", Some((2, 9))),
            ("10.1", Some((10, 1))),
            ("7", None),
            ("", None),
            ("unknown", None),
            ("99999999999999999999.1", None),
        ] {
            assert_eq!(version(text), expected, "{text}");
        }
    }
}

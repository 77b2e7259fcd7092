//! What connecting to either kind of server takes.

use tok_core::ConfigError;
pub use tok_core::error::ConnectError;

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

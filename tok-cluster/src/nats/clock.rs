//! The server's time, as its answers spell it.

use time::{OffsetDateTime, format_description::well_known::Rfc3339};

/// Nanoseconds since 1970 of a time as in RFC 3339: `2026-11-28T12:56:24.195637857Z`. `None` for what is no such time, and
/// for times before 1970 or after 2554.
pub(super) fn parse(text: &str) -> Option<u64> {
    let time = OffsetDateTime::parse(text, &Rfc3339).ok()?;
    u64::try_from(time.unix_timestamp_nanos()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read() {
        const SECOND: u64 = 1_000_000_000;
        for (text, expected) in [
            ("1970-01-01T00:00:00Z", Some(0)),
            ("1970-01-02T00:00:01.5Z", Some(86_401 * SECOND + SECOND / 2)),
            ("2000-02-29T23:59:59Z", Some(951_868_799 * SECOND)),
            ("2000-03-01T00:00:00Z", Some(951_868_800 * SECOND)),
            ("2026-11-28T12:56:24.195637857Z", Some(1_795_870_584 * SECOND + 195_637_857)),
            ("2026-11-28T14:56:24+02:00", Some(1_795_870_584 * SECOND)),
            ("2026-11-28T07:26:24-05:30", Some(1_795_870_584 * SECOND)),
            ("0001-01-01T00:00:00Z", None),
            ("2026-11-28 12:56:24Z", Some(1_795_870_584 * SECOND)),
            ("2026-13-28T12:56:24Z", None),
            ("2026-11-28T12:56:24", None),
            ("2026-11-28T12:56:24.Z", None),
            // What is finer than a nanosecond does not count.
            ("2026-11-28T12:56:24.1234567890Z", Some(1_795_870_584 * SECOND + 123_456_789)),
            ("2026-1\u{eb}-28T12:56:24Z", None),
            ("", None),
            // Numbers that are too large to be multiplied.
            ("2026-11-28T12:56:24+9223372036854775807:00", None),
            ("2026-11-28T12:56:24-00:9223372036854775807", None),
            ("2026-11-28T12:56:24+-9:00", None),
            ("2026-11-28T25:56:24Z", None),
            ("9999-12-31T23:59:59Z", None),
        ] {
            assert_eq!(parse(text), expected, "{text}");
        }
    }
}

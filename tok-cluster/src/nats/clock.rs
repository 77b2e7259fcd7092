//! The server's time, as its answers spell it.

/// Nanoseconds since 1970 of a time as in RFC 3339: `2026-11-28T12:56:24.195637857Z`.
pub(super) fn parse(text: &str) -> Option<u64> {
    let number = |from: usize, to: usize| -> Option<i64> {
        let digits = text.get(from..to)?;
        digits.bytes().all(|byte| byte.is_ascii_digit()).then(|| digits.parse().ok())?
    };
    let marks = [(4, "-"), (7, "-"), (10, "T"), (13, ":"), (16, ":")];
    if marks.iter().any(|(at, mark)| text.get(*at..*at + 1) != Some(*mark)) {
        return None;
    }
    let days = days(number(0, 4)?, number(5, 7)?, number(8, 10)?)?;
    let seconds = ((days * 24 + number(11, 13)?) * 60 + number(14, 16)?) * 60 + number(17, 19)?;
    let rest = text.get(19..)?;
    let zone = rest.find(['Z', '+', '-'])?;
    let (fraction, zone) = rest.split_at(zone);
    let nanos = match fraction.strip_prefix('.') {
        Some(digits) if (1..=9).contains(&digits.len()) => {
            digits.parse::<u32>().ok()? * 10_u32.pow(9 - digits.len() as u32)
        }
        Some(_) => return None,
        None if fraction.is_empty() => 0,
        None => return None,
    };
    let seconds = u64::try_from(seconds - offset(zone)?).ok()?;
    seconds.checked_mul(1_000_000_000)?.checked_add(u64::from(nanos))
}

/// Seconds that a zone is ahead of UTC.
fn offset(zone: &str) -> Option<i64> {
    if zone == "Z" {
        return Some(0);
    }
    let (hours, minutes) = zone.get(1..)?.split_once(':')?;
    let seconds = (hours.parse::<i64>().ok()? * 60 + minutes.parse::<i64>().ok()?) * 60;
    Some(if zone.starts_with('-') { -seconds } else { seconds })
}

/// Days from 1970 to a date of the Gregorian calendar. The year is made to begin in March, so that the leap day is its
/// last, and 1970-01-01 is day 719,468 of that count.
fn days(year: i64, month: i64, day: i64) -> Option<i64> {
    if !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return None;
    }
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let leap_days = year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400);
    Some(365 * year + leap_days + (153 * month + 2) / 5 + day - 1 - 719_468)
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
            ("2026-11-28 12:56:24Z", None),
            ("2026-13-28T12:56:24Z", None),
            ("2026-11-28T12:56:24", None),
            ("2026-11-28T12:56:24.Z", None),
            ("2026-11-28T12:56:24.1234567890Z", None),
            ("2026-1\u{eb}-28T12:56:24Z", None),
            ("", None),
        ] {
            assert_eq!(parse(text), expected, "{text}");
        }
    }
}

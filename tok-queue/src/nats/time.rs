//! The server's clock.

use std::{
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use time::{OffsetDateTime, format_description::well_known::Rfc3339};

/// For how long an answer of the server says what time it is there. A clock that is set there is noticed after this.
const GOOD_FOR: Duration = Duration::from_secs(10);

/// What time it is on the server, from the times in its answers. This machine's clocks only measure what has passed
/// since.
#[derive(Debug, Default)]
pub(super) struct ServerClock(Mutex<Option<Sample>>);

#[derive(Clone, Copy, Debug)]
struct Sample {
    /// Since the Unix epoch.
    time: Duration,
    at: Instant,
}

impl ServerClock {
    /// The time on the server, if it said that not long ago.
    pub(super) fn now(&self) -> Option<Duration> {
        self.at(Instant::now())
    }

    fn at(&self, now: Instant) -> Option<Duration> {
        let sample = (*self.0.lock().unwrap_or_else(PoisonError::into_inner))?;
        let age = now.saturating_duration_since(sample.at);
        (age < GOOD_FOR).then(|| sample.time.saturating_add(age))
    }

    /// Takes in an answer that has this time, to a request that was sent at `sent` and answered at `answered`.
    pub(super) fn observe(&self, time: Duration, sent: Instant, answered: Instant) {
        let latest = time.saturating_add(answered.saturating_duration_since(sent));
        let mut sample = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let known =
            sample.map(|Sample { time, at }| time.saturating_add(answered.saturating_duration_since(at)));
        // When the server looked at its clock is known to within the round trip. Within that the time goes on as it did,
        // so that it does not go back.
        let time = known.unwrap_or(time).clamp(time, latest);
        *sample = Some(Sample { time, at: answered });
    }
}

/// The time since the Unix epoch of a text as in RFC 3339: `2026-11-28T12:56:24.195637857Z`.
pub(super) fn parse(text: &str) -> Option<Duration> {
    let time = OffsetDateTime::parse(text, &Rfc3339).ok()?;
    u64::try_from(time.unix_timestamp_nanos()).ok().map(Duration::from_nanos)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn times_are_read() {
        for (text, expected) in [
            ("1970-01-01T00:00:00Z", Some(Duration::ZERO)),
            ("2026-11-28T12:56:24.195637857Z", Some(Duration::new(1_795_870_584, 195_637_857))),
            ("2026-11-28T14:56:24+02:00", Some(seconds(1_795_870_584))),
            ("2000-02-29T23:59:59Z", Some(seconds(951_868_799))),
            ("0001-01-01T00:00:00Z", None),
            ("9999-12-31T23:59:59Z", None),
            ("2026-11-28T12:56:24", None),
            ("2026-11-28T12:56:24+99:99", None),
            ("2026-11-28T12:56:24+9223372036854775807:00", None),
            ("2026-02-30T12:56:24Z", None),
            ("", None),
        ] {
            assert_eq!(parse(text), expected, "{text}");
        }
    }

    #[test]
    fn the_time_passes_from_answer_to_answer_and_goes_back_only_with_the_servers() {
        let clock = ServerClock::default();
        let start = Instant::now();
        assert_eq!(clock.at(start), None);
        clock.observe(seconds(1000), start, start + seconds(1));
        assert_eq!(clock.at(start + seconds(1)), Some(seconds(1000)));
        assert_eq!(clock.at(start + seconds(4)), Some(seconds(1003)));
        // The next answer was on its way for long: it says that it is between 1002 and 1006.
        clock.observe(seconds(1002), start + seconds(1), start + seconds(5));
        assert_eq!(clock.at(start + seconds(5)), Some(seconds(1004)));
        // It must be later.
        clock.observe(seconds(1010), start + seconds(5), start + seconds(6));
        assert_eq!(clock.at(start + seconds(6)), Some(seconds(1010)));
        // The server's clock was set back.
        clock.observe(seconds(500), start + seconds(6), start + seconds(7));
        assert_eq!(clock.at(start + seconds(7)), Some(seconds(501)));
        assert_eq!(clock.at(start + seconds(7) + GOOD_FOR), None);
        clock.observe(Duration::MAX, start, start + seconds(99));
        assert_eq!(clock.at(start + seconds(100)), Some(Duration::MAX));
    }
}

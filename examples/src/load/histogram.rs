//! Latencies, counted in buckets that are at most 3 % wide.

use std::time::Duration;

/// Buckets for each doubling.
const STEPS: u64 = 32;
/// `log2(STEPS)`.
const SHIFT: u32 = STEPS.ilog2();

/// Counts durations of nanoseconds to hours in constant memory.
#[derive(Clone, Debug, Default)]
pub struct Histogram {
    buckets: Vec<u64>,
    count: u64,
    max: u64,
}

impl Histogram {
    /// Counts one duration.
    pub fn record(&mut self, duration: Duration) {
        let nanos = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        let index = bucket(nanos);
        if index >= self.buckets.len() {
            self.buckets.resize(index + 1, 0);
        }
        self.buckets[index] += 1;
        self.count += 1;
        self.max = self.max.max(nanos);
    }

    /// Forgets everything counted.
    pub fn clear(&mut self) {
        *self = Self::default();
    }

    /// The duration that `share` (0 to 1) of those counted do not exceed, to 3 %; zero if none was counted.
    #[must_use]
    pub fn quantile(&self, share: f64) -> Duration {
        let rank = (self.count as f64 * share).ceil() as u64;
        let mut passed = 0;
        for (index, count) in self.buckets.iter().enumerate() {
            passed += count;
            if passed >= rank && passed > 0 {
                return Duration::from_nanos(upper(index).min(self.max));
            }
        }
        Duration::ZERO
    }

    /// The longest one, exactly.
    #[must_use]
    pub fn max(&self) -> Duration {
        Duration::from_nanos(self.max)
    }
}

fn bucket(nanos: u64) -> usize {
    if nanos < STEPS {
        return nanos as usize;
    }
    let doubling = nanos.ilog2() - SHIFT;
    (u64::from(doubling) * STEPS + (nanos >> doubling)) as usize
}

/// The largest value of a bucket.
fn upper(index: usize) -> u64 {
    let index = index as u64;
    if index < STEPS {
        return index;
    }
    let doubling = index / STEPS - 1;
    let step = index - doubling * STEPS;
    (step << doubling) + ((1 << doubling) - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_is_at_most_three_percent_wide() {
        for nanos in [0, 1, 31, 32, 33, 63, 64, 1000, 123_456, 987_654_321, 3_600_000_000_000] {
            let upper = upper(bucket(nanos));
            assert!(nanos <= upper && upper - nanos <= nanos / 32, "{nanos} in a bucket up to {upper}");
        }
    }

    #[test]
    fn quantiles_are_those_of_what_was_recorded() {
        let mut histogram = Histogram::default();
        assert_eq!(histogram.quantile(0.5), Duration::ZERO);
        (1..=1000).for_each(|millis| histogram.record(Duration::from_millis(millis)));
        let near = |share, millis: u64| {
            let found = histogram.quantile(share).as_millis() as u64;
            assert!(found >= millis && found <= millis + millis / 32, "{found} for {millis}");
        };
        near(0.5, 500);
        near(0.99, 990);
        assert_eq!(histogram.quantile(1.0), histogram.max());
        assert_eq!(histogram.max(), Duration::from_secs(1));
        histogram.clear();
        assert_eq!(histogram.max(), Duration::ZERO);
    }
}

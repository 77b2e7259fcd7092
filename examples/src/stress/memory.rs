//! Resident memory over time.

use std::time::Duration;

/// What a gateway held after rounds, when all had left.
#[derive(Clone, Debug, Default)]
pub(super) struct Memory {
    /// Seconds and bytes.
    samples: Vec<(f64, f64)>,
}

/// What memory did in the second half of a run: the first half is the allocator's and the caches' to grow.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Slope {
    pub(super) samples: usize,
    pub(super) seconds: f64,
    pub(super) bytes_a_minute: f64,
    /// The last sample.
    pub(super) bytes: f64,
}

impl Memory {
    pub(super) fn sample(&mut self, at: Duration, bytes: u64) {
        self.samples.push((at.as_secs_f64(), bytes as f64));
    }

    /// By least squares; `None` with fewer than three samples.
    pub(super) fn slope(&self) -> Option<Slope> {
        let half = match self.samples.as_slice() {
            few @ [_, _, _, ..] if few.len() < 6 => few,
            samples => &samples[samples.len() / 2..],
        };
        let ([first, .., last], true) = (half, half.len() > 2) else { return None };
        let count = half.len() as f64;
        let mean = |of: fn(&(f64, f64)) -> f64| half.iter().map(of).sum::<f64>() / count;
        let (mean_at, mean_bytes) = (mean(|sample| sample.0), mean(|sample| sample.1));
        let together: f64 = half.iter().map(|(at, bytes)| (at - mean_at) * (bytes - mean_bytes)).sum();
        let square: f64 = half.iter().map(|(at, _)| (at - mean_at).powi(2)).sum();
        Some(Slope {
            samples: half.len(),
            seconds: last.0 - first.0,
            bytes_a_minute: if square > 0.0 { together / square * 60.0 } else { 0.0 },
            bytes: last.1,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slope(bytes: &[u64]) -> Option<Slope> {
        let mut memory = Memory::default();
        for (index, bytes) in bytes.iter().enumerate() {
            memory.sample(Duration::from_secs(30 * index as u64), *bytes);
        }
        memory.slope()
    }

    #[test]
    fn the_slope_is_that_of_the_second_half() {
        let found = slope(&[0, 900, 900, 900, 1000, 1100, 1200, 1300]).unwrap();
        assert!((found.bytes_a_minute - 200.0).abs() < 1e-6, "{found:?}");
        assert_eq!((found.samples, found.seconds, found.bytes), (4, 90.0, 1300.0));
        let flat = slope(&[5, 700, 700, 700, 700, 700]).unwrap();
        assert!(flat.bytes_a_minute.abs() < 1e-6, "{flat:?}");
    }

    #[test]
    fn a_few_samples_are_all_taken_and_two_say_nothing() {
        assert_eq!(slope(&[1, 2, 3]).unwrap().samples, 3);
        assert_eq!(slope(&[1, 2]), None);
        assert_eq!(slope(&[]), None);
    }
}

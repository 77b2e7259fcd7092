//! What may be under way at a time.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Frames of one bus that are on their way, in bytes: what waits in this process is so much, and its copies in the
/// connection's buffer.
const MAX_BYTES: usize = 32 * 1024 * 1024;

#[derive(Debug)]
pub(super) struct Limits {
    places: Arc<Semaphore>,
    bytes: Arc<Semaphore>,
}

/// A place, which is free again when this is dropped.
#[derive(Debug)]
pub(super) struct Place {
    _place: OwnedSemaphorePermit,
    _bytes: OwnedSemaphorePermit,
}

impl Limits {
    pub(super) fn new(places: usize) -> Self {
        let places = places.min(Semaphore::MAX_PERMITS);
        Self { places: Arc::new(Semaphore::new(places)), bytes: Arc::new(Semaphore::new(MAX_BYTES)) }
    }

    /// `None` if there is no place, or not for so many bytes.
    pub(super) fn take(&self, bytes: usize) -> Option<Place> {
        let place = Arc::clone(&self.places).try_acquire_owned().ok()?;
        let bytes = Arc::clone(&self.bytes).try_acquire_many_owned(u32::try_from(bytes).ok()?).ok()?;
        Some(Place { _place: place, _bytes: bytes })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_and_bytes_come_back() {
        let limits = Limits::new(2);
        let first = limits.take(MAX_BYTES - 1).unwrap();
        assert!(limits.take(2).is_none(), "too many bytes");
        let second = limits.take(1).unwrap();
        assert!(limits.take(0).is_none(), "too many places");
        drop((first, second));
        assert!(limits.take(MAX_BYTES).is_some());
    }
}

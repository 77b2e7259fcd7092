//! The lock of this crate, in one place.

#![allow(clippy::disallowed_types)]

use std::sync::{self, MutexGuard, PoisonError};

/// A mutex that does not poison: nobody else's code runs under a lock of this crate.
#[derive(Debug, Default)]
pub(crate) struct Mutex<T>(sync::Mutex<T>);

impl<T> Mutex<T> {
    pub(crate) const fn new(value: T) -> Self {
        Self(sync::Mutex::new(value))
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

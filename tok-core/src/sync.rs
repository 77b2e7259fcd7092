//! The locks of this crate, in one place.

#![allow(clippy::disallowed_types)]

use std::sync::{self, PoisonError};

pub(crate) use std::sync::MutexGuard;

/// A mutex that does not poison: user code never runs under a lock of this crate, so a panic cannot leave
/// what it guards half changed.
#[derive(Debug, Default)]
pub(crate) struct Mutex<T>(sync::Mutex<T>);

impl<T> Mutex<T> {
    pub(crate) const fn new(value: T) -> Self {
        Self(sync::Mutex::new(value))
    }

    pub(crate) fn get_mut(&mut self) -> &mut T {
        self.0.get_mut().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

//! The locks of this crate, and the atomics that decide something, in one place. Tests of interleavings
//! (`--cfg shuttle`) have shuttle's instead, which take turns as a schedule says.

#![allow(clippy::disallowed_types)]

#[cfg(all(test, shuttle))]
use shuttle::sync;
#[cfg(not(all(test, shuttle)))]
use std::sync;

pub(crate) use self::sync::{MutexGuard, atomic};

/// A mutex that does not poison: user code never runs under a lock of this crate, so a panic cannot leave
/// what it guards half changed.
#[derive(Debug, Default)]
pub(crate) struct Mutex<T>(sync::Mutex<T>);

impl<T> Mutex<T> {
    pub(crate) const fn new(value: T) -> Self {
        Self(sync::Mutex::new(value))
    }

    pub(crate) fn get_mut(&mut self) -> &mut T {
        self.0.get_mut().unwrap_or_else(sync::PoisonError::into_inner)
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
        self.0.lock().unwrap_or_else(sync::PoisonError::into_inner)
    }
}

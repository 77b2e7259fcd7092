//! Locks, atomics and threads, in one place: tests of interleavings (`--cfg shuttle`) have shuttle's instead, which take
//! turns as a schedule says.

#[cfg(all(test, shuttle))]
pub(crate) use shuttle::sync::*;
#[cfg(not(all(test, shuttle)))]
pub(crate) use std::sync::*;

#[cfg(feature = "redb")]
pub(crate) mod thread {
    #[cfg(all(test, shuttle))]
    pub(crate) use shuttle::thread::*;
    #[cfg(not(all(test, shuttle)))]
    pub(crate) use std::thread::*;
}

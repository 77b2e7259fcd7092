#![allow(clippy::disallowed_types)]

use std::{
    sync::LazyLock,
    time::{Duration, Instant as StdInstant},
};

use smol::Timer;

use super::{BoxFuture, Instant, Runtime, os};

/// smol's global executor (`smol::spawn`), which starts its threads by itself.
#[derive(Clone, Copy, Debug, Default)]
#[allow(clippy::exhaustive_structs)]
pub struct Smol;

static START: LazyLock<StdInstant> = LazyLock::new(StdInstant::now);

impl Runtime for Smol {
    fn now(&self) -> Instant {
        Instant::from_nanos(u64::try_from(START.elapsed().as_nanos()).unwrap_or(u64::MAX))
    }

    fn unix_time(&self) -> u64 {
        os::unix_time()
    }

    fn random(&self) -> u64 {
        os::random()
    }

    fn sleep_until(&self, deadline: Instant) -> BoxFuture<'static, ()> {
        let timer = match START.checked_add(Duration::from_nanos(deadline.as_nanos())) {
            Some(at) => Timer::at(at),
            None => Timer::never(),
        };
        Box::pin(async move {
            timer.await;
        })
    }

    fn spawn(&self, _name: &'static str, future: BoxFuture<'static, ()>) {
        smol::spawn(future).detach();
    }
}

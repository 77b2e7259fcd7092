#![allow(clippy::disallowed_types)]

use std::{
    sync::{Arc, LazyLock},
    time::{Duration, Instant as StdInstant},
};

use tokio::{runtime::Handle, time};

use super::{BoxFuture, Instant, Runtime, os};
use crate::error::BoxError;

/// Tokio. A hub captures the runtime that it is built on; all of tok then follows tokio's clock, so that tests with
/// paused time drive every timeout.
#[derive(Clone, Copy, Debug, Default)]
#[allow(clippy::exhaustive_structs)]
pub struct Tokio;

// A day back on the machine's own clock: no runtime's clock, paused ones included, can stand before it.
static START: LazyLock<time::Instant> = LazyLock::new(|| {
    let now = StdInstant::now();
    time::Instant::from_std(now.checked_sub(Duration::from_secs(86_400)).unwrap_or(now))
});

fn now() -> Instant {
    let since = time::Instant::now().saturating_duration_since(*START);
    Instant::from_nanos(u64::try_from(since.as_nanos()).unwrap_or(u64::MAX))
}

fn at(deadline: Instant) -> time::Instant {
    // Far deadlines ("never") would overflow tokio's clock.
    const FAR: Duration = Duration::from_secs(86_400 * 365 * 30);
    *START + Duration::from_nanos(deadline.as_nanos()).min(FAR)
}

impl Runtime for Tokio {
    fn now(&self) -> Instant {
        now()
    }

    fn unix_time(&self) -> u64 {
        os::unix_time()
    }

    fn random(&self) -> u64 {
        os::random()
    }

    fn sleep_until(&self, deadline: Instant) -> BoxFuture<'static, ()> {
        Box::pin(time::sleep_until(at(deadline)))
    }

    fn spawn(&self, _name: &'static str, future: BoxFuture<'static, ()>) {
        drop(tokio::spawn(future));
    }

    fn bind(&self) -> Result<Option<Arc<dyn Runtime>>, BoxError> {
        let handle = Handle::try_current()?;
        Ok(Some(Arc::new(Bound(handle))))
    }
}

/// Tokio as captured by `bind`: usable from threads that tokio does not know.
struct Bound(Handle);

impl Runtime for Bound {
    fn now(&self) -> Instant {
        now()
    }

    fn unix_time(&self) -> u64 {
        os::unix_time()
    }

    fn random(&self) -> u64 {
        os::random()
    }

    fn sleep_until(&self, deadline: Instant) -> BoxFuture<'static, ()> {
        let _entered = self.0.enter();
        Box::pin(time::sleep_until(at(deadline)))
    }

    fn spawn(&self, _name: &'static str, future: BoxFuture<'static, ()>) {
        drop(self.0.spawn(future));
    }
}

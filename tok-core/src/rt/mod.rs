//! The seam to an executor: time, randomness and tasks.

#[cfg(feature = "smol")]
mod smol;
#[cfg(feature = "tokio")]
mod tokio;

use std::{
    fmt,
    future::{Future, poll_fn},
    pin::Pin,
    sync::Arc,
    task::Poll,
    time::Duration,
};

use crate::error::BoxError;

#[cfg(feature = "smol")]
pub use self::smol::Smol;
#[cfg(feature = "tokio")]
pub use self::tokio::Tokio;

/// A boxed future that can move between threads.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// A moment on a runtime's monotonic clock, in nanoseconds since a start of the runtime's choosing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Instant(u64);

impl Instant {
    /// The moment `nanos` after the clock's start.
    #[must_use]
    pub const fn from_nanos(nanos: u64) -> Self {
        Self(nanos)
    }

    /// Nanoseconds since the clock's start.
    #[must_use]
    pub const fn as_nanos(self) -> u64 {
        self.0
    }

    /// This moment and `duration`, at most the end of the clock (some 584 years).
    #[must_use]
    pub fn saturating_add(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)))
    }

    /// This moment and `duration`, or `None` past the end of the clock (some 584 years).
    #[must_use]
    pub fn checked_add(self, duration: Duration) -> Option<Self> {
        self.0.checked_add(u64::try_from(duration.as_nanos()).ok()?).map(Self)
    }

    /// The time since `earlier`, or zero if that is later.
    #[must_use]
    pub const fn saturating_since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

/// A monotonic clock: the part of a [`Runtime`] that in-process queues need. Cloning is cheap.
///
/// ```
/// use tok_core::rt::{Clock, Instant};
///
/// let stopped = Clock::new(|| Instant::from_nanos(7));
/// assert_eq!(stopped.now().as_nanos(), 7);
/// ```
#[derive(Clone)]
pub struct Clock(Arc<dyn Fn() -> Instant + Send + Sync>);

impl Clock {
    /// A clock that calls `now`, which must never go back.
    pub fn new(now: impl Fn() -> Instant + Send + Sync + 'static) -> Self {
        Self(Arc::new(now))
    }

    /// The clock of a runtime.
    #[must_use]
    pub fn of(runtime: &Arc<dyn Runtime>) -> Self {
        let runtime = Arc::clone(runtime);
        Self::new(move || runtime.now())
    }

    /// The time on this clock.
    #[must_use]
    pub fn now(&self) -> Instant {
        (self.0)()
    }
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Clock").field(&self.now()).finish()
    }
}

/// What tok needs of an executor. The hub holds one as `Arc<dyn Runtime>` and takes time, randomness and tasks from
/// nowhere else, which is what lets the same code run on tokio, on smol and in a simulator.
///
/// ```
/// use std::time::Duration;
/// use tok_core::rt::{BoxFuture, Instant, Runtime};
///
/// /// Runs tasks elsewhere, but on a clock that is an hour ahead.
/// struct Ahead<R>(R);
///
/// impl<R: Runtime> Runtime for Ahead<R> {
///     fn now(&self) -> Instant {
///         self.0.now()
///     }
///     fn unix_time(&self) -> u64 {
///         self.0.unix_time() + 3_600_000
///     }
///     fn random(&self) -> u64 {
///         self.0.random()
///     }
///     fn sleep_until(&self, deadline: Instant) -> BoxFuture<'static, ()> {
///         self.0.sleep_until(deadline)
///     }
///     fn spawn(&self, name: &'static str, future: BoxFuture<'static, ()>) {
///         self.0.spawn(name, future);
///     }
/// }
/// ```
pub trait Runtime: Send + Sync + 'static {
    /// The monotonic clock. It never goes back.
    fn now(&self) -> Instant;

    /// The wall clock, in milliseconds since the Unix epoch. It may be wrong and may jump: the hub only uses it as the
    /// number from which the epochs of its logins start, and raises them when that proves too low.
    fn unix_time(&self) -> u64;

    /// A number that peers cannot guess; in a simulator, one that the seed determines.
    fn random(&self) -> u64;

    /// A future that ends at `deadline` or soon after. Dropping it cancels the timer.
    fn sleep_until(&self, deadline: Instant) -> BoxFuture<'static, ()>;

    /// Starts a task that runs to its end by itself. `name` is for diagnosis only.
    fn spawn(&self, name: &'static str, future: BoxFuture<'static, ()>);

    /// Called once, when a hub is built on the thread that builds it. A runtime that is found through the calling
    /// thread returns one here that has captured it and so works from any thread.
    ///
    /// # Errors
    /// The runtime is not running on this thread; the build is refused with this as the cause.
    fn bind(&self) -> Result<Option<Arc<dyn Runtime>>, BoxError> {
        Ok(None)
    }
}

/// Lets other tasks of the executor run once, on any runtime. Dropping the future has no effect.
pub async fn yield_now() {
    let mut yielded = false;
    poll_fn(|cx| {
        if std::mem::replace(&mut yielded, true) {
            return Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

impl fmt::Debug for dyn Runtime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Runtime")
    }
}

/// `now`, `unix_time` and `random` of a real machine, shared by the real runtimes.
#[cfg(any(feature = "tokio", feature = "smol"))]
mod os {
    #![allow(clippy::disallowed_types)]

    use std::{
        hash::{BuildHasher, Hasher, RandomState},
        time::{SystemTime, UNIX_EPOCH},
    };

    pub(super) fn unix_time() -> u64 {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
    }

    pub(super) fn random() -> u64 {
        // SipHash under keys that std draws from the operating system, and changes with each call.
        RandomState::new().build_hasher().finish()
    }
}

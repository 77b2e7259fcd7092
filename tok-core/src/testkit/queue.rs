//! The conformance suite of [`Queue`], a reference that passes it, and wrong queues that do not.
//!
//! An implementor mounts it in a test file; every rule becomes a `#[test]` of its own name:
//!
//! ```
//! use tok_core::testkit::queue::ReferenceQueue;
//!
//! async fn make() -> ReferenceQueue {
//!     ReferenceQueue::new()
//! }
//!
//! tok_core::queue_conformance!(make);
//! # fn main() {}
//! ```
//!
//! `make` gives each rule a fresh, empty queue: on a server that outlives the test, one under a prefix of its own. The
//! suite fills one user's queue to its limits, so these should be small: 16 to 100,000 messages, 4 KiB to 64 MiB,
//! and less than the largest message that the queue can store, if it names one.
//!
//! Three arguments are optional:
//! * `block_on = EXPR`, a function or closure that runs a future to its end, for queues that need a runtime:
//!   `block_on = |rule| tokio::runtime::Runtime::new().unwrap().block_on(rule)`. The default is [`block_on`].
//! * after it `clock = server`, for queues that measure TTLs on their server's clock: it leaves out the rules about
//!   [`use_clock`](Queue::use_clock);
//! * or `expiry = server`, for queues whose server also removes expired entries by itself and whose
//!   [`sweep`](Queue::sweep) therefore returns none: it leaves out the rules about what a sweep takes, too.
//!
//! No rule measures time: what has to expire has a TTL of zero, or the rule moves the queue's clock. One rule repeats its
//! requests until a TTL of 200 ms is over on the clock of a server.

mod reference;
pub mod rules;
pub mod wrong;

use std::{
    fmt,
    pin::{Pin, pin},
    sync::Arc,
    task::{Context, Poll, Wake, Waker},
    thread::{self, Thread},
};

pub use self::reference::ReferenceQueue;
use crate::Queue;

/// Expands to one `#[test]` for each rule of the suite of [`Queue`]; see [`testkit::queue`](crate::testkit::queue).
#[macro_export]
macro_rules! queue_conformance {
    ($make:expr, block_on = $block_on:expr, expiry = server $(,)?) => {
        $crate::__queue_rules!(__queue_tests, ($make, $block_on));
    };
    ($make:expr, block_on = $block_on:expr, clock = server $(,)?) => {
        $crate::__queue_rules!(__queue_tests, ($make, $block_on));
        $crate::__queue_sweep_rules!(__queue_tests, ($make, $block_on));
    };
    ($make:expr, block_on = $block_on:expr $(,)?) => {
        $crate::__queue_rules!(__queue_tests, ($make, $block_on));
        $crate::__queue_sweep_rules!(__queue_tests, ($make, $block_on));
        $crate::__queue_clock_rules!(__queue_tests, ($make, $block_on));
    };
    ($make:expr, expiry = server $(,)?) => {
        $crate::queue_conformance!($make, block_on = $crate::testkit::queue::block_on, expiry = server);
    };
    ($make:expr, clock = server $(,)?) => {
        $crate::queue_conformance!($make, block_on = $crate::testkit::queue::block_on, clock = server);
    };
    ($make:expr $(,)?) => {
        $crate::queue_conformance!($make, block_on = $crate::testkit::queue::block_on);
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __queue_tests {
    (($make:expr, $block_on:expr) $($rule:ident)*) => {$(
        #[test]
        fn $rule() {
            $crate::testkit::queue::check($make, $block_on, $crate::testkit::queue::rules::$rule);
        }
    )*};
}

#[doc(hidden)]
#[macro_export]
macro_rules! __queue_table {
    (() $($rule:ident)*) => {
        &[$(Rule { name: stringify!($rule), check: |queue| Box::pin(rules::$rule(queue)) }),*]
    };
}

/// The rules that hold for every queue.
pub const RULES: &[Rule] = crate::__queue_rules!(__queue_table, ());

/// The rules for queues that leave expired entries to [`Queue::sweep`].
pub const SWEEP_RULES: &[Rule] = crate::__queue_sweep_rules!(__queue_table, ());

/// The rules for queues that measure TTLs on the clock that [`Queue::use_clock`] provides. The queue must not have
/// received a clock before.
pub const CLOCK_RULES: &[Rule] = crate::__queue_clock_rules!(__queue_table, ());

/// A future in a box.
pub type Checking<'a> = Pin<Box<dyn Future<Output = ()> + Send + 'a>>;

/// A rule as a value, for those who run the suite by other means than the macro.
#[derive(Clone, Copy)]
pub struct Rule {
    name: &'static str,
    check: for<'a> fn(&'a dyn Queue) -> Checking<'a>,
}

impl Rule {
    /// The name of its function in [`rules`].
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// Panics, saying what is wrong, unless `queue`, which must be empty, keeps the rule.
    pub fn check<'a>(&self, queue: &'a dyn Queue) -> Checking<'a> {
        (self.check)(queue)
    }
}

impl fmt::Debug for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Rule").field(&self.name).finish()
    }
}

#[doc(hidden)]
pub fn check<'a, Q: Queue>(
    make: impl AsyncFnOnce() -> Q + 'a,
    block_on: impl FnOnce(Pin<Box<dyn Future<Output = ()> + 'a>>),
    rule: impl AsyncFnOnce(&dyn Queue) + 'a,
) {
    block_on(Box::pin(async {
        let queue = make().await;
        rule(&queue).await;
    }));
}

/// Runs a future to its end on this thread, which sleeps in between: an executor for futures that need no runtime.
pub fn block_on<T>(future: impl Future<Output = T>) -> T {
    struct Unpark(Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let mut future = pin!(future);
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut Context::from_waker(&waker)) {
            return output;
        }
        thread::park();
    }
}

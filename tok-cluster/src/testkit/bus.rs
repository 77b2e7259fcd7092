//! The suite of [`Bus`].

pub mod rules;
pub mod wrong;

use std::{fmt, pin::Pin, sync::Arc, time::Duration};

use bytes::Bytes;
use tok_core::rt::Runtime;

use crate::{Answer, Bus, BusError, BusState, Inbound, NodeId, sync::Mutex, wait::sleep};

/// Two connections to one broker, as two nodes have them, and a clock to wait by.
#[derive(Clone, Debug)]
pub struct Buses {
    first: Arc<dyn Bus>,
    second: Arc<dyn Bus>,
    runtime: Arc<dyn Runtime>,
}

/// More than enough for an answer.
const LONG: Duration = Duration::from_secs(10);
/// For answers that do not come.
const SHORT: Duration = Duration::from_millis(500);

impl Buses {
    /// Two connections, and the runtime that waits.
    pub fn new(first: impl Bus, second: impl Bus, runtime: impl Runtime) -> Self {
        Self { first: Arc::new(first), second: Arc::new(second), runtime: Arc::new(runtime) }
    }

    /// Opens both: `a` over the first connection, `b` over the second.
    async fn open(&self) -> [Arc<Ear>; 2] {
        let ears = [Arc::new(Ear::default()), Arc::new(Ear::default())];
        for ((bus, name), ear) in [(&self.first, "a"), (&self.second, "b")].into_iter().zip(&ears) {
            bus.open(&node(name), Arc::clone(ear) as Arc<dyn Inbound>).await.expect("open must succeed");
        }
        ears
    }

    /// From `a`.
    async fn ask(&self, to: &NodeId, frame: impl Into<Bytes>) -> Result<Bytes, BusError> {
        self.first.request(to, frame.into(), LONG).await
    }

    /// Waits until something is so, for up to ten seconds.
    async fn until(&self, what: &str, is_so: impl Fn() -> bool) {
        for _ in 0..100 {
            if is_so() {
                return;
            }
            sleep(&*self.runtime, Duration::from_millis(100)).await;
        }
        panic!("{what}");
    }
}

/// Notes what it hears and answers `re: ` and the frame, except to what begins with `silence`. What begins with `later` is
/// answered only when the next frame has been answered.
#[derive(Debug, Default)]
struct Ear {
    late: Mutex<Option<(Bytes, Answer)>>,
    requests: Mutex<Vec<Bytes>>,
    notices: Mutex<Vec<Bytes>>,
}

impl Ear {
    fn requests(&self) -> Vec<Bytes> {
        self.requests.lock().clone()
    }

    fn notices(&self) -> Vec<Bytes> {
        self.notices.lock().clone()
    }
}

impl Inbound for Ear {
    fn request(&self, frame: Bytes, answer: Answer) {
        self.requests.lock().push(frame.clone());
        if frame.starts_with(b"later") {
            *self.late.lock() = Some((frame, answer));
        } else if !frame.starts_with(b"silence") {
            answer.send(answer_to(&frame));
            let late = self.late.lock().take();
            if let Some((frame, answer)) = late {
                answer.send(answer_to(&frame));
            }
        }
    }

    fn notify(&self, frame: Bytes) {
        self.notices.lock().push(frame);
    }

    fn state(&self, _: BusState) {}
}

fn answer_to(frame: &[u8]) -> Bytes {
    Bytes::from([b"re: ", frame].concat())
}

fn node(name: &str) -> NodeId {
    NodeId::new(name, 1).expect("the name is valid")
}

/// The rules.
pub const RULES: &[Rule] = crate::__bus_rules!(__cluster_table, ());

/// A rule as a value, for those who run the suite by other means than the macro.
#[derive(Clone, Copy)]
pub struct Rule {
    name: &'static str,
    check: for<'a> fn(&'a Buses) -> Pin<Box<dyn Future<Output = ()> + 'a>>,
}

impl Rule {
    /// The name of its function in [`rules`].
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// Panics, saying what is wrong, unless the bus keeps the rule.
    pub async fn check(&self, buses: &Buses) {
        (self.check)(buses).await;
    }
}

impl fmt::Debug for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Rule").field(&self.name).finish()
    }
}

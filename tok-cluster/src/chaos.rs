//! Networks that misbehave, on request: [`Chaos`].

mod bus;
mod registry;

use std::{fmt, sync::Arc, time::Duration};

use tok_core::rt::{Instant, Runtime};

use crate::{Bus, BusState, Inbound, NodeId, sync::Mutex, wait::sleep};

/// A [`Bus`] or [`Registry`](crate::Registry) behind a network that misbehaves as its [`Faults`] say.
///
/// One `Faults` stands for one node's connection: give it to the node's bus and to its registry, and both fail together.
///
/// ```
/// # #[cfg(feature = "testkit")] {
/// use std::time::Duration;
/// use tok_cluster::{Chaos, Faults, Link, MemoryBroker, Plan};
/// use tok_core::testkit::sim::Sim;
///
/// let sim = Sim::new(1);
/// let broker = MemoryBroker::new(sim.runtime());
/// let faults = Faults::new(sim.runtime());
/// let (registry, bus) = (Chaos::new(broker.registry(), &faults), Chaos::new(broker.bus(), &faults));
/// faults.set_plan(Plan { delay: Duration::from_millis(20), duplicate: 100, ..Plan::default() });
/// faults.set_link(Link::Cut);
/// # let _ = (registry, bus);
/// # }
/// ```
pub struct Chaos<T> {
    inner: Arc<T>,
    faults: Faults,
}

impl<T> Chaos<T> {
    /// Wraps a driver.
    #[must_use]
    pub fn new(inner: T, faults: &Faults) -> Self {
        Self { inner: Arc::new(inner), faults: faults.clone() }
    }
}

impl<T> fmt::Debug for Chaos<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Chaos").field("faults", &self.faults).finish_non_exhaustive()
    }
}

/// What goes wrong while a connection is up. Everything is decided by [`Runtime::random`], in a simulator by its seed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(clippy::exhaustive_structs)]
pub struct Plan {
    /// Each way of each operation takes up to so long, so that operations overtake each other.
    pub delay: Duration,
    /// Of a thousand frames so many are lost, on their way there or with their answer on the way back.
    pub lose: u64,
    /// Of a thousand frames so many arrive twice.
    pub duplicate: u64,
    /// Of a thousand registry operations so many fail, before or after they had their effect.
    pub fail: u64,
}

/// The state of a connection to the broker.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Link {
    /// It works, as far as the [`Plan`] lets it.
    #[default]
    Up,
    /// It is cut, and both ends know: operations fail, and frames to this node find nobody.
    Cut,
    /// Nothing passes either way, and nobody is told: only timeouts say so.
    BlackHole,
    /// What this node sends passes, and nothing reaches it: its subscription has died silently.
    Deaf,
}

/// Controls one connection while it is used. Clones control the same one.
#[derive(Clone)]
pub struct Faults {
    shared: Arc<Shared>,
}

struct Shared {
    runtime: Arc<dyn Runtime>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    plan: Plan,
    link: Link,
    opened: Option<Opened>,
}

/// What it takes to open the bus again when a cut has healed.
#[derive(Clone)]
struct Opened {
    bus: Arc<dyn Bus>,
    me: NodeId,
    inbound: Arc<dyn Inbound>,
}

impl Faults {
    /// A connection without faults, on this runtime's clock.
    #[must_use]
    pub fn new(runtime: impl Runtime) -> Self {
        Self { shared: Arc::new(Shared { runtime: Arc::new(runtime), state: Mutex::default() }) }
    }

    /// Changes what goes wrong from now on.
    pub fn set_plan(&self, plan: Plan) {
        self.shared.state.lock().plan = plan;
    }

    /// The connection breaks, or heals. A cut that heals is a [gap](BusState::Gap); other faults heal unnoticed.
    pub fn set_link(&self, link: Link) {
        let (before, opened) = {
            let mut state = self.shared.state.lock();
            (std::mem::replace(&mut state.link, link), state.opened.clone())
        };
        let Some(Opened { bus, me, inbound }) = opened else { return };
        match (before, link) {
            (Link::Cut, Link::Cut) => {}
            (_, Link::Cut) => {
                self.shared.runtime.spawn("cut", Box::pin(async move { bus.close().await }));
                inbound.state(BusState::Down);
            }
            (Link::Cut, _) => {
                let heal = async move {
                    if bus.open(&me, Arc::clone(&inbound)).await.is_ok() {
                        inbound.state(BusState::Gap);
                    }
                };
                self.shared.runtime.spawn("heal", Box::pin(heal));
            }
            _ => {}
        }
    }

    /// The state of the connection.
    #[must_use]
    pub fn link(&self) -> Link {
        self.shared.state.lock().link
    }

    fn plan(&self) -> Plan {
        self.shared.state.lock().plan
    }

    fn runtime(&self) -> &Arc<dyn Runtime> {
        &self.shared.runtime
    }

    /// Whether something that happens to so many of a thousand happens now.
    fn happens(&self, per_thousand: u64) -> bool {
        per_thousand > 0 && self.runtime().random() % 1000 < per_thousand
    }

    fn delay(&self) -> Duration {
        let longest = u64::try_from(self.plan().delay.as_nanos()).unwrap_or(u64::MAX);
        Duration::from_nanos(if longest == 0 { 0 } else { self.runtime().random() % longest })
    }

    async fn travel(&self) {
        let delay = self.delay();
        if !delay.is_zero() {
            sleep(&**self.runtime(), delay).await;
        }
    }

    /// The time until `end`.
    fn left(&self, end: Instant) -> Duration {
        end.saturating_since(self.runtime().now())
    }

    fn set_opened(&self, opened: Option<Opened>) {
        self.shared.state.lock().opened = opened;
    }
}

impl fmt::Debug for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.shared.state.lock();
        f.debug_struct("Faults").field("plan", &state.plan).field("link", &state.link).finish_non_exhaustive()
    }
}

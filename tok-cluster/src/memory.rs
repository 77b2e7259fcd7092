//! A broker in the memory of one process: the reference for drivers, and what tests join hubs with.

mod bus;
mod registry;

use std::{fmt, sync::Arc};

use tok_core::rt::Runtime;

pub use self::{bus::MemoryBus, registry::MemoryRegistry};
use crate::{BusState, sync::Mutex};

/// A broker in the memory of one process. Cloning it is cheap, and every [`registry`](Self::registry) and
/// [`bus`](Self::bus) that comes from it meets every other.
///
/// It decides nothing at random and knows no time but its runtime's, so that in a simulator a seed determines every
/// step. One lock guards each of its two halves: it is for tests, and for several hubs in one process.
///
/// ```
/// # #[cfg(feature = "testkit")] {
/// use tok_cluster::{Cluster, MemoryBroker};
/// use tok_core::testkit::sim::Sim;
///
/// let sim = Sim::new(1);
/// let broker = MemoryBroker::new(sim.runtime());
/// let cluster = Cluster::builder(broker.registry(), broker.bus())
///     .node("one")
///     .runtime(sim.runtime())
///     .build()?;
/// # drop(cluster);
/// # }
/// # Ok::<_, tok_core::ConfigError>(())
/// ```
#[derive(Clone)]
pub struct MemoryBroker {
    shared: Arc<Shared>,
}

struct Shared {
    runtime: Arc<dyn Runtime>,
    max_frame: usize,
    table: Mutex<registry::Table>,
    switch: Mutex<bus::Switch>,
}

/// What NATS takes by default (`max_payload`), so that what is too large there is so here.
const MAX_FRAME: usize = 1024 * 1024;

impl MemoryBroker {
    /// A broker on the clock of this runtime, which takes frames of up to 1 MiB.
    #[must_use]
    pub fn new(runtime: impl Runtime) -> Self {
        Self::with_max_frame(runtime, MAX_FRAME)
    }

    /// A broker that takes frames of up to so many bytes.
    #[must_use]
    pub fn with_max_frame(runtime: impl Runtime, bytes: usize) -> Self {
        Self {
            shared: Arc::new(Shared {
                runtime: Arc::new(runtime),
                max_frame: bytes,
                table: Mutex::default(),
                switch: Mutex::default(),
            }),
        }
    }

    /// A connection to the table of sessions.
    #[must_use]
    pub fn registry(&self) -> MemoryRegistry {
        MemoryRegistry::new(Arc::clone(&self.shared))
    }

    /// A connection that carries frames.
    #[must_use]
    pub fn bus(&self) -> MemoryBus {
        MemoryBus::new(Arc::clone(&self.shared))
    }

    /// The broker goes away: every operation fails until it [starts](Self::start) again.
    pub fn stop(&self) {
        self.shared.table.lock().stopped = true;
        self.tell(true, BusState::Down);
    }

    /// The broker is back, with what it held.
    pub fn start(&self) {
        self.shared.table.lock().stopped = false;
        self.tell(false, BusState::Gap);
    }

    /// Forgets all rows and leases, as a broker does that kept them on a disk which was lost.
    pub fn wipe(&self) {
        self.shared.table.lock().wipe();
    }

    fn tell(&self, stopped: bool, state: BusState) {
        let nodes = {
            let mut switch = self.shared.switch.lock();
            switch.stopped = stopped;
            switch.everybody()
        };
        nodes.iter().for_each(|inbound| inbound.state(state));
    }
}

impl fmt::Debug for MemoryBroker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryBroker").finish_non_exhaustive()
    }
}

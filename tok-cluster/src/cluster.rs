//! The protocol: what nodes do for each other, once, over any [`Registry`] and [`Bus`].

mod ask;
mod builder;
mod claims;
mod deliver;
mod inbound;
mod intake;
mod login;
mod peers;
mod pulse;
mod relay;
mod repair;
mod routes;
mod status;

use std::{
    fmt,
    sync::{Arc, OnceLock, atomic::AtomicU64},
    time::Duration,
};

use tok_core::{
    relay::{Node, RelayError},
    rt::{Instant, Runtime},
};

use self::{
    builder::Settings, claims::Claims, intake::Intake, peers::Peers, repair::Pending, routes::Routes,
    status::Status,
};
pub use self::{
    builder::{ClusterBuilder, Policy},
    status::Stats,
};
use crate::{
    Bus, NodeId, Registry,
    permits::{Limits, Permits},
    wait::Bell,
};

/// Registry operations under way at once, and callers that wait for one to end. Further callers are refused as
/// overloaded. A broker's own throughput is reached far below (measured: NATS with three replicas at 64 to 256).
const REGISTRY: Limits = Limits { permits: 256, permits_of_user: 16, waiting: 65_536, waiting_of_user: 1024 };

/// Users whose rows are read at once.
const PAGE: usize = 1000;

/// A hub's place among the hubs of other nodes: the [`Relay`](tok_core::relay::Relay) to build it with. A cheap handle:
/// clones are the same node.
///
/// The life of a node: [`build`](ClusterBuilder::build) it, build a hub with it, wait until it has
/// [`joined`](Self::joined), serve; at the end shut the hub down, then [`leave`](Self::leave).
///
/// ```
/// use std::time::Duration;
/// use tok_cluster::Cluster;
/// use tok_core::{Hub, HubBuilder};
///
/// async fn serve(hub: HubBuilder, cluster: Cluster) -> Result<(), Box<dyn std::error::Error>> {
///     let hub = hub.relay(cluster.clone()).build()?;
///     cluster.joined(Duration::from_secs(10)).await?;
///     // … listeners …
///     hub.shutdown(Duration::from_secs(10)).await;
///     cluster.leave().await;
///     Ok(())
/// }
/// # let _ = serve;
/// ```
#[derive(Clone)]
pub struct Cluster {
    inner: Arc<Inner>,
}

impl Cluster {
    /// Starts a configuration over these drivers, which are this node's own and connected to the same cluster.
    pub fn builder(registry: impl Registry, bus: impl Bus) -> ClusterBuilder {
        ClusterBuilder::new(Arc::new(registry), Arc::new(bus))
    }

    /// This node, as others see it.
    #[must_use]
    pub fn node(&self) -> &NodeId {
        &self.inner.me
    }

    /// The nodes whose lease holds, as far as this one knows, itself included.
    #[must_use]
    pub fn nodes(&self) -> Vec<NodeId> {
        let mut nodes = self.inner.peers.live(self.inner.now());
        nodes.push(self.inner.me.clone());
        nodes.sort_unstable();
        nodes
    }

    /// Waits until this node is reachable and has a lease, which it tries for as long as it lives; logins are refused
    /// before. Dropping the future gives up nothing but the waiting.
    ///
    /// # Errors
    /// It has not within this time; the reason is the last one. A cluster that no hub was built with never joins.
    pub async fn joined(&self, within: Duration) -> Result<(), RelayError> {
        let inner = &*self.inner;
        let waited = crate::wait::within(&*inner.runtime, within, inner.status.joined()).await;
        waited.ok_or_else(|| inner.status.why_not_joined())
    }

    /// Whether all is well between this node and the others: it has joined, the broker is connected, its lease holds,
    /// and frames to itself come back. For a health check: traffic should go elsewhere while it is false, but a node
    /// that is cut off still serves the sessions it has, as its [`Policy`] says.
    #[must_use]
    pub fn healthy(&self) -> bool {
        self.inner.status.is_healthy(self.inner.now())
    }

    /// Figures of this node.
    #[must_use]
    pub fn stats(&self) -> Stats {
        let inner = &*self.inner;
        Stats {
            nodes: inner.peers.live(inner.now()).len() + 1,
            silent_nodes: inner.peers.silent().len(),
            claims: inner.claims.len(),
            routes: inner.routes.len(),
            to_repair: inner.pending.len(),
        }
    }

    /// Leaves in good order: the rows of sessions that are still there are released, the lease is given back, others are
    /// told. Shut the hub down first. It takes at most two request timeouts and then leaves the rest to the lease.
    /// Logins are refused from here on.
    pub async fn leave(&self) {
        self.inner.leave().await;
    }
}

impl fmt::Debug for Cluster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cluster").field("node", &self.inner.me).finish_non_exhaustive()
    }
}

/// What the handles and the tasks of a node share.
struct Inner {
    me: NodeId,
    settings: Settings,
    runtime: Arc<dyn Runtime>,
    registry: Arc<dyn Registry>,
    bus: Arc<dyn Bus>,
    /// The hub, once it is built.
    node: OnceLock<Node>,
    status: Status,
    peers: Peers,
    claims: Claims,
    routes: Routes,
    /// What failed and is tried again.
    pending: Pending,
    permits: Permits,
    /// Frames of other nodes that wait for a worker.
    intake: Arc<Intake>,
    /// Numbers requests: what arrives twice is known by it.
    next_id: AtomicU64,
    /// Woken for beats and for repairs; the tasks hold them beyond this.
    pulse: Arc<Bell>,
    repair: Arc<Bell>,
}

impl Inner {
    fn new(
        me: NodeId,
        settings: Settings,
        runtime: Arc<dyn Runtime>,
        registry: Arc<dyn Registry>,
        bus: Arc<dyn Bus>,
    ) -> Self {
        let seed = runtime.random();
        Self {
            peers: Peers::new(me.clone(), settings.max_in_flight),
            routes: Routes::new(settings.max_routes, seed),
            claims: Claims::new(seed),
            pending: Pending::default(),
            permits: Permits::new(REGISTRY, seed),
            intake: Arc::new(Intake::new(seed)),
            status: Status::default(),
            node: OnceLock::new(),
            next_id: AtomicU64::new(1),
            pulse: Arc::default(),
            repair: Arc::default(),
            me,
            settings,
            runtime,
            registry,
            bus,
        }
    }

    fn now(&self) -> Instant {
        self.runtime.now()
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        // The tasks see that this is gone, and end.
        self.intake.close();
        self.pulse.ring();
        self.repair.ring();
    }
}

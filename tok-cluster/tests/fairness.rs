//! One user's operations on the registry do not keep others' from it.

mod common;

use std::{sync::Arc, time::Duration};

use common::{Nodes, SECOND, each_seed, text};
use tok_cluster::{
    Claimed, Cluster, Cursor, Lease, MemoryRegistry, NodeId, Page, Registry, RegistryError, Restored,
    SessionRow,
};
use tok_core::{
    Device, Epoch, Hub, Uid, async_trait,
    relay::{Claim, Relay},
    rt::Runtime,
    testkit::memory_pair,
};

/// Does not answer what concerns `stuck`.
struct Stuck(MemoryRegistry);

impl Stuck {
    async fn look(&self, uid: &Uid) {
        if uid.as_str() == "stuck" {
            std::future::pending::<()>().await;
        }
    }
}

#[async_trait]
impl Registry for Stuck {
    async fn claim(&self, claim: &Claim, node: &NodeId) -> Result<Claimed, RegistryError> {
        self.look(&claim.uid).await;
        self.0.claim(claim, node).await
    }
    async fn restore(&self, row: &SessionRow) -> Result<Restored, RegistryError> {
        self.0.restore(row).await
    }
    async fn release(&self, uid: &Uid, epoch: Epoch) -> Result<bool, RegistryError> {
        self.look(uid).await;
        self.0.release(uid, epoch).await
    }
    async fn lookup(&self, uid: &Uid) -> Result<Vec<SessionRow>, RegistryError> {
        self.look(uid).await;
        self.0.lookup(uid).await
    }
    async fn page(&self, after: Cursor, limit: usize) -> Result<Page, RegistryError> {
        self.0.page(after, limit).await
    }
    async fn users(&self) -> Result<u64, RegistryError> {
        self.0.users().await
    }
    async fn beat(&self, node: &NodeId, lease: Duration) -> Result<bool, RegistryError> {
        self.0.beat(node, lease).await
    }
    async fn leave(&self, node: &NodeId) -> Result<(), RegistryError> {
        self.0.leave(node).await
    }
    async fn nodes(&self) -> Result<Vec<Lease>, RegistryError> {
        self.0.nodes().await
    }
    async fn reap(&self, node: &NodeId, budget: usize) -> Result<bool, RegistryError> {
        self.0.reap(node, budget).await
    }
}

/// A node of `nodes` whose registry is stuck for one user.
async fn node(nodes: &Nodes) -> (Hub, Cluster) {
    let registry = Stuck(nodes.broker.registry());
    let cluster = Cluster::builder(registry, nodes.broker.bus()).node("stuck").runtime(nodes.rt.clone());
    let cluster = cluster.build().unwrap();
    let hub = Hub::builder(common::Echo).runtime(nodes.rt.clone()).queue(Arc::clone(&nodes.queue));
    let hub = hub.relay(cluster.clone()).build().unwrap();
    cluster.joined(10 * SECOND).await.unwrap();
    (hub, cluster)
}

#[test]
fn logins_of_one_user_leave_permits_of_the_registry_to_others() {
    each_seed(async |sim| {
        let nodes = Nodes::new(sim, 1).await;
        let (hub, _cluster) = node(&nodes).await;
        let serve = |uid: &str| {
            let (transport, peer) = memory_pair(64 * 1024, true);
            let session = hub.serve(Device::new(uid), transport);
            let session = async move {
                session.await;
            };
            nodes.rt.spawn("session", Box::pin(session));
            peer
        };
        let _stuck: Vec<_> = (0..3000).map(|_| serve("stuck")).collect();
        nodes.rt.sleep(SECOND / 10).await;
        let mut zoe = serve("zoe");
        zoe.send("ready?");
        let (got, took) = nodes.time(text(&mut zoe)).await;
        assert_eq!(got, "ready?");
        assert!(took < SECOND, "the login took {took:?} of simulated time");
    });
}

/// A cluster whose user is stuck has places to wait for others.
#[test]
fn calls_for_one_user_do_not_take_all_places_to_wait() {
    common::seeds(0..3, async |sim| {
        let nodes = Nodes::new(sim, 1).await;
        let (_hub, cluster) = node(&nodes).await;
        let uid = Uid::from("stuck");
        let stuck = (0..70_000).map(|_| cluster.is_online(&uid));
        let stuck = futures_util::future::join_all(stuck);
        let other = async {
            nodes.rt.sleep(SECOND / 10).await;
            cluster.is_online(&Uid::from("zoe")).await
        };
        let (results, other) = futures_util::future::join(stuck, other).await;
        assert!(!other.unwrap());
        assert!(results.iter().all(Result::is_err));
    });
}

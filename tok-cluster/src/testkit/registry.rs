//! The suite of [`Registry`].

pub mod rules;
pub mod wrong;

use std::{fmt, pin::Pin, sync::Arc, time::Duration};

use tok_core::{Epoch, Uid, relay::Claim, rt::Runtime};

use crate::{Claimed, Cursor, NodeId, Registry, SessionRow, wait::sleep};

/// Two connections to one empty table, as two nodes have them, and a clock to wait by.
#[derive(Clone, Debug)]
pub struct Registries {
    first: Arc<dyn Registry>,
    second: Arc<dyn Registry>,
    runtime: Arc<dyn Runtime>,
}

/// A lease that ends soon, and that every server can give.
const LEASE: Duration = Duration::from_secs(2);
/// One that does not end within a test.
const LONG: Duration = Duration::from_secs(600);

impl Registries {
    /// Two connections, and the runtime that waits for leases to end.
    pub fn new(first: impl Registry, second: impl Registry, runtime: impl Runtime) -> Self {
        Self { first: Arc::new(first), second: Arc::new(second), runtime: Arc::new(runtime) }
    }

    async fn claim(&self, uid: &str, class: Option<&str>, node: &NodeId) -> Claimed {
        claim(&*self.first, uid, class, node).await
    }

    /// What the other connection sees.
    async fn rows(&self, uid: &str) -> Vec<SessionRow> {
        let mut rows = self.second.lookup(&Uid::from(uid)).await.expect("lookup must succeed");
        rows.sort_by_key(|row| row.epoch);
        rows
    }

    async fn epochs(&self, uid: &str) -> Vec<Epoch> {
        self.rows(uid).await.iter().map(|row| row.epoch).collect()
    }

    async fn release(&self, uid: &str, epoch: Epoch) -> bool {
        self.first.release(&Uid::from(uid), epoch).await.expect("release must succeed")
    }

    /// All rows, page by page, and how many pages there were.
    async fn pages(&self, limit: usize) -> (Vec<SessionRow>, usize) {
        let (mut rows, mut after) = (Vec::new(), Cursor::START);
        for pages in 1..1000 {
            let page = self.second.page(after, limit).await.expect("page must succeed");
            rows.extend(page.rows);
            let Some(next) = page.next else { return (rows, pages) };
            after = next;
        }
        panic!("pages must come to an end");
    }

    /// Waits until the count of users is what it should be: it may lag.
    async fn users_become(&self, expected: u64) {
        let mut users = 0;
        for _ in 0..50 {
            users = self.second.users().await.expect("users must succeed");
            if users == expected {
                return;
            }
            sleep(&*self.runtime, Duration::from_millis(100)).await;
        }
        panic!("users must become {expected}, but stays {users}");
    }

    async fn beat(&self, node: &NodeId, lease: Duration) -> bool {
        self.first.beat(node, lease).await.expect("beat must succeed")
    }

    /// How much of a node's lease is left; `None` if it is not known.
    async fn left(&self, node: &NodeId) -> Option<Duration> {
        let nodes = self.second.nodes().await.expect("nodes must succeed");
        let found: Vec<_> = nodes.into_iter().filter(|lease| lease.node == *node).collect();
        assert!(found.len() <= 1, "a node must be listed once");
        found.first().map(|lease| lease.left)
    }

    /// Waits until a lease of [`LEASE`] must be over.
    async fn lapse(&self) {
        sleep(&*self.runtime, LEASE + Duration::from_millis(1500)).await;
    }
}

async fn claim(registry: &dyn Registry, uid: &str, class: Option<&str>, node: &NodeId) -> Claimed {
    claim_above(registry, uid, class, node, Epoch::default()).await
}

async fn claim_above(
    registry: &dyn Registry,
    uid: &str,
    class: Option<&str>,
    node: &NodeId,
    above: Epoch,
) -> Claimed {
    let claim = Claim { uid: Uid::from(uid), class: class.map(str::to_owned), above };
    registry.claim(&claim, node).await.expect("claim must succeed")
}

fn node(name: &str) -> NodeId {
    NodeId::new(name, 1).expect("the name is valid")
}

/// The rules.
pub const RULES: &[Rule] = crate::__registry_rules!(__cluster_table, ());

/// A rule as a value, for those who run the suite by other means than the macro.
#[derive(Clone, Copy)]
pub struct Rule {
    name: &'static str,
    check: for<'a> fn(&'a Registries) -> Pin<Box<dyn Future<Output = ()> + 'a>>,
}

impl Rule {
    /// The name of its function in [`rules`].
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// Panics, saying what is wrong, unless the registry keeps the rule.
    pub async fn check(&self, registries: &Registries) {
        (self.check)(registries).await;
    }
}

impl fmt::Debug for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Rule").field(&self.name).finish()
    }
}

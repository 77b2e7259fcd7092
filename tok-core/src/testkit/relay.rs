use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use async_trait::async_trait;

use crate::{
    CloseReason, Epoch, Message, Uid,
    relay::{Audience, Claim, Delivery, Node, Relay, RelayError, Target},
    sync::Mutex,
};

/// Joins hubs of one process, with nothing between them that could fail: the contract of [`Relay`] written down as
/// plainly as possible.
///
/// ```
/// use tok_core::testkit::MemoryRelay;
///
/// let cluster = MemoryRelay::cluster(3);
/// assert_eq!(cluster.len(), 3); // one for each hub's builder
/// ```
#[derive(Clone, Debug)]
pub struct MemoryRelay {
    index: usize,
    cluster: Arc<Cluster>,
}

#[derive(Debug, Default)]
struct Cluster {
    nodes: Mutex<Vec<Option<Node>>>,
    epoch: AtomicU64,
}

impl MemoryRelay {
    /// The relays of a cluster of so many nodes.
    #[must_use]
    pub fn cluster(nodes: usize) -> Vec<Self> {
        let cluster = Arc::new(Cluster { nodes: Mutex::new(vec![None; nodes]), ..Cluster::default() });
        (0..nodes).map(|index| Self { index, cluster: Arc::clone(&cluster) }).collect()
    }

    fn all(&self) -> Vec<(usize, Node)> {
        let nodes = self.cluster.nodes.lock();
        nodes.iter().enumerate().filter_map(|(index, node)| Some((index, node.clone()?))).collect()
    }

    fn others(&self) -> impl Iterator<Item = Node> {
        let index = self.index;
        self.all().into_iter().filter(move |(other, _)| *other != index).map(|(_, node)| node)
    }
}

#[async_trait]
impl Relay for MemoryRelay {
    fn start(&self, node: Node) -> Result<(), RelayError> {
        if let Some(place) = self.cluster.nodes.lock().get_mut(self.index) {
            *place = Some(node);
        }
        Ok(())
    }

    async fn claim(&self, claim: &Claim) -> Result<Epoch, RelayError> {
        let next = |last: u64| Some(last.max(claim.above.get()).saturating_add(1));
        let last = self.cluster.epoch.fetch_update(Ordering::SeqCst, Ordering::SeqCst, next);
        // It always gives a number, so both arms hold the last one.
        let (Ok(last) | Err(last)) = last;
        let epoch = Epoch::new(next(last).unwrap_or(last));
        if let Some(class) = &claim.class {
            self.others().for_each(|node| {
                node.evict(&claim.uid, class, epoch);
            });
        }
        Ok(epoch)
    }

    async fn release(&self, _: &Uid, _: Epoch) -> Result<(), RelayError> {
        // Nothing is written down about sessions: each hub is asked.
        Ok(())
    }

    async fn deliver(&self, uid: &Uid, delivery: &Delivery) -> Result<usize, RelayError> {
        self.others().map(|node| Ok(node.deliver(uid, delivery)?.unwrap_or_default())).sum()
    }

    async fn publish(&self, audience: &Audience, message: &Message) -> Result<(), RelayError> {
        self.others().try_for_each(|node| node.publish(audience, message).map(|_| ()))
    }

    async fn kick(&self, uid: &Uid, target: &Target, reason: CloseReason) -> Result<usize, RelayError> {
        Ok(self.others().map(|node| node.kick(uid, target, reason).len()).sum())
    }

    async fn is_online(&self, uid: &Uid) -> Result<bool, RelayError> {
        Ok(self.others().any(|node| node.is_online(uid)))
    }

    async fn users_online(&self) -> Result<usize, RelayError> {
        Ok(self.online().await?.len())
    }

    async fn online(&self) -> Result<Vec<Uid>, RelayError> {
        let mut users: Vec<Uid> = self.all().iter().flat_map(|(_, node)| node.online()).collect();
        users.sort_unstable();
        users.dedup();
        Ok(users)
    }
}

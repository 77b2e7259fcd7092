//! `max_sessions`: a login has its place before it ends any other session, here or on another node.
#![cfg(feature = "tokio")]

mod common;

use std::sync::Arc;

use common::*;
use tok_core::{
    CloseReason, Device, Epoch, Hub, Message, Uid, async_trait,
    relay::{Audience, Claim, Delivery, Node, Relay, RelayError, Target},
    testkit::{MemoryRelay, Read, memory_pair},
};
use tokio::sync::Semaphore;

/// A relay whose claims for `held` wait until the gate opens.
#[derive(Clone)]
struct Gated {
    relay: MemoryRelay,
    gate: Arc<Semaphore>,
}

#[async_trait]
impl Relay for Gated {
    fn start(&self, node: Node) -> Result<(), RelayError> {
        self.relay.start(node)
    }
    async fn claim(&self, claim: &Claim) -> Result<Epoch, RelayError> {
        if claim.uid.as_str() == "held" {
            drop(self.gate.acquire().await);
        }
        self.relay.claim(claim).await
    }
    async fn release(&self, uid: &Uid, epoch: Epoch) -> Result<(), RelayError> {
        self.relay.release(uid, epoch).await
    }
    async fn deliver(&self, uid: &Uid, delivery: &Delivery) -> Result<usize, RelayError> {
        self.relay.deliver(uid, delivery).await
    }
    async fn publish(&self, audience: &Audience, message: &Message) -> Result<(), RelayError> {
        self.relay.publish(audience, message).await
    }
    async fn kick(&self, uid: &Uid, target: &Target, reason: CloseReason) -> Result<usize, RelayError> {
        self.relay.kick(uid, target, reason).await
    }
    async fn is_online(&self, uid: &Uid) -> Result<bool, RelayError> {
        self.relay.is_online(uid).await
    }
    async fn users_online(&self) -> Result<usize, RelayError> {
        self.relay.users_online().await
    }
    async fn online(&self) -> Result<Vec<Uid>, RelayError> {
        self.relay.online().await
    }
}

/// A node with room for many sessions, and one with room for one, whose claims for `held` wait for the gate.
fn two_nodes() -> (Hub, Hub, Arc<Semaphore>) {
    let gate = Arc::new(Semaphore::new(0));
    let [large, small] = MemoryRelay::cluster(2).try_into().unwrap();
    let large = builder().relay(large).build().unwrap();
    let small = Gated { relay: small, gate: Arc::clone(&gate) };
    (large, builder().max_sessions(1).relay(small).build().unwrap(), gate)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn takeover_at_max_sessions_keeps_its_place_while_others_try_to_log_in() {
    let hub = builder().max_sessions(1).build().unwrap();
    let serve = |uid: &'static str| {
        let (transport, peer) = memory_pair(BUFFER, true);
        (peer, tokio::spawn(hub.serve(Device::new(uid), transport)))
    };
    let (mut peer, mut session) = serve("alice");
    while hub.stats().sessions == 0 {
        tokio::task::yield_now().await;
    }
    let others = (0..3).map(|_| {
        let hub = hub.clone();
        tokio::spawn(async move {
            loop {
                let (transport, mut peer) = memory_pair(BUFFER, true);
                let session = tokio::spawn(hub.serve(Device::new("bob"), transport));
                assert_eq!(peer.recv().await, Read::Close(CloseReason::Full));
                peer.close();
                assert_eq!(session.await.unwrap(), CloseReason::Full);
            }
        })
    });
    let others: Vec<tokio::task::JoinHandle<()>> = others.collect();
    for _ in 0..4000 {
        let (next_peer, next) = serve("alice");
        assert_eq!(peer.recv().await, Read::Close(CloseReason::Sso));
        peer.close();
        assert_eq!(session.await.unwrap(), CloseReason::Sso);
        (peer, session) = (next_peer, next);
    }
    assert!(!session.is_finished() && others.iter().all(|other| !other.is_finished()));
    for other in others {
        other.abort();
    }
}

#[tokio::test(start_paused = true)]
async fn login_refused_by_a_full_node_ends_no_session_on_another_node() {
    let (large, small, _) = two_nodes();
    let mut alice = login(&large, "alice").await;
    let _bob = login(&small, "bob").await;
    assert_eq!(login(&small, "alice").await.closed().await, CloseReason::Full);
    alice.send("still here");
    assert_eq!(alice.text().await, "still here");
    assert_eq!((large.stats().sessions, small.stats().sessions), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn login_keeps_its_place_while_it_waits_for_its_claim() {
    let (large, small, gate) = two_nodes();
    let held = login(&large, "held").await;
    let mut again = login(&small, "held").await;
    // It has its place and is no session yet.
    assert_eq!(small.stats().sessions, 0);
    assert_eq!(login(&small, "bob").await.drain().await, ["Close(Full)"]);
    gate.add_permits(1);
    assert_eq!(held.closed().await, CloseReason::Sso);
    again.send("here");
    assert_eq!(again.text().await, "here");
    assert_eq!(small.stats().sessions, 1);
    again.leave().await;
    login(&small, "bob").await.leave().await;
}

#[tokio::test(start_paused = true)]
async fn login_that_is_dropped_while_it_waits_for_its_claim_gives_its_place_back() {
    let (_large, small, _gate) = two_nodes();
    let held = login(&small, "held").await;
    held.session.abort();
    settle().await;
    login(&small, "bob").await.leave().await;
    assert_eq!(small.stats(), Default::default());
}

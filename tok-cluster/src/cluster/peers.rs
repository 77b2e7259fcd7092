//! The other nodes, as this one sees them: whose lease holds, who is silent, what is under way to whom.

use std::collections::BTreeMap;

use tok_core::rt::Instant;

use super::ask::Unanswered;
use crate::{Lease, NodeId, sync::Mutex};

/// Consecutive requests without an answer after which a node is no longer waited for.
const STRIKES: u32 = 2;

/// Nodes of which something is remembered. Dead ones leave when they are reaped; the bound stands against a broker that
/// lies.
const MAX_PEERS: usize = 4096;

#[derive(Debug)]
pub(super) struct Peers {
    me: NodeId,
    max_in_flight: usize,
    map: Mutex<BTreeMap<NodeId, Peer>>,
}

#[derive(Debug, Default)]
struct Peer {
    /// On this node's own clock; `None` until the registry has named the node.
    lease_until: Option<Instant>,
    in_flight: usize,
    strikes: u32,
    seen: Seen,
}

/// What a node's lease says about its rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    Live,
    Dead,
    /// It joined since this node last looked, or is long gone.
    Unknown,
}

impl Peers {
    pub(super) fn new(me: NodeId, max_in_flight: usize) -> Self {
        Self { me, max_in_flight, map: Mutex::default() }
    }

    /// Takes in what the registry said at `asked` or a little later.
    pub(super) fn update(&self, leases: &[Lease], asked: Instant) {
        let mut map = self.map.lock();
        map.retain(|node, peer| peer.in_flight > 0 || leases.iter().any(|lease| lease.node == *node));
        for lease in leases.iter().filter(|lease| lease.node != self.me).take(MAX_PEERS) {
            let peer = map.entry(lease.node.clone()).or_default();
            peer.lease_until = Some(asked.saturating_add(lease.left));
        }
    }

    pub(super) fn standing(&self, node: &NodeId, now: Instant) -> Standing {
        if *node == self.me {
            return Standing::Live;
        }
        match self.map.lock().get(node).and_then(|peer| peer.lease_until) {
            Some(until) if until > now => Standing::Live,
            Some(_) => Standing::Dead,
            None => Standing::Unknown,
        }
    }

    /// The other nodes whose lease holds.
    pub(super) fn live(&self, now: Instant) -> Vec<NodeId> {
        let map = self.map.lock();
        let live = |peer: &Peer| peer.lease_until.is_some_and(|until| until > now);
        map.iter().filter(|(_, peer)| live(peer)).map(|(node, _)| node.clone()).collect()
    }

    /// Nodes whose lease ended before `now`.
    pub(super) fn dead(&self, now: Instant) -> Vec<(NodeId, Instant)> {
        let map = self.map.lock();
        let ended = |peer: &Peer| peer.lease_until.filter(|until| *until <= now);
        map.iter().filter_map(|(node, peer)| Some((node.clone(), ended(peer)?))).collect()
    }

    pub(super) fn silent(&self) -> Vec<NodeId> {
        let map = self.map.lock();
        map.iter().filter(|(_, peer)| peer.strikes >= STRIKES).map(|(node, _)| node.clone()).collect()
    }

    /// It said goodbye.
    pub(super) fn left(&self, node: &NodeId, now: Instant) {
        if let Some(peer) = self.map.lock().get_mut(node) {
            peer.lease_until = peer.lease_until.map(|until| until.min(now));
        }
    }

    /// Begins a request to a node, unless it is silent, which `insist` asks all the same.
    pub(super) fn begin(&self, node: &NodeId, insist: bool) -> Result<InFlight<'_>, Unanswered> {
        let mut map = self.map.lock();
        let peer = map.entry(node.clone()).or_default();
        if peer.strikes >= STRIKES && !insist {
            return Err(Unanswered::Silent);
        }
        if peer.in_flight >= self.max_in_flight {
            return Err(Unanswered::Overloaded);
        }
        peer.in_flight += 1;
        Ok(InFlight { peers: self, node: node.clone() })
    }

    /// It did not answer in time.
    pub(super) fn strike(&self, node: &NodeId) {
        if let Some(peer) = self.map.lock().get_mut(node) {
            peer.strikes = peer.strikes.saturating_add(1);
        }
    }

    pub(super) fn answered(&self, node: &NodeId) {
        if let Some(peer) = self.map.lock().get_mut(node) {
            peer.strikes = 0;
        }
    }

    /// Whether a frame of a node comes for the first time.
    pub(super) fn is_first(&self, node: &NodeId, id: u64) -> bool {
        let mut map = self.map.lock();
        if map.len() >= MAX_PEERS && !map.contains_key(node) {
            return true;
        }
        let peer = map.entry(node.clone()).or_default();
        peer.strikes = 0;
        peer.seen.is_first(id)
    }
}

/// A request under way.
#[derive(Debug)]
pub(super) struct InFlight<'a> {
    peers: &'a Peers,
    node: NodeId,
}

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        if let Some(peer) = self.peers.map.lock().get_mut(&self.node) {
            peer.in_flight = peer.in_flight.saturating_sub(1);
        }
    }
}

/// The frames that came from a node, by number: the newest, and which of those just below it. A window as in RFC 4303
/// section 3.4.3; what is older than the window counts as seen.
#[derive(Debug)]
struct Seen {
    newest: u64,
    bits: Box<[u64; WORDS]>,
}

const WORDS: usize = 64;
const WINDOW: u64 = WORDS as u64 * 64;

impl Default for Seen {
    fn default() -> Self {
        Self { newest: 0, bits: Box::new([0; WORDS]) }
    }
}

impl Seen {
    fn is_first(&mut self, id: u64) -> bool {
        if id > self.newest {
            let (mut next, steps) = (self.newest, (id - self.newest).min(WINDOW));
            for _ in 0..steps {
                next = next.wrapping_add(1);
                self.set(next, false);
            }
            if id - self.newest > WINDOW {
                self.bits.fill(0);
            }
            self.newest = id;
        } else if self.newest - id >= WINDOW || self.bit(id) {
            return false;
        }
        self.set(id, true);
        true
    }

    fn bit(&self, id: u64) -> bool {
        let at = id % WINDOW;
        self.bits[(at / 64) as usize] & 1 << (at % 64) != 0
    }

    fn set(&mut self, id: u64, value: bool) {
        let at = id % WINDOW;
        let word = &mut self.bits[(at / 64) as usize];
        if value {
            *word |= 1 << (at % 64);
        } else {
            *word &= !(1 << (at % 64));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_frame_is_first_once_in_any_order() {
        let mut seen = Seen::default();
        for id in [5, 3, 4, 1000, 2, 999, WINDOW + 5, WINDOW + 4, 1 << 40, (1 << 40) - 1, u64::MAX] {
            assert!(seen.is_first(id), "{id}");
            assert!(!seen.is_first(id), "{id} came twice");
        }
        assert!(!seen.is_first(7), "what is far behind cannot be told from a repetition");
    }

    #[test]
    fn numbers_that_come_round_to_the_same_bit_are_told_apart() {
        let mut seen = Seen::default();
        for round in 0..5 {
            for id in [1, 63, 64, 4095] {
                assert!(seen.is_first(round * WINDOW + id));
            }
        }
    }

    #[test]
    fn a_node_is_live_until_its_lease_ends_on_this_clock() {
        let [me, other] = ["a", "b"].map(|name| NodeId::new(name, 1).unwrap());
        let peers = Peers::new(me, 1);
        let at = Instant::from_nanos;
        assert_eq!(peers.standing(&other, at(0)), Standing::Unknown);
        let left = std::time::Duration::from_nanos(100);
        peers.update(&[Lease { node: other.clone(), left }], at(50));
        assert_eq!(peers.standing(&other, at(149)), Standing::Live);
        assert_eq!(peers.standing(&other, at(150)), Standing::Dead);
        assert_eq!(peers.dead(at(150)), [(other.clone(), at(150))]);
        let first = peers.begin(&other, false).unwrap();
        assert!(matches!(peers.begin(&other, false), Err(Unanswered::Overloaded)));
        drop(first);
        peers.strike(&other);
        peers.strike(&other);
        assert!(matches!(peers.begin(&other, false), Err(Unanswered::Silent)));
        assert!(peers.begin(&other, true).is_ok());
        peers.answered(&other);
        assert!(peers.begin(&other, false).is_ok());
        peers.update(&[], at(200));
        assert_eq!(peers.standing(&other, at(200)), Standing::Unknown);
    }
}

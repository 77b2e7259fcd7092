//! Users who roam between nodes whose network misbehaves, and senders who write to them all the while: nothing kept is
//! lost, each session sees every sender's messages in order and once, and in the end one session a user is left.
//! `TOK_SEED=N cargo test -p tok-cluster --test promises` replays one seed; `TOK_SEEDS=N` runs so many.

mod common;

use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use common::{HOUR, Nodes, SECOND};
use futures_util::future::{join, join_all};
use tok_cluster::{Link, Plan};
use tok_core::{
    Device, Sso, Uid,
    testkit::{MemoryPeer, Read, sim::Sim},
};

const NODES: u64 = 3;
const USERS: u64 = 2;
const SENDERS: u64 = 3;
const MESSAGES: u64 = 25;

/// A message: who sent it, and its number.
type Sent = (u64, u64);

#[derive(Default)]
struct Model {
    accepted: BTreeMap<u64, BTreeSet<Sent>>,
    seen: BTreeMap<u64, BTreeSet<Sent>>,
    senders_left: u64,
    trouble_left: bool,
    left: Vec<MemoryPeer>,
}

struct World<'a> {
    nodes: &'a Nodes,
    model: RefCell<Model>,
}

impl World<'_> {
    fn below(&self, limit: u64) -> u64 {
        self.nodes.rt.below(limit)
    }

    async fn pause(&self, longest: Duration) {
        let millis = u64::try_from(longest.as_millis()).unwrap();
        self.nodes.rt.sleep(Duration::from_millis(self.below(millis))).await;
    }

    fn node(&self) -> usize {
        usize::try_from(self.below(NODES)).unwrap()
    }

    async fn sender(&self, user: u64, sender: u64) {
        let hub = self.nodes.hub(self.node());
        for number in 0..MESSAGES {
            self.pause(SECOND).await;
            let send = hub.send(Uid::from(user), format!("{sender} {number}"));
            if self.below(3) == 0 {
                // What is not kept may get lost, but not overtake.
                let _ = send.await;
                continue;
            }
            let sent = send.ttl(HOUR).await;
            // The queue works all the time: what is to be kept is kept whatever the network does.
            sent.unwrap();
            self.model.borrow_mut().accepted.entry(user).or_default().insert((sender, number));
        }
        self.model.borrow_mut().senders_left -= 1;
    }

    /// Logs in here and there, reads for a while, and leaves one way or the other.
    async fn client(&self, user: u64) {
        while self.is_busy() {
            let peer = self.nodes.connect(self.node(), Device::new(Uid::from(user)));
            let kind = self.below(4);
            let reads = self.below(30);
            let peer = self.read(user, peer, |read| read >= reads).await;
            match (kind, peer) {
                (0, Some(peer)) => peer.vanish(),
                (1, Some(peer)) => peer.reset(),
                (2, Some(peer)) => peer.close(),
                // Left connected: the next login displaces it.
                (_, Some(peer)) => self.model.borrow_mut().left.push(peer),
                (_, None) => {}
            }
            self.pause(SECOND).await;
        }
        // Calm: one last login reads what is left.
        let mut logins = 0;
        while !self.is_complete(user) {
            logins += 1;
            assert!(logins < 20, "user {user} is never served: {:?} are missing", self.missing(user));
            let peer = self.nodes.connect(self.node(), Device::new(Uid::from(user)));
            self.read(user, peer, |_| self.is_complete(user)).await;
        }
    }

    fn is_busy(&self) -> bool {
        let model = self.model.borrow();
        model.senders_left > 0 || model.trouble_left
    }

    fn missing(&self, user: u64) -> Vec<Sent> {
        let model = self.model.borrow();
        let seen = model.seen.get(&user);
        let missing = |sent: &&Sent| !seen.is_some_and(|seen| seen.contains(sent));
        model.accepted.get(&user).into_iter().flatten().filter(missing).copied().collect()
    }

    fn is_complete(&self, user: u64) -> bool {
        self.missing(user).is_empty()
    }

    /// Reads one session until it ends, is silent for long, or `enough` is read. Gives the connection back if it still
    /// stands.
    async fn read(
        &self,
        user: u64,
        mut peer: MemoryPeer,
        enough: impl Fn(u64) -> bool,
    ) -> Option<MemoryPeer> {
        let (mut last, mut idle, mut read): (BTreeMap<u64, u64>, _, _) = (BTreeMap::new(), 0, 0);
        while idle < 400 && !enough(read) {
            match peer.try_recv() {
                Some(Read::Message(message)) => {
                    let text = message.as_text().unwrap();
                    let (sender, number) = text.split_once(' ').unwrap();
                    let (sender, number) = (sender.parse().unwrap(), number.parse().unwrap());
                    let before = last.insert(sender, number);
                    assert!(before < Some(number), "user {user}: {number} of {sender} after {before:?}");
                    self.model.borrow_mut().seen.entry(user).or_default().insert((sender, number));
                    (idle, read) = (0, read + 1);
                }
                Some(_) => return None,
                None => {
                    idle += 1;
                    self.nodes.rt.sleep(Duration::from_millis(25)).await;
                }
            }
        }
        Some(peer)
    }

    /// Links that break and heal, and a broker that goes away and loses its data.
    async fn trouble(&self) {
        for _ in 0..self.below(6) {
            self.pause(5 * SECOND).await;
            let node = self.node();
            match self.below(5) {
                0 => self.nodes.link(node, Link::BlackHole),
                1 => self.nodes.link(node, Link::Deaf),
                2 => self.nodes.broker.stop(),
                3 => self.nodes.broker.wipe(),
                _ => self.nodes.link(node, Link::Cut),
            }
            self.pause(25 * SECOND).await;
            self.nodes.link(node, Link::Up);
            self.nodes.broker.start();
        }
        for node in &self.nodes.nodes {
            node.faults.set_link(Link::Up);
            node.faults.set_plan(Plan::default());
        }
        let well = async || self.nodes.nodes.iter().all(|node| node.cluster.healthy());
        self.nodes.until("all nodes are well", well).await;
        self.model.borrow_mut().trouble_left = false;
    }
}

async fn run(sim: &Sim) {
    let nodes = Nodes::with(sim, 3, Sso::PerUser, |builder| builder).await;
    for node in &nodes.nodes {
        let delay = Duration::from_millis(nodes.rt.below(60));
        let (lose, duplicate) = (nodes.rt.below(60), nodes.rt.below(60));
        node.faults.set_plan(Plan { delay, lose, duplicate, fail: nodes.rt.below(60) });
    }
    let model = Model { senders_left: USERS * SENDERS, trouble_left: true, ..Model::default() };
    let world = World { nodes: &nodes, model: RefCell::new(model) };
    let senders = (0..USERS).flat_map(|user| (0..SENDERS).map(move |sender| (user, sender)));
    let senders = join_all(senders.map(|(user, sender)| world.sender(user, sender)));
    let clients = join_all((0..USERS).map(|user| world.client(user)));
    join(join(senders, clients), world.trouble()).await;

    let settled = async || {
        let sessions: usize = nodes.nodes.iter().map(|node| node.hub.stats().sessions).sum();
        let mut rows = 0;
        for user in 0..USERS {
            rows += nodes.rows(&user.to_string()).await.len();
        }
        sessions == rows && rows <= usize::try_from(USERS).unwrap()
    };
    nodes.until("at most one session a user is left, and its row", settled).await;
    let repaired = async || nodes.nodes.iter().all(|node| node.cluster.stats().to_repair == 0);
    nodes.until("nothing is left to repair", repaired).await;
}

#[test]
fn promises_hold_across_nodes_whatever_the_network_does() {
    let number = |name| std::env::var(name).ok().and_then(|value| value.parse::<u64>().ok());
    let seeds = match number("TOK_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("TOK_SEEDS").unwrap_or(60),
    };
    common::seeds(seeds, run);
}

#[test]
fn the_same_seed_takes_the_same_steps() {
    for seed in 0..5 {
        let trace = |_| {
            let sim = Sim::new(seed);
            sim.run(run(&sim)).unwrap();
            sim.trace()
        };
        assert_eq!(trace(0), trace(1), "seed {seed}");
    }
}

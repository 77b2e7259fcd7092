//! What failed, or may have been missed, is made up for here.

use std::{
    collections::{BTreeMap, BTreeSet},
    pin::pin,
    sync::{Arc, Weak},
    time::Duration,
};

use futures_util::future::{join_all, select};
use tok_core::{
    Epoch, Uid,
    queue::Seq,
    relay::{Delivery, RelayError},
    rt::{Instant, Runtime},
};

use super::{Inner, PAGE, ask::Unanswered, claims::Session, peers::Standing};
use crate::{
    Cursor, NodeId, SessionRow,
    frame::{Body, Reply},
    sync::Mutex,
    wait::Bell,
};

/// How often what is pending is tried again.
const TICK: Duration = Duration::from_secs(1);

/// Remembered of each kind. What is over it is made up for when its node notices a gap, or by the lease.
const MAX_PENDING: usize = 65_536;

/// How often the queue is looked into for each user here, in case another node died before it said that it stored
/// something; and for how many users a tick at most: a node with very many takes longer round.
const SWEEP_TICKS: usize = 30;
const SWEEP_USERS: usize = 256;

/// Operations of a repair that run at once.
const BATCH: usize = 64;

/// Rows of a dead node that are removed at once.
const REAP: usize = 1000;

/// What is tried again.
#[derive(Debug, Default)]
pub(super) struct Pending {
    state: Mutex<State>,
}

type ClaimedKey = (NodeId, Uid, Option<String>);

#[derive(Debug, Default)]
struct State {
    /// Users whose rows of this node may not be what they should be.
    unsettled: BTreeSet<Uid>,
    /// Logins that a node has yet to hear of.
    claimed: BTreeMap<ClaimedKey, Epoch>,
    /// Stored messages that a node has yet to hear of.
    stored: BTreeMap<Uid, Seq>,
    /// Nodes of which there are rows and, since then, no lease.
    strangers: BTreeMap<NodeId, Instant>,
}

impl Pending {
    pub(super) fn len(&self) -> usize {
        let state = self.state.lock();
        state.unsettled.len() + state.claimed.len() + state.stored.len()
    }
}

fn insert<K: Ord, V: Ord + Copy>(map: &mut BTreeMap<K, V>, key: K, value: V) {
    if let Some(known) = map.get_mut(&key) {
        *known = value.max(*known);
    } else if map.len() < MAX_PENDING {
        map.insert(key, value);
    }
}

/// How far the round through the users has come.
#[derive(Debug, Default)]
struct Sweep {
    next: Instant,
    part: usize,
    waiting: Vec<Uid>,
}

/// What ends with the node.
pub(super) async fn run(inner: Weak<Inner>, bell: Arc<Bell>, runtime: Arc<dyn Runtime>) {
    let mut sweep = Sweep::default();
    loop {
        let next = runtime.now().saturating_add(TICK);
        select(pin!(bell.heard()), runtime.sleep_until(next)).await;
        let Some(strong) = inner.upgrade() else { return };
        if strong.status.phase() == super::status::Phase::Left {
            return;
        }
        if strong.status.is_joined() {
            strong.repair().await;
            strong.sweep(&mut sweep);
        }
    }
}

impl Inner {
    /// The rows of this user may not be what they should be.
    pub(super) fn unsettled(&self, uid: &Uid) {
        let mut state = self.pending.state.lock();
        if state.unsettled.len() < MAX_PENDING {
            state.unsettled.insert(uid.clone());
        }
    }

    /// A node did not hear of a login here.
    pub(super) fn remember_claimed(&self, node: &NodeId, uid: &Uid, class: Option<&str>, epoch: Epoch) {
        let key = (node.clone(), uid.clone(), class.map(str::to_owned));
        insert(&mut self.pending.state.lock().claimed, key, epoch);
    }

    /// A node did not hear of a stored message.
    pub(super) fn remember_stored(&self, uid: &Uid, seq: Seq) {
        insert(&mut self.pending.state.lock().stored, uid.clone(), seq);
    }

    async fn repair(&self) {
        let timeout = self.settings.request_timeout;
        // Whoever answers again is waited for again.
        let silent = self.peers.silent();
        join_all(silent.iter().map(|node| self.ask(node, Body::Probe, timeout, true))).await;
        if self.status.take_gap(self.now()) {
            match self.assert_all().await {
                Ok(()) => self.status.synced(),
                Err(_) => self.status.gap_again(),
            }
            if self.find_ghosts().await.is_err() {
                self.status.gap_again();
            }
        }
        self.tell_claimed_again().await;
        self.tell_stored_again().await;
        self.settle_all().await;
        self.reap().await;
    }

    /// Puts back what the registry has lost of this node's rows, and ends what has lost its place meanwhile.
    async fn assert_all(&self) -> Result<(), RelayError> {
        for part in self.claims.parts() {
            for batch in part.chunks(BATCH) {
                for result in join_all(batch.iter().map(|session| self.assert(session))).await {
                    result?;
                }
            }
        }
        Ok(())
    }

    async fn assert(&self, (uid, class, epoch): &Session) -> Result<(), RelayError> {
        let row = SessionRow { uid: uid.clone(), node: self.me.clone(), class: class.clone(), epoch: *epoch };
        let restored = self.registry_of(uid, self.registry.restore(&row)).await?;
        if !self.claims.has(uid, *epoch) {
            // It ended meanwhile, and its release may have come first.
            return self.registry_of(uid, self.registry.release(uid, *epoch)).await.map(drop);
        }
        if let Some(hub) = self.node.get() {
            // What was stored meanwhile, somebody may have said in vain.
            hub.recheck(uid);
        }
        let mut rows = self.live(restored.others.clone()).await;
        // Rows of logins here that failed, or are not done: they displace nobody.
        rows.retain(|other| other.node != self.me || self.claims.has(uid, other.epoch));
        rows.push(row.clone());
        for node in self.places(&rows) {
            self.claims.note(uid, &node);
        }
        // A broker that lost its data knows nothing of a node which has not renewed its lease since. A node that is gone
        // costs one request, after which the user is looked up again.
        let now = self.now();
        let unknown = |row: &&SessionRow| self.peers.standing(&row.node, now) == Standing::Unknown;
        for row in restored.others.iter().filter(unknown) {
            self.claims.note(uid, &row.node);
        }
        if restored.added {
            // Whoever logged in while the row was missing knows nothing of this session.
            for node in self.nodes_of(&rows) {
                self.remember_claimed(&node, uid, class.as_deref(), *epoch);
            }
        }
        if let (Some(newer), Some(class), Some(hub)) = (
            rows.iter().filter(|other| row.is_superseded_by(other)).max_by_key(|other| other.epoch),
            class,
            self.node.get(),
        ) {
            hub.evict(uid, class, newer.epoch);
        }
        Ok(())
    }

    /// Rows that no session has: a server that lost its newest part, and with it what was removed, has them again. Those of
    /// this node go as those of logins that failed do, and those of nodes that are long gone as a dead node's.
    async fn find_ghosts(&self) -> Result<(), RelayError> {
        let mut next = Some(Cursor::START);
        let mut strangers = BTreeSet::new();
        while let Some(after) = next {
            let page = self.registry(self.registry.page(after, PAGE)).await?;
            for row in page.rows {
                if row.node != self.me {
                    strangers.insert(row.node);
                } else if !self.claims.has(&row.uid, row.epoch) {
                    self.unsettled(&row.uid);
                }
            }
            next = page.next;
        }
        let now = self.now();
        strangers.retain(|node| self.peers.standing(node, now) == Standing::Unknown);
        let mut state = self.pending.state.lock();
        for node in strangers {
            if state.strangers.len() < MAX_PENDING {
                state.strangers.entry(node).or_insert(now);
            }
        }
        Ok(())
    }

    /// Nodes that have left rows and not had a lease since: by now each node that lives has asked for one again.
    fn strangers(&self, now: Instant) -> Vec<NodeId> {
        let mut state = self.pending.state.lock();
        state.strangers.retain(|node, _| self.peers.standing(node, now) == Standing::Unknown);
        let gone =
            state.strangers.iter().filter(|(_, since)| now >= since.saturating_add(self.settings.lease));
        gone.map(|(node, _)| node.clone()).collect()
    }

    async fn tell_claimed_again(&self) {
        let pending: Vec<(ClaimedKey, Epoch)> = {
            let state = self.pending.state.lock();
            state.claimed.iter().map(|(key, epoch)| (key.clone(), *epoch)).collect()
        };
        for batch in pending.chunks(BATCH) {
            let told = join_all(batch.iter().map(|((node, uid, class), epoch)| async move {
                match self.peers.standing(node, self.now()) {
                    // It has no sessions any more, or none that count; should it live, it knows by itself.
                    Standing::Dead | Standing::Unknown => true,
                    Standing::Live => {
                        let body = Body::Claimed { uid: uid.clone(), class: class.clone(), epoch: *epoch };
                        let answer = self.ask(node, body, self.settings.request_timeout, false).await;
                        matches!(answer, Ok(Reply::Done) | Err(Unanswered::Refused(_)))
                    }
                }
            }))
            .await;
            let mut state = self.pending.state.lock();
            for ((key, epoch), _) in batch.iter().zip(told).filter(|(_, told)| *told) {
                // A newer one may have come meanwhile.
                if state.claimed.get(key) == Some(epoch) {
                    state.claimed.remove(key);
                }
            }
        }
    }

    async fn tell_stored_again(&self) {
        let pending = std::mem::take(&mut self.pending.state.lock().stored);
        let pending: Vec<(Uid, Seq)> = pending.into_iter().collect();
        for batch in pending.chunks(BATCH) {
            // Should a node still be in doubt, it is remembered again.
            let told = batch.iter().map(|(uid, seq)| async move {
                let _ = self.deliver(uid, &Delivery::Stored(*seq)).await;
            });
            join_all(told).await;
        }
    }

    async fn settle_all(&self) {
        let unsettled = std::mem::take(&mut self.pending.state.lock().unsettled);
        let unsettled: Vec<Uid> = unsettled.into_iter().collect();
        for batch in unsettled.chunks(BATCH) {
            join_all(batch.iter().map(|uid| async move {
                if !matches!(self.settle(uid).await, Ok(true)) {
                    self.unsettled(uid);
                }
            }))
            .await;
        }
    }

    /// Makes the user's rows of this node what they should be; `false` while a login is under way.
    async fn settle(&self, uid: &Uid) -> Result<bool, RelayError> {
        if self.claims.is_pending(uid) {
            return Ok(false);
        }
        let rows = self.registry_of(uid, self.registry.lookup(uid)).await?;
        // A login that began meanwhile may have its row there already, and be known only when it is done.
        if self.claims.is_pending(uid) {
            return Ok(false);
        }
        let mine = || rows.iter().filter(|row| row.node == self.me);
        // First what is missing: a login that failed has taken the place of the session's row, and until that is back it
        // is what leads newer logins elsewhere here.
        for (class, epoch) in self.claims.epochs(uid) {
            if !mine().any(|row| row.epoch == epoch) {
                self.assert(&(uid.clone(), class, epoch)).await?;
            }
        }
        for row in mine().filter(|row| !self.claims.has(uid, row.epoch)) {
            self.registry_of(uid, self.registry.release(uid, row.epoch)).await?;
        }
        Ok(true)
    }

    /// Looks into the queue for the users whose turn it is.
    fn sweep(&self, sweep: &mut Sweep) {
        let Some(hub) = self.node.get() else { return };
        let now = self.now();
        if now < sweep.next {
            return;
        }
        sweep.next = now.saturating_add(TICK);
        let users = self.claims.len().div_ceil(SWEEP_TICKS).min(SWEEP_USERS);
        for _ in 0..users {
            if sweep.waiting.is_empty() {
                sweep.waiting = self.claims.part(sweep.part).into_iter().map(|(uid, _, _)| uid).collect();
                sweep.part = sweep.part.wrapping_add(1);
            }
            if let Some(uid) = sweep.waiting.pop() {
                hub.recheck(&uid);
            }
        }
    }

    /// Removes what dead nodes have left.
    async fn reap(&self) {
        let now = self.now();
        // After an outage everybody's lease may be over, and everybody about to renew it.
        let settled = self.status.held_since().map(|since| since.saturating_add(self.settings.lease));
        if settled.is_none_or(|settled| now < settled) || !self.status.is_healthy(now) {
            return;
        }
        // One begins at once, the others each a moment later, in case it does not.
        let turn = self.peers.live(now).iter().filter(|node| **node < self.me).count();
        let patience = TICK * u32::try_from(turn.min(10)).unwrap_or(10);
        for (node, since) in self.peers.dead(now) {
            if now < since.saturating_add(patience) {
                continue;
            }
            while let Ok(true) = self.registry(self.registry.reap(&node, REAP)).await {}
        }
        for node in self.strangers(now) {
            while let Ok(true) = self.registry(self.registry.reap(&node, REAP)).await {}
            self.pending.state.lock().strangers.remove(&node);
        }
    }
}

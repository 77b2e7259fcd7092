//! Whether this node is one of the cluster now.

use std::{
    future::poll_fn,
    task::{Poll, Waker},
};

use tok_core::{error::BoxError, relay::RelayError, rt::Instant};

use crate::sync::Mutex;

/// Probes that may go unanswered before this node takes itself for deaf.
pub(super) const MISSES: u32 = 2;

#[derive(Debug, Default)]
pub(super) struct Status {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    phase: Phase,
    /// The broker says that the connection is lost.
    down: bool,
    misses: u32,
    /// On this node's clock, counted from before the lease was asked for: it ends here before it ends there.
    lease_until: Instant,
    /// Since when it has held without a break.
    held_since: Option<Instant>,
    /// Something may have been missed, and has not been made up for.
    gap: bool,
    /// What is known of users' sessions elsewhere is complete.
    in_sync: bool,
    /// How often the connection came back, and the last time of these that the lease was renewed after.
    outages: u64,
    renewed_after: u64,
    why_not: Option<BoxError>,
    waiting: Vec<Waker>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Phase {
    #[default]
    Joining,
    Joined,
    Left,
}

/// Figures of one node's view of its cluster, as of the moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// Nodes whose lease holds, this one included.
    pub nodes: usize,
    /// Nodes that did not answer, and are not waited for until they do.
    pub silent_nodes: usize,
    /// Sessions that this node has claimed.
    pub claims: usize,
    /// Users on other nodes whose place is remembered.
    pub routes: usize,
    /// Operations that failed and are tried again.
    pub to_repair: usize,
}

impl Status {
    pub(super) fn phase(&self) -> Phase {
        self.state.lock().phase
    }

    pub(super) fn is_joined(&self) -> bool {
        self.phase() == Phase::Joined
    }

    /// The first lease is there.
    pub(super) fn join(&self) {
        let waiting = {
            let mut state = self.state.lock();
            if state.phase == Phase::Joining {
                state.phase = Phase::Joined;
                state.in_sync = true;
            }
            std::mem::take(&mut state.waiting)
        };
        waiting.into_iter().for_each(Waker::wake);
    }

    pub(super) fn not_joined(&self, why: BoxError) {
        self.state.lock().why_not = Some(why);
    }

    /// Says whether this was the call that left.
    pub(super) fn leave(&self) -> bool {
        std::mem::replace(&mut self.state.lock().phase, Phase::Left) != Phase::Left
    }

    pub(super) async fn joined(&self) {
        poll_fn(|cx| {
            let mut state = self.state.lock();
            if state.phase == Phase::Joined {
                return Poll::Ready(());
            }
            state.waiting.retain(|waker| !waker.will_wake(cx.waker()));
            state.waiting.push(cx.waker().clone());
            Poll::Pending
        })
        .await;
    }

    pub(super) fn why_not_joined(&self) -> RelayError {
        let why = self.state.lock().why_not.take();
        RelayError::Unavailable(why.unwrap_or_else(|| "this node has not joined the cluster".into()))
    }

    pub(super) fn is_healthy(&self, now: Instant) -> bool {
        let state = self.state.lock();
        state.phase == Phase::Joined && !state.down && state.misses < MISSES && now < state.lease_until
    }

    pub(super) fn set_down(&self) {
        self.state.lock().down = true;
    }

    /// The connection is back.
    pub(super) fn set_up(&self) {
        let mut state = self.state.lock();
        state.down = false;
        state.outages += 1;
    }

    pub(super) fn outages(&self) -> u64 {
        self.state.lock().outages
    }

    /// Frames to this node may have been missed, or its lease may have been over.
    pub(super) fn gap(&self) {
        let mut state = self.state.lock();
        state.gap = true;
        state.in_sync = false;
    }

    /// What was to make up for the gap failed.
    pub(super) fn gap_again(&self) {
        self.state.lock().gap = true;
    }

    /// A probe came back or did not. Returns the misses in a row before and after.
    pub(super) fn probed(&self, answered: bool) -> (u32, u32) {
        let mut state = self.state.lock();
        let before = state.misses;
        state.misses = if answered { 0 } else { before.saturating_add(1) };
        (before, state.misses)
    }

    /// The lease was renewed, after so many outages; the registry had or `had` not the one before.
    pub(super) fn renewed(&self, had: bool, outages: u64, now: Instant, until: Instant) {
        let mut state = self.state.lock();
        let joins = state.held_since.is_none();
        if !had || now >= state.lease_until {
            state.held_since = Some(now);
            state.gap |= !joins;
            state.in_sync &= joins;
        }
        state.renewed_after = outages;
        state.lease_until = until;
    }

    pub(super) fn lease_until(&self) -> Instant {
        self.state.lock().lease_until
    }

    pub(super) fn held_since(&self) -> Option<Instant> {
        self.state.lock().held_since
    }

    /// Takes the gap on, if there is one: from here on a new one counts as such. Rows of a node without a lease are
    /// not there to stay, so the lease comes first.
    pub(super) fn take_gap(&self, now: Instant) -> bool {
        let mut state = self.state.lock();
        let leased = state.renewed_after == state.outages && now < state.lease_until;
        leased && std::mem::take(&mut state.gap)
    }

    /// What was missed has been made up for, unless more was meanwhile.
    pub(super) fn synced(&self) {
        let mut state = self.state.lock();
        state.in_sync = !state.gap;
    }

    /// Whether what this node knows of its users' sessions elsewhere is complete.
    pub(super) fn is_in_sync(&self) -> bool {
        self.state.lock().in_sync
    }
}

//! What is counted: what was done, and what broke.

use std::{ops::AddAssign, time::Duration};

use super::ledger::Broken;

/// Failures of a round that are told; the rest are counted.
const MAX_TOLD: usize = 10;

/// What was done, for the report.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Stats {
    pub(super) sessions: u64,
    pub(super) sent: u64,
    pub(super) delivered: u64,
    pub(super) kept: u64,
    pub(super) echoes: u64,
    pub(super) refused: u64,
    pub(super) takeovers: u64,
    /// Of these, those by a login on another node.
    pub(super) moves: u64,
    pub(super) contests: u64,
    /// Logins that could not be claimed in a cluster.
    pub(super) turned_away: u64,
    pub(super) leaves: u64,
    pub(super) vanishings: u64,
    pub(super) freezes: u64,
    pub(super) slow: u64,
    pub(super) kicked: u64,
    pub(super) pauses: u64,
    pub(super) kills: u64,
    pub(super) drains: u64,
    pub(super) cut_drains: u64,
    pub(super) longest_drain: Duration,
    pub(super) broker_kills: u64,
    pub(super) broker_pauses: u64,
}

impl AddAssign for Stats {
    fn add_assign(&mut self, other: Self) {
        self.sessions += other.sessions;
        self.sent += other.sent;
        self.delivered += other.delivered;
        self.kept += other.kept;
        self.echoes += other.echoes;
        self.refused += other.refused;
        self.takeovers += other.takeovers;
        self.moves += other.moves;
        self.contests += other.contests;
        self.turned_away += other.turned_away;
        self.leaves += other.leaves;
        self.vanishings += other.vanishings;
        self.freezes += other.freezes;
        self.slow += other.slow;
        self.kicked += other.kicked;
        self.pauses += other.pauses;
        self.kills += other.kills;
        self.drains += other.drains;
        self.cut_drains += other.cut_drains;
        self.longest_drain = self.longest_drain.max(other.longest_drain);
        self.broker_kills += other.broker_kills;
        self.broker_pauses += other.broker_pauses;
    }
}

/// What broke, by promise.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counts {
    pub(super) lost: u64,
    pub(super) disorder: u64,
    /// Twice within a session.
    pub(super) duplicates: u64,
    /// Confirmed, and in a later session again.
    pub(super) again: u64,
    /// From or to a session that had lost its place.
    pub(super) stale: u64,
    /// Sessions, files and memory that stayed when all had left.
    pub(super) leaks: u64,
    /// Anything else: an end without a reason, an answer that is missing, a panic.
    pub(super) other: u64,
}

impl Counts {
    pub(super) fn total(&self) -> u64 {
        self.lost + self.disorder + self.duplicates + self.again + self.stale + self.leaks + self.other
    }

    pub(super) fn of(&mut self, broken: Broken) -> &mut u64 {
        match broken {
            Broken::Lost => &mut self.lost,
            Broken::Disorder | Broken::Overtaken => &mut self.disorder,
            Broken::Twice => &mut self.duplicates,
            Broken::Again => &mut self.again,
            Broken::Stale => &mut self.stale,
        }
    }
}

impl AddAssign for Counts {
    fn add_assign(&mut self, other: Self) {
        self.lost += other.lost;
        self.disorder += other.disorder;
        self.duplicates += other.duplicates;
        self.again += other.again;
        self.stale += other.stale;
        self.leaks += other.leaks;
        self.other += other.other;
    }
}

/// What broke in a round.
#[derive(Clone, Debug, Default)]
pub(super) struct Failures {
    pub(super) counts: Counts,
    pub(super) told: Vec<String>,
}

impl Failures {
    /// Something is wrong that has no name of its own.
    pub(super) fn other(&mut self, text: String) {
        self.counts.other += 1;
        self.tell(text);
    }

    /// Something stayed when all had left.
    pub(super) fn leak(&mut self, text: String) {
        self.counts.leaks += 1;
        self.tell(text);
    }

    pub(super) fn tell(&mut self, text: String) {
        if self.told.len() < MAX_TOLD {
            self.told.push(text);
        }
    }
}

//! What the clients of a round, and those who trouble its gateway, know together.

use std::{
    cell::{Cell, RefCell},
    net::SocketAddr,
    ops::AddAssign,
    pin::pin,
    time::{Duration, Instant},
};

use tokio::{
    sync::{Notify, watch},
    time::timeout,
};

use super::{
    ledger::{Broken, Ledger, Violation},
    plan::{Plan, Sso},
};

/// Much longer than anything takes on a loaded machine: only what will never come takes this long.
pub(super) const GUARD: Duration = Duration::from_secs(60);

/// [`GUARD`] is waited for in pieces, each of which takes as long as the machine lets it.
const PIECE: Duration = Duration::from_millis(500);

/// Failures of a round that are told; the rest are counted.
const MAX_TOLD: usize = 10;

/// Waits for what has to come; `None` if it does not. A machine that has no time for this process makes it wait longer.
pub(super) async fn guarded<F: Future>(what: F) -> Option<F::Output> {
    let mut what = pin!(what);
    for _ in 0..GUARD.as_millis() / PIECE.as_millis() {
        if let Ok(output) = timeout(PIECE, &mut what).await {
            return Some(output);
        }
    }
    None
}

/// The listeners of a gateway.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Addresses {
    pub(super) ws: SocketAddr,
    pub(super) tcp: SocketAddr,
}

/// The gateway, as its clients know it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Status {
    /// Counts the processes.
    pub(super) generation: u32,
    /// `None` from before it is killed or drained until the next one listens.
    pub(super) addresses: Option<Addresses>,
}

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
    pub(super) contests: u64,
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
        self.contests += other.contests;
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

    fn tell(&mut self, text: String) {
        if self.told.len() < MAX_TOLD {
            self.told.push(text);
        }
    }
}

/// One round. Everything of it runs on one thread.
#[derive(Debug)]
pub(super) struct World {
    pub(super) seed: u64,
    pub(super) plan: Plan,
    pub(super) ledger: RefCell<Ledger>,
    pub(super) stats: RefCell<Stats>,
    pub(super) failures: RefCell<Failures>,
    /// Nothing more will happen to the gateway.
    pub(super) is_quiet: Cell<bool>,
    /// Every event goes to stderr.
    traced: bool,
    status: watch::Sender<Status>,
    begin: Instant,
    /// `traffic` waits for so many deliveries.
    goal: Cell<u64>,
    reached: Notify,
}

impl World {
    pub(super) fn new(seed: u64, plan: Plan, addresses: Addresses, traced: bool) -> Self {
        Self {
            seed,
            ledger: RefCell::new(Ledger::new(plan.users, plan.sso == Sso::User)),
            plan,
            stats: RefCell::default(),
            failures: RefCell::default(),
            is_quiet: Cell::new(false),
            traced,
            status: watch::Sender::new(Status { generation: 0, addresses: Some(addresses) }),
            begin: Instant::now(),
            goal: Cell::new(u64::MAX),
            reached: Notify::new(),
        }
    }

    /// Nanoseconds on the clock of all clients.
    pub(super) fn now(&self) -> u64 {
        u64::try_from(self.begin.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    /// The name of a user. Rounds share servers, and so no two rounds share a user. What is behind the number means
    /// something to a queue's server, to a path, to a login or to nobody, and is to be a name and nothing else.
    pub(super) fn uid(&self, user: usize) -> String {
        const ENDINGS: [&str; 8] =
            ["", ".*.>", " a+b%2e", "/../..", "{1}:list", "\r\nPING\r\n", "\u{e9}\u{1f600}", "&uid=x;\0"];
        format!("r{}u{user}{}", self.plan.turn, ENDINGS[user % ENDINGS.len()])
    }

    pub(super) fn drained(&self, took: Duration) {
        let mut stats = self.stats.borrow_mut();
        stats.longest_drain = stats.longest_drain.max(took);
    }

    pub(super) fn count(&self, what: impl FnOnce(&mut Stats) -> &mut u64) {
        *what(&mut self.stats.borrow_mut()) += 1;
    }

    /// Something happens.
    pub(super) fn trace(&self, what: impl FnOnce() -> String) {
        if self.traced {
            eprintln!("{:>9.3} ms  {}", self.now() as f64 / 1e6, what());
        }
    }

    /// Something is wrong that has no name of its own.
    pub(super) fn fail(&self, text: String) {
        self.failures.borrow_mut().other(text);
        self.reached.notify_one();
    }

    pub(super) fn leak(&self, text: String) {
        let mut failures = self.failures.borrow_mut();
        failures.counts.leaks += 1;
        failures.tell(text);
    }

    pub(super) fn broken(&self, violation: &Violation) {
        let mut failures = self.failures.borrow_mut();
        *failures.counts.of(violation.broken) += 1;
        failures.tell(violation.to_string());
        self.reached.notify_one();
    }

    pub(super) fn has_failed(&self) -> bool {
        self.failures.borrow().counts.total() > 0
    }

    /// The gateway is about to end.
    pub(super) fn goes_down(&self) {
        self.status.send_modify(|status| status.addresses = None);
    }

    /// A new gateway listens.
    pub(super) fn is_up(&self, addresses: Addresses) {
        self.status.send_modify(|status| {
            status.generation += 1;
            status.addresses = Some(addresses);
        });
    }

    /// Whether the process that was there at this generation has ended, or is about to.
    pub(super) fn was_disturbed(&self, generation: u32) -> bool {
        let status = *self.status.borrow();
        status.generation != generation || status.addresses.is_none()
    }

    /// Waits for a gateway; `None` if there is none in time.
    pub(super) async fn gateway(&self) -> Option<(u32, Addresses)> {
        let mut status = self.status.subscribe();
        let up = guarded(status.wait_for(|status| status.addresses.is_some())).await;
        let found = up.and_then(Result::ok).map(|status| *status);
        let found = found.and_then(|status| Some((status.generation, status.addresses?)));
        if found.is_none() {
            self.fail("no gateway came back".to_owned());
        }
        found
    }

    /// A client received something.
    pub(super) fn delivered(&self) {
        let mut stats = self.stats.borrow_mut();
        stats.delivered += 1;
        if stats.delivered >= self.goal.get() {
            self.reached.notify_one();
        }
    }

    /// Waits until so many more messages have been delivered.
    pub(super) async fn traffic(&self, more: usize) {
        let goal = self.stats.borrow().delivered + more as u64;
        self.goal.set(goal);
        while self.stats.borrow().delivered < goal && !self.has_failed() {
            if guarded(self.reached.notified()).await.is_none() {
                self.fail(format!("less than {more} messages were delivered in {} s", GUARD.as_secs()));
            }
        }
        self.goal.set(u64::MAX);
    }
}

//! What the clients of a round, and those who trouble its gateways, know together.

use std::{
    cell::{Cell, RefCell},
    collections::BTreeMap,
    pin::pin,
    time::{Duration, Instant},
};

use tokio::{sync::Notify, time::timeout};

use super::{
    counts::{Failures, Stats},
    gateways::{Addresses, Gateways, Process},
    ledger::{Ledger, Violation},
    plan::{Plan, Sso},
};

/// Much longer than anything takes on a loaded machine: only what will never come takes this long.
pub(super) const GUARD: Duration = Duration::from_secs(60);

/// [`GUARD`] is waited for in pieces, each of which takes as long as the machine lets it.
const PIECE: Duration = Duration::from_millis(500);

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

/// One round. Everything of it runs on one thread.
#[derive(Debug)]
pub(super) struct World {
    pub(super) seed: u64,
    pub(super) plan: Plan,
    pub(super) ledger: RefCell<Ledger>,
    pub(super) stats: RefCell<Stats>,
    pub(super) failures: RefCell<Failures>,
    pub(super) gateways: Gateways,
    /// Processes that were drained, and how many sessions each had to cut off.
    drains: RefCell<BTreeMap<Process, usize>>,
    /// Sessions that ended without a goodbye when their process did.
    unannounced: RefCell<Vec<(Process, String)>>,
    /// Nothing more will happen to the gateways.
    pub(super) is_quiet: Cell<bool>,
    /// Every event goes to stderr.
    traced: bool,
    begin: Instant,
    /// `traffic` waits for so many deliveries.
    goal: Cell<u64>,
    reached: Notify,
}

impl World {
    pub(super) fn new(
        seed: u64,
        plan: Plan,
        addresses: impl IntoIterator<Item = Addresses>,
        traced: bool,
    ) -> Self {
        let ledger = Ledger::new(plan.users, plan.sso == Sso::User).in_cluster(plan.setup.is_cluster());
        Self {
            seed,
            ledger: RefCell::new(ledger),
            gateways: Gateways::new(addresses),
            plan,
            stats: RefCell::default(),
            failures: RefCell::default(),
            drains: RefCell::default(),
            unannounced: RefCell::default(),
            is_quiet: Cell::new(false),
            traced,
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

    /// A gateway was drained.
    pub(super) fn drained(&self, process: Process, took: Duration, cut_off: usize) {
        let mut stats = self.stats.borrow_mut();
        stats.longest_drain = stats.longest_drain.max(took);
        self.drains.borrow_mut().insert(process, cut_off);
    }

    /// A session ended without a goodbye, together with its process.
    pub(super) fn ends_unannounced(&self, process: Process, session: String) {
        self.unannounced.borrow_mut().push((process, session));
    }

    /// Whoever is not cut off gets a goodbye when a gateway is drained.
    pub(super) fn check_goodbyes(&self) {
        for (process, cut_off) in self.drains.borrow().iter() {
            let unannounced = self.unannounced.borrow();
            let missing: Vec<&str> = unannounced
                .iter()
                .filter(|(of, _)| of == process)
                .map(|(_, session)| session.as_str())
                .collect();
            if missing.len() > *cut_off {
                let missing = missing.join(", ");
                self.fail(format!("without a goodbye, though the drain cut off {cut_off}: {missing}"));
            }
        }
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
        self.failures.borrow_mut().leak(text);
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

    /// The process, as the checker tells them apart. Those of a gateway that is alone follow one another and go on where the
    /// one before ended, and so they are one.
    pub(super) fn place(&self, process: Process) -> Process {
        if self.plan.setup.is_cluster() { process } else { Process::default() }
    }

    /// A gateway's process is about to end without being asked.
    pub(super) fn is_about_to_die(&self) {
        if self.plan.setup.is_cluster() {
            self.ledger.borrow_mut().reach.dies(self.now());
        }
    }

    /// The gateway's process has ended without being asked.
    pub(super) fn was_killed(&self, node: usize) {
        let mut ledger = self.ledger.borrow_mut();
        ledger.killed(self.place(self.gateways.process(node)));
        if self.plan.setup.is_cluster() {
            ledger.reach.dies(self.now());
        }
    }

    /// Whether the cluster's bounds let an operation fail now with this line, for a session on this node.
    pub(super) fn may_fail(&self, line: &str, node: usize) -> bool {
        self.plan.setup.is_cluster() && self.ledger.borrow().reach.may_fail(line, node, self.now())
    }

    /// Waits for a gateway, this one or another; `None` if there is none in time.
    pub(super) async fn gateway(&self, node: usize) -> Option<(Process, Addresses)> {
        let found = self.gateways.find(node).await;
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stress::plan::Setup;

    #[test]
    fn whoever_a_drain_does_not_cut_off_needs_a_goodbye() {
        for (unannounced, cut_off, is_well) in [(0, 0, true), (2, 2, true), (1, 0, false), (3, 2, false)] {
            let nowhere = ([127, 0, 0, 1], 1).into(); // port: nobody connects
            let plan = Plan::new(7, 0, &Setup::all());
            let addresses = Addresses { ws: nowhere, tcp: nowhere, metrics: None };
            let world = World::new(7, plan, [addresses], false);
            let [drained, killed] = [0, 1].map(|generation| Process { node: 0, generation });
            for session in 0..unannounced {
                world.ends_unannounced(drained, format!("session {session}"));
            }
            world.ends_unannounced(killed, "session 9".to_owned());
            world.drained(drained, Duration::from_secs(1), cut_off);
            world.check_goodbyes();
            assert_eq!(!world.has_failed(), is_well, "{unannounced} of {cut_off}");
        }
    }
}

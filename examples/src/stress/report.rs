//! What was done, and what was wrong.

use std::{collections::BTreeMap, fmt::Write as _, time::Duration};

use super::{
    counts::{Counts, Failures, Stats},
    memory::{Memory, Slope},
    plan::{DRAIN_SECONDS, Setup},
    round::Outcome,
};

/// A gateway that lives on may grow by so much a minute, in the second half of a run that is long enough to tell. A leak
/// of one session's few kilobytes at the churn of the run is several times as much.
const MAX_SLOPE: f64 = 1_048_576.0;

/// A half that is shorter shows the allocator and nothing else.
const LONG_ENOUGH: f64 = 300.0;

/// One run.
#[derive(Debug)]
pub(super) struct Report {
    seed: u64,
    rounds: BTreeMap<Setup, u64>,
    stats: Stats,
    /// Of these, those of rounds in clusters.
    in_clusters: Stats,
    answered: usize,
    counts: Counts,
    /// Failing rounds, and what was wrong.
    failing: Vec<String>,
    slopes: Vec<String>,
    /// The most bytes by which a gateway's memory grew in a round.
    growth: u64,
}

impl Report {
    /// Of a run in which each of these has its turn, if there is time.
    pub(super) fn new(seed: u64, offered: &[Setup]) -> Self {
        Self {
            seed,
            rounds: offered.iter().map(|setup| (*setup, 0)).collect(),
            stats: Stats::default(),
            in_clusters: Stats::default(),
            answered: 0,
            counts: Counts::default(),
            failing: Vec::new(),
            slopes: Vec::new(),
            growth: 0,
        }
    }

    pub(super) fn add(&mut self, number: u64, plan: &str, setup: Setup, outcome: Outcome) {
        let Outcome { stats, failures, answered, rest } = outcome;
        if let Some((before, after)) = rest {
            self.growth = self.growth.max(after.bytes.saturating_sub(before.bytes));
        }
        *self.rounds.entry(setup).or_default() += 1;
        self.stats += stats;
        if setup.is_cluster() {
            self.in_clusters += stats;
        }
        self.answered += answered;
        let Failures { counts, told } = failures;
        self.counts += counts;
        if counts.total() > 0 {
            let mut text = format!(
                "round {number}, {plan}: {} failures\n  again: cargo xtask stress --seed {} --round {number}",
                counts.total(),
                self.seed
            );
            for failure in &told {
                // Writing to a string does not fail.
                let _ = write!(text, "\n  {failure}");
            }
            self.failing.push(text);
        }
    }

    /// Something is wrong that belongs to no round.
    pub(super) fn fail(&mut self, text: String) {
        self.counts.other += 1;
        self.failing.push(text);
    }

    /// Something stayed that belongs to no round.
    pub(super) fn leak(&mut self, text: String) {
        self.counts.leaks += 1;
        self.failing.push(text);
    }

    pub(super) fn drained(&mut self, took: Duration) {
        self.stats.longest_drain = self.stats.longest_drain.max(took);
    }

    /// What a gateway that lived as long as the run held.
    pub(super) fn memory(&mut self, setup: Setup, memory: &Memory) {
        let Some(Slope { samples, seconds, bytes_a_minute, bytes }) = memory.slope() else {
            self.slopes.push(format!("{setup:<42}  too few samples"));
            return;
        };
        let (kib, mib) = (bytes_a_minute / 1024.0, bytes / 1_048_576.0);
        self.slopes.push(format!(
            "{setup:<42}  {kib:+.0} KiB a minute over {seconds:.0} s ({samples} samples), {mib:.1} MiB at the end"
        ));
        if seconds >= LONG_ENOUGH && bytes_a_minute > MAX_SLOPE {
            self.leak(format!("{setup}: memory grows by {kib:.0} KiB a minute"));
        }
    }

    pub(super) fn is_well(&self) -> bool {
        self.counts.total() == 0
    }

    pub(super) fn text(&self, elapsed: Duration) -> String {
        let rounds: u64 = self.rounds.values().sum();
        let mut lines =
            vec![format!("stress: seed {}, {rounds} rounds in {:.0} s", self.seed, elapsed.as_secs_f64())];
        lines.extend(self.rounds.iter().map(|(setup, rounds)| format!("  {setup:<42}  {rounds} rounds")));
        let s = &self.stats;
        lines.push(format!(
            "sessions    {}: {} left, {} vanished, {} froze, {} taken over, {} contests, {} kicked, {} slow",
            s.sessions, s.leaves, s.vanishings, s.freezes, s.takeovers, s.contests, s.kicked, s.slow
        ));
        lines.push(format!(
            "messages    {} sent, {} delivered, {} to be kept, {} answered for, {} echoes, {} refused",
            s.sent, s.delivered, s.kept, self.answered, s.echoes, s.refused
        ));
        lines.push(format!(
            "troubles    {} kills, {} pauses, {} drains, {} kills while it drained; queue's server: {} kills, {} pauses",
            s.kills, s.pauses, s.drains, s.cut_drains, s.broker_kills, s.broker_pauses
        ));
        if self.rounds.keys().any(|setup| setup.is_cluster()) {
            let c = &self.in_clusters;
            lines.push(format!(
                "in clusters {} sessions: {} of {} taken over from another node, {} contests, {} turned away",
                c.sessions, c.moves, c.takeovers, c.contests, c.turned_away
            ));
            lines.push(format!(
                "            {} kills, {} pauses, {} drains, {} kills while it drained; broker: {} kills, {} pauses",
                c.kills, c.pauses, c.drains, c.cut_drains, c.broker_kills, c.broker_pauses
            ));
        }
        lines.push(format!(
            "drains      {:.2} s the longest, with those at the end of a round; {DRAIN_SECONDS} s asked for",
            s.longest_drain.as_secs_f64()
        ));
        let growth = self.growth as f64 / 1_048_576.0;
        lines.push(format!("memory      grew by {growth:.1} MiB in a round at most; of gateways that lived on, when all had left:"));
        lines.extend(self.slopes.iter().map(|slope| format!("  {slope}")));
        lines.extend(self.failing.iter().cloned());
        lines.push(verdict(self.counts));
        lines.join("\n")
    }
}

fn verdict(counts: Counts) -> String {
    let Counts { lost, disorder, duplicates, again, stale, leaks, other } = counts;
    let mut text =
        format!("{lost} lost, {disorder} disorder, {duplicates} duplicates within a session, {leaks} leaks");
    for (count, what) in [
        (again, "CONFIRMED AND SENT AGAIN"),
        (stale, "FROM OR TO A SESSION THAT HAD LOST ITS PLACE"),
        (other, "OTHER FAILURES"),
    ] {
        if count > 0 {
            // Writing to a string does not fail.
            let _ = write!(text, ", {count} {what}");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stress::{
        gateways::Addresses,
        ledger::{Broken, Violation},
        plan::{Plan, Queue},
        world::World,
    };

    const SETUP: Setup =
        Setup { nodes: 1, queue: Queue::Memory, engine: "tokio-tungstenite", runtime: "tokio" };

    fn world() -> World {
        let nowhere = ([127, 0, 0, 1], 1).into(); // port: nobody connects
        let addresses = Addresses { ws: nowhere, tcp: nowhere, metrics: None };
        World::new(7, Plan::new(7, 3, &[SETUP]), [addresses], false)
    }

    /// The report of one round in which this happened.
    fn report(happens: impl FnOnce(&World)) -> Report {
        let world = world();
        happens(&world);
        let (stats, failures) = (*world.stats.borrow(), world.failures.borrow().clone());
        let mut report = Report::new(7, &[SETUP]);
        report.add(3, "the plan", SETUP, Outcome { stats, failures, answered: 0, rest: None });
        report
    }

    #[test]
    fn a_run_in_which_nothing_broke_is_well() {
        let report = report(|_| {});
        assert!(report.is_well());
        let text = report.text(Duration::from_secs(60));
        assert!(text.ends_with("0 lost, 0 disorder, 0 duplicates within a session, 0 leaks"), "{text}");
    }

    #[test]
    fn whatever_breaks_fails_the_run_and_says_how_to_do_it_again() {
        type Happens = Box<dyn FnOnce(&World)>;
        let mut cases: Vec<(Happens, &str)> = vec![
            (Box::new(|world| world.leak("a file".to_owned())), "1 leaks"),
            (Box::new(|world| world.fail("a panic".to_owned())), "1 OTHER FAILURES"),
        ];
        for (broken, said) in [
            (Broken::Lost, "1 lost"),
            (Broken::Disorder, "1 disorder"),
            (Broken::Overtaken, "1 disorder"),
            (Broken::Twice, "1 duplicates within a session"),
            (Broken::Again, "1 CONFIRMED AND SENT AGAIN"),
            (Broken::Stale, "1 FROM OR TO A SESSION"),
        ] {
            let violation = Violation { broken, text: "0.1 to user 2".to_owned() };
            cases.push((Box::new(move |world| world.broken(&violation)), said));
        }
        for (happens, said) in cases {
            let report = report(happens);
            assert!(!report.is_well(), "{said}");
            let text = report.text(Duration::from_secs(60));
            assert!(text.contains(said) && text.contains("--seed 7 --round 3"), "{text}");
        }
    }

    #[test]
    fn memory_that_grows_for_long_is_a_leak() {
        for (megabytes_a_minute, minutes, is_well) in
            [(0.5, 30.0, true), (2.0, 30.0, false), (2.0, 4.0, true)]
        {
            let (mut report, mut memory) = (Report::new(7, &[]), Memory::default());
            for sample in 0..20 {
                let at = minutes * 60.0 * f64::from(sample) / 19.0;
                memory.sample(
                    Duration::from_secs_f64(at),
                    (at / 60.0 * megabytes_a_minute * 1_048_576.0) as u64,
                );
            }
            report.memory(SETUP, &memory);
            assert_eq!(report.is_well(), is_well, "{megabytes_a_minute} MiB over {minutes} minutes");
            assert!(report.text(Duration::ZERO).contains("KiB a minute"));
        }
    }
}

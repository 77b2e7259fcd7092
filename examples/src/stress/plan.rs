//! What a round does, as the seed says.

use std::fmt;

use super::random::Random;
pub(super) use super::setup::{Queue, Setup, Sso};

/// What is done to a gateway, or to the server that its queue is on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Trouble {
    /// `SIGSTOP` and, so many milliseconds later, `SIGCONT`.
    Pause(u64),
    /// `SIGKILL`, and a new process with the same flags.
    Kill,
    /// `SIGTERM`, an end in time with status 0, and a new process with the same flags.
    Drain,
    /// `SIGTERM` and, so many milliseconds later, `SIGKILL`, and a new process with the same flags.
    KillInDrain(u64),
    /// `SIGKILL` to the queue's server, and so many milliseconds later a new process with its data.
    BrokerKill(u64),
    /// `SIGSTOP` to the queue's server and, so many milliseconds later, `SIGCONT`.
    BrokerPause(u64),
}

impl Trouble {
    pub(super) fn hits_broker(self) -> bool {
        matches!(self, Self::BrokerKill(_) | Self::BrokerPause(_))
    }

    /// The gateway's process has no time to leave anything in order: to the others of a cluster it is there until its lease
    /// is over.
    pub(super) fn kills(self) -> bool {
        matches!(self, Self::Kill | Self::KillInDrain(_))
    }
}

/// A trouble that comes in a round.
#[derive(Clone, Copy, Debug)]
pub(super) struct Strike {
    /// How many more messages come before it.
    pub(super) after: usize,
    pub(super) trouble: Trouble,
    /// The gateway that it hits, unless it hits the server.
    pub(super) node: usize,
}

/// One round.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    pub(super) number: u64,
    /// Tells repetitions of a round apart, which do the same.
    pub(super) turn: u64,
    pub(super) setup: Setup,
    /// The gateway lives as long as the run, so that its memory can be watched.
    pub(super) resident: bool,
    pub(super) sso: Sso,
    pub(super) write_back: bool,
    /// `--max-queued` is so low that messages are refused.
    pub(super) small_queue: bool,
    /// Further flags.
    pub(super) flags: Vec<String>,
    /// Clients end each other's sessions.
    pub(super) kicks: bool,
    pub(super) users: usize,
    /// Sessions that each person has at least.
    pub(super) sessions: usize,
    /// Troubles, in order.
    pub(super) troubles: Vec<Strike>,
}

/// `--drain-timeout` of every gateway, in seconds.
pub(super) const DRAIN_SECONDS: u64 = 2;

/// Every third round is one on a gateway that lives on.
const RESIDENT_EVERY: u64 = 3;

/// How long a node may be paused that others wait for: they ask again after half a second, and not after the second time.
pub(super) const MAX_UNNOTICED: u64 = 250;

impl Plan {
    /// The round of this number. Rounds go through all of `offered` before one comes again.
    pub(super) fn new(seed: u64, number: u64, offered: &[Setup]) -> Self {
        let mut random = Random::new(&[seed, number]);
        let resident = number % RESIDENT_EVERY == RESIDENT_EVERY - 1;
        let setup = if resident {
            let mut firsts: Vec<Setup> =
                offered.iter().map(|setup| Setup::resident(*setup, offered)).collect();
            firsts.dedup();
            nth(&firsts, number / RESIDENT_EVERY)
        } else {
            let nth_of_fresh = number - number / RESIDENT_EVERY;
            let mut deck = offered.to_vec();
            Random::new(&[seed, nth_of_fresh / deck.len().max(1) as u64]).shuffle(&mut deck);
            nth(&deck, nth_of_fresh)
        };
        let durable = setup.queue != Queue::Memory;
        let sso = match random.below(4) {
            _ if resident => Sso::User,
            0 => Sso::Device,
            1 => Sso::Off,
            _ => Sso::User,
        };
        // The nodes of a cluster write ahead: what is kept is in the queue before others hear of it.
        let write_back = !resident && durable && !setup.is_cluster() && random.one_in(6);
        let small_queue = !resident && random.one_in(6);
        let mut plan = Self {
            number,
            turn: number,
            setup,
            resident,
            sso,
            write_back,
            small_queue,
            flags: Vec::new(),
            kicks: random.one_in(2),
            users: random.within(6..=10),
            sessions: random.within(4..=9),
            troubles: Vec::new(),
        };
        if !resident {
            plan.flags = flags(&mut random);
        }
        plan.troubles = plan.troubles(&mut random);
        plan
    }

    fn troubles(&self, random: &mut Random) -> Vec<Strike> {
        let mut troubles: Vec<Strike> = Vec::new();
        for _ in 0..random.within(1..=4) {
            // Of one outage a round: the gateway's way back is part of it.
            let broker_was_hit = troubles.iter().any(|strike| strike.trouble.hits_broker());
            let choices = self.choices(random.within(20..=400) as u64, broker_was_hit);
            let trouble = random.pick(&choices).copied().unwrap_or(Trouble::Pause(0));
            let (after, node) = (random.within(50..=400), random.below(self.setup.nodes));
            troubles.push(Strike { after, trouble, node });
        }
        troubles
    }

    /// Troubles that may come, those oftener that are there oftener: what the contract does not cover is left out.
    fn choices(&self, millis: u64, broker_was_hit: bool) -> Vec<Trouble> {
        let mut choices = vec![Trouble::Pause(millis)];
        if self.setup.is_cluster() {
            // Longer than others wait for its answers.
            choices.push(Trouble::Pause(2_200 + millis));
        }
        let is_durable = self.setup.queue != Queue::Memory;
        if is_durable && !self.resident {
            choices.extend([Trouble::Drain; 2]);
            if !self.write_back {
                choices.extend([Trouble::Kill; 3]);
                choices.extend([Trouble::KillInDrain(millis); 2]);
            }
        }
        if self.setup.queue.has_server() && !broker_was_hit {
            choices.push(Trouble::BrokerPause(millis));
            if !self.write_back {
                choices.extend([Trouble::BrokerKill(millis); 2]);
            }
        }
        choices
    }

    /// Refusals are to be expected.
    pub(super) fn may_refuse(&self) -> bool {
        self.small_queue || self.troubles.iter().any(|strike| strike.trouble.hits_broker())
    }

    /// Nodes of a cluster are killed, and count as there for a while.
    pub(super) fn leaves_leases(&self) -> bool {
        self.setup.is_cluster() && self.troubles.iter().any(|strike| strike.trouble.kills())
    }

    /// The flags of its gateways that are the round's.
    pub(super) fn gateway_flags(&self) -> Vec<String> {
        let mut flags = common_flags(self.sso, if self.small_queue { "30" } else { MANY });
        flags.extend(self.write_back.then(|| "--write-back".to_owned()));
        flags.extend(self.flags.iter().cloned());
        flags
    }

    /// The flags of gateways that live as long as the run.
    pub(super) fn resident_flags() -> Vec<String> {
        common_flags(Sso::User, MANY)
    }
}

/// More messages than a round has.
const MANY: &str = "100000";

fn common_flags(sso: Sso, max_queued: &str) -> Vec<String> {
    ["--sso", &sso.to_string(), "--max-queued", max_queued].map(str::to_owned).to_vec()
}

fn flags(random: &mut Random) -> Vec<String> {
    let mut flags = Vec::new();
    for (flag, values) in [
        ("--workers", ["1", "2"]),
        ("--frames", ["text", "binary"]),
        ("--max-backlog", ["65536", "262144"]),
        ("--ping-interval", ["5", "10"]),
        ("--write-timeout", ["2", "5"]),
    ] {
        if random.one_in(2)
            && let Some(value) = random.pick(&values)
        {
            flags.extend([flag.to_owned(), (*value).to_owned()]);
        }
    }
    flags
}

fn nth(setups: &[Setup], number: u64) -> Setup {
    // Callers have at least one.
    setups[(number % setups.len().max(1) as u64) as usize]
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, sso {}", self.setup, self.sso)?;
        for (is, word) in [
            (self.resident, "resident"),
            (self.write_back, "write-back"),
            (self.small_queue, "small queue"),
            (self.kicks, "kicks"),
        ] {
            if is {
                write!(f, ", {word}")?;
            }
        }
        write!(f, ", {} users, [", self.users)?;
        for (index, Strike { trouble, node, .. }) in self.troubles.iter().enumerate() {
            let comma = if index > 0 { ", " } else { "" };
            write!(f, "{comma}{trouble:?}")?;
            if self.setup.is_cluster() && !trouble.hits_broker() {
                write!(f, " of node {node}")?;
            }
        }
        f.write_str("]")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_round_is_determined_by_seed_and_number() {
        let offered = Setup::all();
        for number in 0..50 {
            let text = |seed| format!("{:?}", Plan::new(seed, number, &offered));
            assert_eq!(text(1), text(1));
            assert_ne!(text(1), text(2));
        }
    }

    #[test]
    fn rounds_go_through_all_that_is_offered() {
        let offered = Setup::all();
        let plans: Vec<Plan> =
            (0..3 * offered.len() as u64 / 2).map(|number| Plan::new(7, number, &offered)).collect();
        for setup in &offered {
            assert!(plans.iter().any(|plan| !plan.resident && plan.setup == *setup), "{setup}");
        }
        for queue in Queue::ALL {
            let is_resident = |plan: &&Plan| plan.resident && plan.setup.queue == queue;
            let residents = plans.iter().filter(is_resident);
            let mut clusters: Vec<bool> = residents.map(|plan| plan.setup.is_cluster()).collect();
            clusters.sort_unstable();
            clusters.dedup();
            assert_eq!(clusters, [false, true][..1 + usize::from(queue.has_server())], "{queue}");
        }
    }

    #[test]
    fn every_node_of_a_cluster_has_its_troubles() {
        let offered = Setup::all();
        for setup in offered.iter().filter(|setup| setup.is_cluster()) {
            let plans = (0..500).map(|number| Plan::new(3, number, &[*setup]));
            let strikes: Vec<Strike> = plans.flat_map(|plan| plan.troubles).collect();
            assert!(strikes.iter().all(|strike| strike.node < setup.nodes), "{setup}");
            for node in 0..setup.nodes {
                let hit = |trouble| strikes.iter().any(|it| it.node == node && it.trouble == trouble);
                assert!(hit(Trouble::Kill) && hit(Trouble::Drain), "{setup}, node {node}");
            }
            assert!(strikes.iter().any(|strike| strike.trouble.hits_broker()), "{setup}");
        }
    }

    #[test]
    fn what_would_lose_messages_by_contract_is_not_done() {
        let offered = Setup::all();
        let mut seen = Vec::new();
        for plan in (0..2000).map(|number| Plan::new(3, number, &offered)) {
            assert!(!(plan.write_back && plan.setup.is_cluster()), "{plan}");
            for Strike { trouble, .. } in &plan.troubles {
                seen.push(*trouble);
                let harmless = match trouble {
                    Trouble::Pause(_) => true,
                    Trouble::Kill | Trouble::KillInDrain(_) => {
                        plan.setup.queue != Queue::Memory && !plan.write_back && !plan.resident
                    }
                    Trouble::Drain => plan.setup.queue != Queue::Memory && !plan.resident,
                    Trouble::BrokerKill(_) | Trouble::BrokerPause(_) => plan.setup.queue.has_server(),
                };
                assert!(harmless, "{plan}");
            }
        }
        for wanted in [Trouble::Kill, Trouble::Drain] {
            assert!(seen.contains(&wanted));
        }
        assert!(seen.iter().any(|trouble| matches!(trouble, Trouble::KillInDrain(_))));
        assert!(seen.iter().any(|trouble| matches!(trouble, Trouble::BrokerKill(_))));
    }
}

//! What a round does, as the seed says.

use std::fmt;

use super::random::Random;

/// Where messages wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Queue {
    Memory,
    Redb,
    Nats,
    Redis,
}

impl Queue {
    pub(super) const ALL: [Self; 4] = [Self::Memory, Self::Redb, Self::Nats, Self::Redis];

    fn has_server(self) -> bool {
        matches!(self, Self::Nats | Self::Redis)
    }
}

impl fmt::Display for Queue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Memory => "memory",
            Self::Redb => "redb",
            Self::Nats => "nats",
            Self::Redis => "redis",
        })
    }
}

/// Which sessions a login ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sso {
    User,
    Device,
    Off,
}

impl fmt::Display for Sso {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::User => "user",
            Self::Device => "device",
            Self::Off => "off",
        })
    }
}

/// A gateway that can be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Setup {
    pub(super) queue: Queue,
    pub(super) engine: &'static str,
    pub(super) runtime: &'static str,
}

impl Setup {
    /// Every gateway that its contract has: smol serves one engine, and not the queues on servers.
    pub(super) fn all() -> Vec<Self> {
        let mut all = Vec::new();
        for queue in Queue::ALL {
            for engine in ["tokio-tungstenite", "async-tungstenite", "tokio-websockets"] {
                all.push(Self { queue, engine, runtime: "tokio" });
            }
            if !queue.has_server() {
                all.push(Self { queue, engine: "async-tungstenite", runtime: "smol" });
            }
        }
        all
    }
}

impl fmt::Display for Setup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&format!("{:<6}  {:<5}  {}", self.queue, self.runtime, self.engine))
    }
}

/// What is done to the gateway, or to the server that its queue is on.
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
    /// Troubles, in order, and after how many more messages each comes.
    pub(super) troubles: Vec<(usize, Trouble)>,
}

/// `--drain-timeout` of every gateway, in seconds.
pub(super) const DRAIN_SECONDS: u64 = 2;

/// Every third round is one on a gateway that lives on.
const RESIDENT_EVERY: u64 = 3;

impl Plan {
    /// The round of this number. Rounds go through all of `offered` before one comes again.
    pub(super) fn new(seed: u64, number: u64, offered: &[Setup]) -> Self {
        let mut random = Random::new(&[seed, number]);
        let resident = number % RESIDENT_EVERY == RESIDENT_EVERY - 1;
        let setup = if resident {
            // Of each queue the first setup.
            let mut firsts: Vec<Setup> = Vec::new();
            for setup in offered {
                if !firsts.iter().any(|first| first.queue == setup.queue) {
                    firsts.push(*setup);
                }
            }
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
        let write_back = !resident && durable && random.one_in(6);
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

    fn troubles(&self, random: &mut Random) -> Vec<(usize, Trouble)> {
        let mut troubles: Vec<(usize, Trouble)> = Vec::new();
        for _ in 0..random.within(1..=4) {
            // Of one outage a round: the gateway's way back is part of it.
            let broker_was_hit = troubles.iter().any(|(_, trouble)| trouble.hits_broker());
            let choices = self.choices(random.within(20..=400) as u64, broker_was_hit);
            let trouble = random.pick(&choices).copied().unwrap_or(Trouble::Pause(0));
            troubles.push((random.within(50..=400), trouble));
        }
        troubles
    }

    /// Troubles that may come, those oftener that are there oftener: what the contract does not cover is left out.
    fn choices(&self, millis: u64, broker_was_hit: bool) -> Vec<Trouble> {
        let mut choices = vec![Trouble::Pause(millis)];
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
        self.small_queue || self.troubles.iter().any(|(_, trouble)| trouble.hits_broker())
    }
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
        write!(f, ", {} users, {:?}", self.users, self.troubles.iter().map(|(_, it)| it).collect::<Vec<_>>())
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
            assert!(plans.iter().any(|plan| plan.resident && plan.setup.queue == queue), "{queue}");
        }
    }

    #[test]
    fn what_would_lose_messages_by_contract_is_not_done() {
        let offered = Setup::all();
        let mut seen = Vec::new();
        for plan in (0..2000).map(|number| Plan::new(3, number, &offered)) {
            for (_, trouble) in &plan.troubles {
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

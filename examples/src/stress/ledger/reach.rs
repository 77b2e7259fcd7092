//! When the nodes of a cluster could not reach each other, and what that excuses.

/// In nanoseconds. What a node missed while it could not be reached is made up for at the next tick of the repair, a second
/// later, by requests that wait for two; and the machine is busy.
pub(in crate::stress) const SETTLE: u64 = 4_000_000_000;

/// In nanoseconds. Until its lease is over, fifteen seconds after its last beat, a node that died counts as there.
const LEASE: u64 = 15_000_000_000 + SETTLE;

/// What befell the nodes of a round, on the clients' clock. Where there is one gateway nothing is noted.
#[derive(Debug, Default)]
pub(in crate::stress) struct Reach {
    silences: Vec<Silence>,
    /// When processes ended without being asked.
    deaths: Vec<u64>,
}

#[derive(Debug)]
struct Silence {
    /// Every node if the broker was silent, or away.
    node: Option<usize>,
    from: u64,
    /// `None` while it lasts.
    until: Option<u64>,
}

impl Reach {
    /// A node, or the broker, does not answer from here on.
    pub(in crate::stress) fn falls_silent(&mut self, node: Option<usize>, now: u64) {
        self.silences.push(Silence { node, from: now, until: None });
    }

    /// Whoever was silent answers again.
    pub(in crate::stress) fn is_back(&mut self, now: u64) {
        for silence in &mut self.silences {
            silence.until.get_or_insert(now);
        }
    }

    /// A process ended without being asked.
    pub(in crate::stress) fn dies(&mut self, now: u64) {
        self.deaths.push(now);
    }

    /// Whether one of these nodes could not be reached at some time in between, or had yet to make up for it.
    pub(super) fn was_cut_off(&self, nodes: &[usize], from: u64, to: u64) -> bool {
        self.silences.iter().any(|silence| {
            silence.node.is_none_or(|node| nodes.contains(&node)) && silence.reaches_into(from, to)
        })
    }

    /// As [`was_cut_off`](Self::was_cut_off), of all nodes.
    pub(super) fn was_silent(&self, from: u64, to: u64) -> bool {
        self.silences.iter().any(|silence| silence.reaches_into(from, to))
    }

    /// Whether a node was silent or died at some time in between, or that had yet to be made up for.
    pub(in crate::stress) fn was_amiss(&self, from: u64, to: u64) -> bool {
        self.was_silent(from, to) || self.died(from, to, SETTLE)
    }

    fn died(&self, from: u64, to: u64, lasts: u64) -> bool {
        self.deaths.iter().any(|at| *at <= to && from <= at + lasts)
    }

    /// Whether an operation of a session on this node may fail now, with this line: the contract has an error where another
    /// node or the broker does not answer.
    pub(in crate::stress) fn may_fail(&self, line: &str, node: usize, now: u64) -> bool {
        match line {
            // A message was on its way to a node that fell silent or died, or nobody could say where to.
            SEND_FAILED => self.was_amiss(now, now),
            // A kick asks every node that has a row of the user, also one that died, while its lease lasts.
            ASK_FAILED => self.was_amiss(now, now) || self.died(now, now, LEASE),
            // Times out here, too, on the node that was stopped, or for want of the broker. The first word of a login that
            // could not be claimed over TCP; over WebSocket there is none.
            QUEUE_FAILED | LOGIN_FAILED => self.was_cut_off(&[node], now, now),
            _ => false,
        }
    }
}

const SEND_FAILED: &str = "!error the cluster failed";
pub(in crate::stress) const ASK_FAILED: &str = "!error another node cannot be reached";
const QUEUE_FAILED: &str = "!error the queue failed";
pub(in crate::stress) const LOGIN_FAILED: &str = "!error the server failed";

/// Whether it says of a message that nobody knows whether it arrives.
pub(in crate::stress) fn is_unknown(line: &str) -> bool {
    matches!(line, SEND_FAILED | QUEUE_FAILED)
}

impl Silence {
    fn reaches_into(&self, from: u64, to: u64) -> bool {
        self.from <= to && self.until.is_none_or(|until| from <= until + SETTLE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_silence_excuses_its_node_for_as_long_as_making_up_for_it_takes() {
        let mut reach = Reach::default();
        reach.falls_silent(Some(1), 100);
        assert!(reach.was_cut_off(&[1], 200, 300) && reach.was_cut_off(&[0, 1], 0, 100));
        assert!(!reach.was_cut_off(&[0, 2], 200, 300) && !reach.was_cut_off(&[1], 0, 99));
        reach.is_back(400);
        assert!(reach.was_cut_off(&[1], 400 + SETTLE, u64::MAX));
        assert!(!reach.was_cut_off(&[1], 401 + SETTLE, u64::MAX));
        // The broker's is everybody's.
        reach.falls_silent(None, 10 * SETTLE);
        assert!(reach.was_cut_off(&[0], 10 * SETTLE, 10 * SETTLE));
    }

    #[test]
    fn what_fails_without_a_reason_is_not_excused() {
        let mut reach = Reach::default();
        let lines =
            [SEND_FAILED, ASK_FAILED, QUEUE_FAILED, LOGIN_FAILED, "!error the queue of this user is full"];
        let excused = |reach: &Reach, node, now| lines.map(|line| reach.may_fail(line, node, now));
        assert_eq!(excused(&reach, 0, 5), [false; 5]);
        reach.falls_silent(Some(0), 10);
        reach.is_back(20);
        assert_eq!(excused(&reach, 0, 9), [false; 5]);
        assert_eq!(excused(&reach, 0, 15), [true, true, true, true, false]);
        assert_eq!(excused(&reach, 1, 15), [true, true, false, false, false]);
        assert_eq!(excused(&reach, 0, 21 + SETTLE), [false; 5]);
        reach.dies(10 * SETTLE);
        assert_eq!(excused(&reach, 1, 11 * SETTLE), [true, true, false, false, false]);
        assert_eq!(excused(&reach, 1, 11 * SETTLE + 1), [false, true, false, false, false]);
        assert_eq!(excused(&reach, 1, 10 * SETTLE + LEASE + 1), [false; 5]);
    }
}

//! The gateways of a round, as their clients know them.

use std::net::SocketAddr;

use tokio::sync::watch;

use super::world::guarded;

/// The listeners of a gateway.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Addresses {
    pub(super) ws: SocketAddr,
    pub(super) tcp: SocketAddr,
    /// Of a node of a cluster.
    pub(super) metrics: Option<SocketAddr>,
}

/// One process of a gateway.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Process {
    /// The gateway's number among those of the round: in a cluster its node.
    pub(super) node: usize,
    /// Counts the gateway's processes.
    pub(super) generation: u32,
}

/// One gateway.
#[derive(Clone, Copy, Debug)]
struct Status {
    generation: u32,
    /// `None` from before it is killed or drained until the next process listens.
    addresses: Option<Addresses>,
}

/// Which of them can be had.
#[derive(Debug)]
pub(super) struct Gateways(watch::Sender<Vec<Status>>);

impl Gateways {
    pub(super) fn new(addresses: impl IntoIterator<Item = Addresses>) -> Self {
        let all = addresses.into_iter().map(|it| Status { generation: 0, addresses: Some(it) });
        Self(watch::Sender::new(all.collect()))
    }

    pub(super) fn count(&self) -> usize {
        self.0.borrow().len()
    }

    /// The process that is there, or was there last.
    pub(super) fn process(&self, node: usize) -> Process {
        Process { node, generation: self.0.borrow()[node].generation }
    }

    /// It is about to end.
    pub(super) fn goes_down(&self, node: usize) {
        self.0.send_modify(|all| all[node].addresses = None);
    }

    /// A new process listens.
    pub(super) fn is_up(&self, node: usize, addresses: Addresses) {
        self.0.send_modify(|all| {
            all[node].generation += 1;
            all[node].addresses = Some(addresses);
        });
    }

    /// Whether the process has ended, or is about to.
    pub(super) fn was_disturbed(&self, process: Process) -> bool {
        let status = self.0.borrow()[process.node];
        status.generation != process.generation || status.addresses.is_none()
    }

    /// Waits for a gateway: this one, or if it is away the next one that is there. `None` if there is none in time.
    pub(super) async fn find(&self, node: usize) -> Option<(Process, Addresses)> {
        let up = |all: &Vec<Status>| {
            let order = (0..all.len()).map(|step| (node + step) % all.len());
            order.into_iter().find_map(|node| {
                let Status { generation, addresses } = all[node];
                Some((Process { node, generation }, addresses?))
            })
        };
        let mut status = self.0.subscribe();
        let found = guarded(status.wait_for(|all| up(all).is_some())).await?;
        found.ok().and_then(|all| up(&all))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn who_finds_a_gateway_away_finds_the_next() {
        let at = |port| {
            let addr = ([127, 0, 0, 1], port).into(); // port: nobody connects
            Addresses { ws: addr, tcp: addr, metrics: None }
        };
        let gateways = Gateways::new([at(1), at(2), at(3)]);
        let first = Process { node: 2, generation: 0 };
        assert_eq!(gateways.find(2).await, Some((first, at(3))));
        gateways.goes_down(2);
        assert!(gateways.was_disturbed(first) && !gateways.was_disturbed(Process::default()));
        assert_eq!(gateways.find(2).await, Some((Process::default(), at(1))));
        gateways.is_up(2, at(4));
        assert!(gateways.was_disturbed(first));
        assert_eq!(gateways.find(2).await, Some((Process { node: 2, generation: 1 }, at(4))));
    }
}

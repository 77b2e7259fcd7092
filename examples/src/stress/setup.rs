//! The gateways that there are.

use std::fmt;

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

    pub(super) fn has_server(self) -> bool {
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

/// A gateway that can be had, or a cluster of some, which share a queue on the server at which they meet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Setup {
    /// One is alone.
    pub(super) nodes: usize,
    pub(super) queue: Queue,
    pub(super) engine: &'static str,
    pub(super) runtime: &'static str,
}

impl Setup {
    /// Every gateway that its contract has: smol serves one engine, and not the queues on servers. And clusters.
    pub(super) fn all() -> Vec<Self> {
        let engines = ["tokio-tungstenite", "async-tungstenite", "tokio-websockets"];
        let mut all = Vec::new();
        for queue in Queue::ALL {
            for engine in engines {
                all.push(Self { nodes: 1, queue, engine, runtime: "tokio" });
            }
            if !queue.has_server() {
                all.push(Self { nodes: 1, queue, engine: "async-tungstenite", runtime: "smol" });
                continue;
            }
            for (engine, nodes) in engines.into_iter().zip([2, 3, 3]) {
                all.push(Self { nodes, queue, engine, runtime: "tokio" });
            }
        }
        all
    }

    /// Of those offered, the one that is like this and lives as long as the run: the first with its queue, alone or a
    /// cluster.
    pub(super) fn resident(self, offered: &[Self]) -> Self {
        let is_like = |other: &&Self| (other.queue, other.is_cluster()) == (self.queue, self.is_cluster());
        offered.iter().find(is_like).copied().unwrap_or(self)
    }

    pub(super) fn is_cluster(self) -> bool {
        self.nodes > 1
    }
}

impl fmt::Display for Setup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { nodes, queue, engine, runtime } = self;
        let nodes = if self.is_cluster() { format!("  {nodes} nodes") } else { String::new() };
        f.pad(&format!("{queue:<6}  {runtime:<5}  {engine}{nodes}"))
    }
}

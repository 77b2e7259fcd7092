//! This node's place among others.

use std::{fmt, time::Duration};

use tok_cluster::{Cluster, ClusterBuilder, NodeId};
use tok_core::rt::Runtime;

use super::{Error, Flags, QueueName};

/// How long the other nodes' broker may take to let this one in.
const JOIN_TIMEOUT: Duration = Duration::from_secs(10);

/// What goes beside a message from node to node.
#[cfg(feature = "redis")]
const BESIDE: usize = 4096;
const MIB: usize = 1024 * 1024;

/// `--cluster`.
#[derive(Clone, PartialEq, Eq)]
#[allow(missing_docs, clippy::exhaustive_enums)]
pub enum ClusterName {
    Nats(String),
    Redis(String),
}

impl ClusterName {
    /// The queue on the same broker.
    pub(super) fn queue(&self) -> QueueName {
        match self {
            Self::Nats(url) => QueueName::Nats(url.clone()),
            Self::Redis(url) => QueueName::Redis(url.clone()),
        }
    }
}

impl fmt::Debug for ClusterName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // URLs can hold a password.
        f.write_str(match self {
            Self::Nats(_) => "Nats",
            Self::Redis(_) => "Redis",
        })
    }
}

/// Connects to the broker of the cluster that the flags ask for.
pub(super) async fn connect(flags: &Flags, runtime: impl Runtime) -> Result<Option<Cluster>, Error> {
    let Some(cluster) = &flags.cluster else { return Ok(None) };
    let builder = builder(cluster, flags.max_message.unwrap_or(MIB)).await?;
    let node = flags.node.clone().unwrap_or_else(default_node);
    Ok(Some(builder.node(node).runtime(runtime).build()?))
}

// NATS itself says what fits in a frame.
#[cfg_attr(not(feature = "redis"), allow(unused_variables))]
async fn builder(cluster: &ClusterName, max_message: usize) -> Result<ClusterBuilder, Error> {
    match cluster {
        #[cfg(feature = "nats")]
        ClusterName::Nats(url) => {
            let broker =
                tok_cluster::NatsBroker::builder(url).connect().await.map_err(|error| refused(&error))?;
            Ok(Cluster::builder(broker.registry(), broker.bus()))
        }
        #[cfg(feature = "redis")]
        ClusterName::Redis(url) => {
            let largest = max_message.saturating_add(BESIDE).clamp(MIB, 16 * MIB);
            let broker = tok_cluster::RedisBroker::builder(url).max_frame(largest);
            let broker = broker.connect().await.map_err(|error| refused(&error))?;
            Ok(Cluster::builder(broker.registry(), broker.bus()))
        }
        // Flags are checked: a broker that is not compiled in does not come here.
        #[allow(unreachable_patterns)]
        _ => Err(Error::Cluster { cause: "its driver is not compiled in".to_owned() }),
    }
}

#[cfg(any(feature = "nats", feature = "redis"))]
fn refused(error: &tok_core::error::ConnectError) -> Error {
    Error::Cluster { cause: super::in_one_line(error) }
}

/// Waits until this node is one of the cluster.
pub(super) async fn join(cluster: &Cluster) -> Result<(), Error> {
    cluster.joined(JOIN_TIMEOUT).await.map_err(|error| Error::Cluster { cause: super::in_one_line(&error) })
}

/// Host name and process id, with a dash for what a node's name cannot have.
fn default_node() -> String {
    // Where there is no such file the process id has to do.
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    node_name(host.trim(), std::process::id())
}

fn node_name(host: &str, process: u32) -> String {
    let host = if host.is_empty() { "node" } else { host };
    let plain = |c: char| if c.is_ascii_alphanumeric() || c == '_' { c } else { '-' };
    let number = format!("-{process}");
    host.chars().map(plain).take(NodeId::MAX_NAME_BYTES - number.len()).collect::<String>() + &number
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_host_and_process_make_a_name() {
        assert_eq!(node_name("chat.example", 7), "chat-example-7");
        assert_eq!(node_name("", 7), "node-7");
        for host in ["chat-1", "a b", "h\u{f6}st", &"x".repeat(300), ""] {
            for process in [0, u32::MAX] {
                let name = node_name(host, process);
                assert!(NodeId::new(&name, 0).is_some(), "{name:?}");
            }
        }
        assert!(NodeId::new(&default_node(), 0).is_some());
    }
}

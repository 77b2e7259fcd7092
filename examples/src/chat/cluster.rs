use std::{future::Future, net::SocketAddr, time::Duration};

use futures_util::future::{join_all, try_join_all};
use tok_cluster::{Cluster, NatsBroker};
use tok_core::{Hub, error::BoxError, rt};
use tok_queue::NatsQueue;
use tokio::{net::TcpListener, sync::watch};

use super::{InvalidConfig, actor::Chat, builder, presence, serve_web};

/// Where the two nodes of the chat listen, as `HOST:PORT`. Port 0 lets the operating system choose.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(clippy::exhaustive_structs)]
pub struct ClusterConfig {
    /// `--first` and `--second`, by default 127.0.0.1:8080 and 127.0.0.1:8090.
    pub webs: [String; 2],
}

impl ClusterConfig {
    /// How the program is called.
    pub const USAGE: &str = "usage: cluster-chat [--first HOST:PORT] [--second HOST:PORT]";

    /// Reads command line arguments, without the program's name.
    ///
    /// # Errors
    /// An argument that is not known, or a flag without its value.
    pub fn parse<I: IntoIterator<Item: Into<String>>>(args: I) -> Result<Self, InvalidConfig> {
        let mut config = Self::default();
        let mut args = args.into_iter().map(Into::into);
        while let Some(flag) = args.next() {
            let address = match flag.as_str() {
                "--first" => &mut config.webs[0],
                "--second" => &mut config.webs[1],
                _ => return Err(InvalidConfig::Unknown(flag)),
            };
            *address = args.next().ok_or(InvalidConfig::NoValue(flag))?;
        }
        Ok(config)
    }
}

impl Default for ClusterConfig {
    fn default() -> Self {
        Self { webs: ["127.0.0.1:8080".into(), "127.0.0.1:8090".into()] }
    }
}

/// How long the broker may take to let a node in.
const JOIN_TIMEOUT: Duration = Duration::from_secs(10);

/// A hub of the cluster and its web page.
struct Node {
    hub: Hub,
    cluster: Cluster,
    web: TcpListener,
}

/// Runs the chat on two nodes that meet at the NATS server of this URL, until `shutdown` ends. `ready` is called with
/// their pages' addresses once both are part of the cluster. Messages wait on that server.
///
/// The nodes are two hubs in one process, which know of each other only through the server.
///
/// # Errors
/// The server cannot be used, or an address cannot be listened on.
pub async fn run_cluster(
    config: ClusterConfig,
    broker: &str,
    ready: impl FnOnce([SocketAddr; 2]),
    shutdown: impl Future<Output = ()>,
) -> Result<(), BoxError> {
    let (stop, stopped) = watch::channel(false);
    let chat = Chat::new(stopped.clone());
    let [first, second] = &config.webs;
    let nodes = [node(&chat, 0, broker, first).await?, node(&chat, 1, broker, second).await?];
    // One tells the users of both.
    let hub = nodes[0].hub.clone();
    let announcer = presence::announce(hub.clone(), chat, stopped);
    hub.runtime().spawn("presence", Box::pin(announcer));

    ready([nodes[0].web.local_addr()?, nodes[1].web.local_addr()?]);
    let (places, serving): (Vec<_>, Vec<_>) = nodes
        .into_iter()
        .map(|Node { hub, cluster, web }| {
            let place = (hub.clone(), cluster);
            (place, async move { serve_web(&hub, web).await })
        })
        .unzip();
    tokio::select! {
        result = try_join_all(serving) => drop(result?),
        () = shutdown => {}
    }
    let unstored: Vec<usize> = join_all(places.iter().map(|(hub, cluster)| async move {
        let report = hub.shutdown(Duration::from_secs(5)).await;
        cluster.leave().await;
        report.unstored
    }))
    .await;
    // Ends the tasks that await receipts, and the announcer.
    let _ = stop.send(true);
    match unstored.iter().sum() {
        0 => Ok(()),
        unstored @ 1.. => Err(format!("{unstored} messages could not be stored").into()),
    }
}

async fn node(chat: &Chat, number: usize, url: &str, web: &str) -> Result<Node, BoxError> {
    let broker = NatsBroker::builder(url).connect().await?;
    let queue = NatsQueue::builder(url).connect().await?;
    let cluster = Cluster::builder(broker.registry(), broker.bus())
        .node(format!("chat-{number}"))
        .runtime(rt::Tokio)
        .build()?;
    let hub = builder(&chat.on_node(number)).queue(queue).relay(cluster.clone()).build()?;
    let web = TcpListener::bind(web).await?;
    cluster.joined(JOIN_TIMEOUT).await?;
    Ok(Node { hub, cluster, web })
}

//! The driver for NATS.

mod builder;
mod bus;
mod clock;
mod failure;
mod link;
mod listen;
mod open;
mod record;
mod registry;
mod stream;
mod url;

use std::{fmt, sync::Arc};

use tok_core::error::ConnectError;

pub use self::{builder::NatsBrokerBuilder, bus::NatsBus, registry::NatsRegistry};
use self::{builder::Settings, failure::Failure, link::Link, stream::Stream};

/// A connection to NATS (server 2.11 or later with JetStream; 2.15.1 or later recommended), through which the nodes of a
/// cluster find and reach each other. It runs on tokio, with its time and network drivers on, and on no other runtime.
///
/// A node takes one [`registry`](Self::registry) and one [`bus`](Self::bus) from a connection of its own; both are over
/// the one TCP connection. Cloning it is cheap.
///
/// ```no_run
/// use std::time::Duration;
/// use tok_cluster::{Cluster, NatsBroker};
/// use tok_core::{HubBuilder, rt::Tokio};
///
/// async fn node(hub: HubBuilder) -> Result<(), Box<dyn std::error::Error>> {
///     let broker = NatsBroker::builder("nats://127.0.0.1").connect().await?;
///     let cluster = Cluster::builder(broker.registry(), broker.bus()).node("eu-1").runtime(Tokio).build()?;
///     let hub = hub.relay(cluster.clone()).build()?;
///     cluster.joined(Duration::from_secs(10)).await?;
///     // … listeners …
///     hub.shutdown(Duration::from_secs(10)).await;
///     cluster.leave().await;
///     Ok(())
/// }
/// # let _ = node;
/// ```
///
/// # What it leaves on the server
/// One stream, `PREFIX_registry`, with one message per user who has a session (subject `PREFIX.u.USER`) and one per node
/// (`PREFIX.l.NODE`). It is made if it is missing, also while nodes run; what is there is compared: a setting that would
/// break the [contract](crate::Registry#contract) is refused. A user's last logout leaves a message that the server
/// removes a second later. Nothing else of this is stored: frames between nodes pass through (`PREFIX.n.NODE`,
/// `PREFIX.all`).
///
/// # What survives
/// The table is soft state. Whatever the server loses of it, in whole or in part, nodes put back, and
/// [epochs](NatsRegistry) go on rising as long as the server's clock does not go back.
///
/// # When the server is away
/// The client connects again by itself. Meanwhile operations fail at once, and those under way fail when the loss is
/// noticed: immediately if the server or the network says so, 10 to 15 s after it fell silent otherwise. Requests to a
/// silent server end with their own timeout.
///
/// A node whose machine lost its power or network stays subscribed until the server misses it: after two to six minutes
/// with the server's defaults, in which frames to it cost the request timeout, until it counts as silent. With
/// `ping_interval: "10s"` and `ping_max: 2` in the server's configuration it is half a minute.
///
/// # Access
/// The URL is `nats://USER:PASSWORD@HOST:PORT`, `nats://TOKEN@HOST:PORT` or `tls://…`, several with commas between, of which
/// one needs the credentials; what has a meaning in URLs is spelled `%` and two hexadecimal digits. The user must be
/// allowed to publish to `PREFIX.>` and `$JS.API.STREAM.{INFO,CREATE,MSG.GET,MSG.DELETE,PURGE}.PREFIX_registry`, to publish and
/// subscribe to `_INBOX.>`, and to subscribe to `PREFIX.n.*` and `PREFIX.all`.
#[derive(Clone)]
pub struct NatsBroker {
    link: Arc<Link>,
    stream: Arc<Stream>,
    settings: Settings,
}

impl NatsBroker {
    /// A connection to the servers of this URL, or of several with commas between: any of one NATS cluster.
    pub fn builder(url: impl Into<String>) -> NatsBrokerBuilder {
        NatsBrokerBuilder::new(url.into())
    }

    async fn connect_with(builder: NatsBrokerBuilder) -> Result<Self, ConnectError> {
        let NatsBrokerBuilder { url, settings } = builder;
        let link = Link::connect(url::servers(&url)?, settings.timeout).await;
        let link = Arc::new(link.map_err(ConnectError::Unreachable)?);
        let found = link.version();
        if let Some(needed) = open::too_old(&found) {
            return Err(ConnectError::TooOld { found, needed });
        }
        let stream = Arc::new(Stream::new(Arc::clone(&link), settings.prefix.clone(), settings.replicas));
        let opened = tokio::time::timeout(settings.timeout, stream.ready()).await;
        opened.unwrap_or(Err(Failure::Silent(settings.timeout)))?;
        Ok(Self { link, stream, settings })
    }

    /// The table of sessions.
    #[must_use]
    pub fn registry(&self) -> NatsRegistry {
        NatsRegistry::new(Arc::clone(&self.stream), &self.settings)
    }

    /// What carries frames, for one node.
    #[must_use]
    pub fn bus(&self) -> NatsBus {
        NatsBus::new(Arc::clone(&self.link), &self.settings)
    }
}

impl fmt::Debug for NatsBroker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NatsBroker").field("link", &self.link).field("settings", &self.settings).finish()
    }
}

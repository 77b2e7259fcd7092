//! A broker that is a Redis server.

mod answers;
mod builder;
mod bus;
mod limits;
mod link;
mod message;
mod names;
mod registry;
mod scripts;
mod server;
mod state;
mod subscription;
mod table;

use std::{fmt, sync::Arc};

use redis::{Client, ConnectionInfo, IntoConnectionInfo, ProtocolVersion};
use tok_core::{ConfigError, error::ConnectError};

pub use self::{builder::RedisBrokerBuilder, bus::RedisBus, registry::RedisRegistry};
use self::{link::Link, names::Names, scripts::Scripts};

/// A broker that is a Redis server (7.0 or later) or Valkey. Cloning it is cheap; a node's
/// [`registry`](Self::registry) and [`bus`](Self::bus) come from it.
///
/// They run on tokio, with its time and network drivers on, and on no other runtime.
///
/// ```no_run
/// use tok_cluster::{Cluster, RedisBroker};
/// use tok_core::rt::Tokio;
///
/// async fn cluster() -> Result<Cluster, Box<dyn std::error::Error>> {
///     let broker = RedisBroker::connect("redis://127.0.0.1:6379").await?;
///     let cluster = Cluster::builder(broker.registry(), broker.bus());
///     Ok(cluster.node("eu-1").runtime(Tokio).build()?)
/// }
/// # let _ = cluster();
/// ```
///
/// # What it relies on
/// One server that decides: a primary, by itself or with replicas. Its data may get lost, also the last moments of it, as
/// in a failover: nodes put their rows back when they find their lease gone, and after every loss of their subscription.
/// Epochs are at least the server's time in microseconds, so that they rise as long as its clock does not step back behind
/// them. An old primary that is cut off gives epochs of its own to nodes that still reach it.
///
/// Frames are carried by publish and subscribe: at most once, and only to who is connected. A subscription counts when a
/// message that was published on the other connection has come back on it. A subscriber that is too slow is cut off by the
/// server (`client-output-buffer-limit pubsub`, by default 32 MiB), which this driver reports as a gap, as it does
/// every loss of that connection. One that is dead without a word is found by the cluster's probe of itself.
///
/// A server is refused that is older, that is a replica or a node of a Redis Cluster, whose `maxmemory-policy` evicts any key,
/// or whose `proto-max-bulk-len` is below [`max_frame`](RedisBrokerBuilder::max_frame). When its memory is
/// used up, claims fail with [`Unavailable`](crate::RegistryError::Unavailable); releases and leases do not need any.
///
/// # What it leaves
/// Keys `{PREFIX}:…`, all with one hash tag, so that they are on one server where keys are spread: for each session about
/// 300 bytes, which go when it ends or its node is reaped; for each node its lease; and the last epoch. Channels
/// `PREFIX:DATABASE:…`. Two tables differ by prefix or database; channels too.
///
/// # Access
/// The URL is `redis://USER:PASSWORD@HOST:PORT/DB`, or `rediss://` with the crate's feature `redis-tls`, which trusts the
/// system's certificates. The server's ACL must allow the keys and channels above (`~{PREFIX}:* &PREFIX:*`) and the
/// commands `HELLO`, `CONFIG GET` (without it, whether the server's `proto-max-bulk-len` is large enough is not checked), `INFO`, `TIME`, `EVALSHA`, `SCRIPT LOAD`, `PUBLISH`, `SUBSCRIBE`, `UNSUBSCRIBE`, and those of hashes, sets,
/// sorted sets and strings that the scripts call.
#[derive(Clone)]
pub struct RedisBroker {
    settings: RedisBrokerBuilder,
    link: Arc<Link>,
    names: Arc<Names>,
    scripts: Arc<Scripts>,
}

impl RedisBroker {
    /// The broker at this URL, with the default settings.
    ///
    /// # Errors
    /// [`ConnectError`]: the URL is wrong, nobody answers there, or the server cannot be relied on.
    pub async fn connect(url: impl Into<String>) -> Result<Self, ConnectError> {
        Self::builder(url).connect().await
    }

    /// Sets the prefix and more.
    pub fn builder(url: impl Into<String>) -> RedisBrokerBuilder {
        RedisBrokerBuilder::new(url.into())
    }

    async fn connect_with(settings: RedisBrokerBuilder) -> Result<Self, ConnectError> {
        let client = client(&settings.url)?;
        let database = client.get_connection_info().redis_settings().db();
        let link = Link::open(client, settings.timeout).await?;
        server::check_largest(&link, settings.max_frame).await?;
        Ok(Self {
            names: Arc::new(Names::new(&settings.prefix, database)),
            link: Arc::new(link),
            scripts: Arc::new(Scripts::new()),
            settings,
        })
    }

    /// The table of sessions. All that come from one broker share a connection.
    #[must_use]
    pub fn registry(&self) -> RedisRegistry {
        let (link, names) = (Arc::clone(&self.link), Arc::clone(&self.names));
        RedisRegistry::new(&self.settings, link, names, Arc::clone(&self.scripts))
    }

    /// What carries frames: each bus is one node's, and listens on a connection of its own.
    #[must_use]
    pub fn bus(&self) -> RedisBus {
        RedisBus::new(&self.settings, Arc::clone(&self.link), Arc::clone(&self.names))
    }
}

impl fmt::Debug for RedisBroker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisBroker").field("settings", &self.settings).finish_non_exhaustive()
    }
}

fn client(url: &str) -> Result<Client, ConnectError> {
    #[cfg(feature = "redis-tls")]
    if rustls::crypto::CryptoProvider::get_default().is_none() {
        // Another thread may have been first, which is as good. Without any, rustls panics where two are compiled in.
        let _ = rustls::crypto::ring::default_provider().install_default();
    }
    let invalid = |_| ConfigError::Invalid {
        setting: "url",
        // Not the URL itself, which can hold a password.
        value: "no URL of a Redis server".to_owned(),
        rule: "must be redis://USER:PASSWORD@HOST:PORT/DB, or rediss:// with the feature redis-tls",
    };
    let info: ConnectionInfo = url.into_connection_info().map_err(invalid)?;
    // Messages are told from answers by the protocol, from its version 3.
    let settings = info.redis_settings().clone().set_protocol(ProtocolVersion::RESP3);
    Ok(Client::open(info.set_redis_settings(settings)).map_err(invalid)?)
}

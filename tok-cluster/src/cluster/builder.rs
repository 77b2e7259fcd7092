use std::{fmt, sync::Arc, time::Duration};

use tok_core::{ConfigError, rt::Runtime};

use super::{Cluster, Inner};
use crate::{Bus, NodeId, Registry};

/// What a node does where being available and keeping single sign-on exclude each other.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Policy {
    /// A login whose older session's node does not answer within the request timeout goes on. A node that is cut off
    /// goes on serving its sessions; the older of two loses its place when the nodes find each other again.
    #[default]
    Available,
    /// Such a login is refused until the node answers or its lease is over. A node that cannot renew its lease
    /// closes its sessions, with [`CloseReason::Unavailable`](tok_core::CloseReason::Unavailable), a request timeout
    /// before the lease ends, so that no two sessions of one class ever live at once.
    Strict,
}

/// Makes a [`Cluster`].
#[must_use]
pub struct ClusterBuilder {
    registry: Arc<dyn Registry>,
    bus: Arc<dyn Bus>,
    runtime: Option<Arc<dyn Runtime>>,
    name: String,
    settings: Settings,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Settings {
    pub(super) lease: Duration,
    pub(super) beat: Duration,
    pub(super) request_timeout: Duration,
    pub(super) max_in_flight: usize,
    pub(super) max_routes: usize,
    pub(super) policy: Policy,
}

impl ClusterBuilder {
    pub(super) fn new(registry: Arc<dyn Registry>, bus: Arc<dyn Bus>) -> Self {
        let settings = Settings {
            lease: Duration::from_secs(15),
            beat: Duration::from_secs(5),
            request_timeout: Duration::from_secs(2),
            max_in_flight: 1024,
            max_routes: 65_536,
            policy: Policy::default(),
        };
        Self { registry, bus, runtime: None, name: String::new(), settings }
    }

    /// This node's name: 1 to 64 bytes of `A-Z a-z 0-9 - _`. Required. Other nodes see it with a random number behind
    /// it, so that two with one name, or two runs of one, are not mistaken for each other.
    pub fn node(mut self, name: impl Into<String>) -> Self {
        self.name = name.into();
        self
    }

    /// The executor that time, randomness and tasks come from; the hub's. Required.
    pub fn runtime(mut self, runtime: impl Runtime) -> Self {
        self.runtime = Some(Arc::new(runtime));
        self
    }

    /// How long this node counts as alive after its last beat: when it dies, its users are offline so long later at the
    /// latest. 15 seconds by default.
    pub fn lease(mut self, lease: Duration) -> Self {
        self.settings.lease = lease;
        self
    }

    /// How often this node renews its lease, looks who else is there, and probes its own subscription. 5 seconds by
    /// default.
    pub fn beat(mut self, beat: Duration) -> Self {
        self.settings.beat = beat;
        self
    }

    /// How long to wait for another node or the broker: what a send to a silent node, or a login whose older session's
    /// node is silent, is delayed by at most. 2 seconds by default.
    pub fn request_timeout(mut self, timeout: Duration) -> Self {
        self.settings.request_timeout = timeout;
        self
    }

    /// The most requests under way to one node; one more fails with
    /// [`RelayError::Overloaded`](tok_core::relay::RelayError::Overloaded). 1,024 by default.
    pub fn max_in_flight(mut self, requests: usize) -> Self {
        self.settings.max_in_flight = requests;
        self
    }

    /// The most users on other nodes whose place is remembered, at about 150 bytes each; the least recently used make
    /// room. 65,536 by default; 0 looks every one up.
    pub fn max_routes(mut self, users: usize) -> Self {
        self.settings.max_routes = users;
        self
    }

    /// What comes first when a node cannot be reached. [`Policy::Available`] by default.
    pub fn policy(mut self, policy: Policy) -> Self {
        self.settings.policy = policy;
        self
    }

    /// Checks the settings. Nothing is sent before a hub is built with the cluster as its relay.
    ///
    /// # Errors
    /// [`ConfigError`] names the setting that cannot work, and why.
    pub fn build(self) -> Result<Cluster, ConfigError> {
        let Self { registry, bus, runtime, name, settings } = self;
        settings.check()?;
        let runtime = runtime.ok_or(ConfigError::NoRuntime)?;
        let runtime = runtime.bind().map_err(ConfigError::RuntimeNotRunning)?.unwrap_or(runtime);
        let Some(me) = NodeId::new(&name, runtime.random()) else {
            let rule = "a node's name must have 1 to 64 bytes of A-Z a-z 0-9 - _";
            return Err(ConfigError::Invalid { setting: "node", value: format!("{name:?}"), rule });
        };
        Ok(Cluster { inner: Arc::new(Inner::new(me, settings, runtime, registry, bus)) })
    }
}

impl Settings {
    fn check(&self) -> Result<(), ConfigError> {
        let least = Duration::from_millis(10);
        for (setting, value) in [("beat", self.beat), ("request_timeout", self.request_timeout)] {
            if value < least {
                return Err(invalid(setting, value, "it must be at least 10 ms"));
            }
        }
        if self.lease < self.beat.saturating_mul(2).saturating_add(self.request_timeout) {
            let rule = "it must be at least two beats and a request timeout, or one lost beat ends it";
            return Err(invalid("lease", self.lease, rule));
        }
        if self.max_in_flight == 0 {
            let (setting, value) = ("max_in_flight", "0".to_owned());
            return Err(ConfigError::Invalid { setting, value, rule: "it must be at least 1" });
        }
        Ok(())
    }
}

fn invalid(setting: &'static str, value: Duration, rule: &'static str) -> ConfigError {
    ConfigError::Invalid { setting, value: format!("{value:?}"), rule }
}

impl fmt::Debug for ClusterBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClusterBuilder")
            .field("node", &self.name)
            .field("settings", &self.settings)
            .finish_non_exhaustive()
    }
}

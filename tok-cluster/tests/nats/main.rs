//! `NatsBroker` on real servers, which the tests start.

mod claims;
mod conformance;
mod faults;
mod healing;
mod hooks;
mod replicas;
mod settings;
#[allow(clippy::disallowed_types, reason = "no simulator runs this")]
#[path = "../stall/mod.rs"]
mod stall;
mod support;
mod system;

use std::{sync::LazyLock, time::Duration};

use brokers::NatsServer;
use tok_cluster::{NatsBroker, NatsBrokerBuilder};

/// For tests that leave it running as it is; it ends with this process.
static SERVER: LazyLock<NatsServer> = LazyLock::new(|| NatsServer::start().unwrap());

/// The timeout of those whose server is silent.
const SHORT: Duration = Duration::from_millis(300);

fn builder() -> NatsBrokerBuilder {
    NatsBroker::builder(SERVER.url()).prefix(support::prefix())
}

//! `NatsQueue` on real servers, which the tests start.

mod cluster;
mod conformance;
mod faults;
mod settings;
mod sharing;
#[path = "../support/mod.rs"]
mod support;
mod time;

use std::{sync::LazyLock, time::Duration};

use brokers::NatsServer;
use tok_queue::{NatsQueue, NatsQueueBuilder};

/// For tests that leave it running as it is; it ends with this process. Batches of the suite are up to 8 MiB.
static SERVER: LazyLock<NatsServer> =
    LazyLock::new(|| NatsServer::with_config("max_payload: 16MB\n").unwrap());

/// The timeout of queues whose server is silent.
const SHORT: Duration = Duration::from_millis(300);

fn builder() -> NatsQueueBuilder {
    NatsQueue::builder(SERVER.url()).prefix(support::prefix())
}

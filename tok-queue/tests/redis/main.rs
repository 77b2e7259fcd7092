//! `RedisQueue` on real servers, which the tests start.

mod conformance;
mod faults;
mod keys;
mod settings;
#[path = "../support/mod.rs"]
mod support;

use std::{sync::LazyLock, time::Duration};

use brokers::RedisServer;
use tok_queue::{RedisQueue, RedisQueueBuilder};

/// For tests that leave it running as it is; it ends with this process.
static SERVER: LazyLock<RedisServer> = LazyLock::new(|| RedisServer::start().unwrap());

/// The timeout of queues whose server is silent.
const SHORT: Duration = Duration::from_millis(300);

fn builder() -> RedisQueueBuilder {
    RedisQueue::builder(SERVER.url()).prefix(support::prefix())
}

//! What these tests share.

use std::{
    sync::{
        Arc, LazyLock, Mutex,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use brokers::RedisServer;
use bytes::Bytes;
use redis::{FromRedisValue, aio::MultiplexedConnection};
use tok_cluster::{Answer, BusState, Inbound, NodeId, RedisBroker, RedisBrokerBuilder};
use tok_core::{Epoch, relay::Claim};

/// For tests that leave it running as it is; it ends with this process.
pub(crate) static SERVER: LazyLock<RedisServer> = LazyLock::new(|| RedisServer::start().unwrap());

/// How long a test waits for what must happen.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// The timeout of drivers whose server is silent.
pub(crate) const SHORT: Duration = Duration::from_millis(300);

/// A name that no other cluster of this process has.
pub(crate) fn prefix() -> String {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    format!("t{}", COUNT.fetch_add(1, Ordering::Relaxed))
}

pub(crate) fn builder() -> RedisBrokerBuilder {
    RedisBroker::builder(SERVER.url()).prefix(prefix()).timeout(PATIENCE)
}

/// A cluster of its own on the shared server.
pub(crate) async fn broker() -> RedisBroker {
    builder().connect().await.unwrap()
}

/// Runs a rule of a suite on tokio.
pub(crate) fn block_on(rule: impl Future<Output = ()>) {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(rule);
}

pub(crate) fn node(name: &str) -> NodeId {
    NodeId::new(name, 1).unwrap()
}

pub(crate) fn claim(uid: &str, class: Option<&str>) -> Claim {
    Claim { uid: uid.into(), class: class.map(str::to_owned), above: Epoch::default() }
}

/// Asks the server something, by other means than the driver.
pub(crate) async fn ask<T: FromRedisValue>(server: &RedisServer, command: &str) -> T {
    let mut words = command.split_whitespace();
    let mut command = redis::cmd(words.next().unwrap());
    for word in words {
        command.arg(word);
    }
    command.query_async(&mut client(server).await).await.unwrap()
}

pub(crate) async fn client(server: &RedisServer) -> MultiplexedConnection {
    redis::Client::open(server.url()).unwrap().get_multiplexed_async_connection().await.unwrap()
}

/// All keys of the server, in order.
pub(crate) async fn keys(server: &RedisServer) -> Vec<String> {
    let mut keys: Vec<String> = ask(server, "KEYS *").await;
    keys.sort_unstable();
    keys
}

/// Fails a test that would otherwise wait for ever.
pub(crate) async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future).await.unwrap_or_else(|_| panic!("{what}: not within {PATIENCE:?}"))
}

/// Looks again and again until something is so.
pub(crate) async fn until(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    soon(what, async {
        while !is_so().await {
            tokio::time::sleep(Duration::from_millis(10)).await; // sleep: between two looks
        }
    })
    .await;
}

/// Asks again and again until there is an answer.
pub(crate) async fn until_ok<T, E>(what: &str, mut ask: impl AsyncFnMut() -> Result<T, E>) -> T {
    soon(what, async {
        loop {
            match ask().await {
                Ok(value) => return value,
                Err(_) => tokio::time::sleep(Duration::from_millis(10)).await, // sleep: between two tries
            }
        }
    })
    .await
}

/// Notes what it hears, and answers all but `silence`.
#[derive(Default)]
pub(crate) struct Ear {
    requests: Mutex<Vec<Bytes>>,
    notices: Mutex<Vec<Bytes>>,
    states: Mutex<Vec<BusState>>,
}

impl Ear {
    pub(crate) fn new() -> Arc<Self> {
        Arc::default()
    }

    pub(crate) fn requests(&self) -> Vec<Bytes> {
        self.requests.lock().unwrap().clone()
    }

    pub(crate) fn notices(&self) -> Vec<Bytes> {
        self.notices.lock().unwrap().clone()
    }

    pub(crate) fn states(&self) -> Vec<BusState> {
        self.states.lock().unwrap().clone()
    }
}

impl Inbound for Ear {
    fn request(&self, frame: Bytes, answer: Answer) {
        self.requests.lock().unwrap().push(frame.clone());
        if frame != "silence" {
            answer.send(frame);
        }
    }

    fn notify(&self, frame: Bytes) {
        self.notices.lock().unwrap().push(frame);
    }

    fn state(&self, state: BusState) {
        self.states.lock().unwrap().push(state);
    }
}

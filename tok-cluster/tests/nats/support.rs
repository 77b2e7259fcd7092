//! What these tests share.

#![allow(clippy::disallowed_types, reason = "no simulator runs these")]

use std::{
    pin::Pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use tok_cluster::{
    Answer, BusState, Claimed, Inbound, NatsRegistry, NodeId, Registry, RegistryError, SessionRow,
};
use tok_core::{Epoch, Uid, relay::Claim};

/// How long a test waits for what must happen.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// A lease that does not end within a test.
pub(crate) const LONG: Duration = Duration::from_secs(600);

/// A name that no other cluster of this process has.
pub(crate) fn prefix() -> String {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    format!("t{}", COUNT.fetch_add(1, Ordering::Relaxed))
}

/// Runs a rule of a suite on tokio.
pub(crate) fn block_on(rule: Pin<Box<dyn Future<Output = ()> + '_>>) {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(rule);
}

pub(crate) fn node(name: &str) -> NodeId {
    NodeId::new(name, 1).unwrap()
}

/// A claim of the user's one class.
pub(crate) async fn claim(registry: &NatsRegistry, uid: &str, at: &str) -> Result<Claimed, RegistryError> {
    let claim = Claim { uid: Uid::from(uid), class: Some(String::new()), above: Epoch::default() };
    registry.claim(&claim, &node(at)).await
}

pub(crate) async fn rows(registry: &NatsRegistry, uid: &str) -> Vec<SessionRow> {
    registry.lookup(&Uid::from(uid)).await.unwrap()
}

/// Fails a test that would otherwise wait for ever.
pub(crate) async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future).await.unwrap_or_else(|_| panic!("{what}: not within {PATIENCE:?}"))
}

/// Asks again and again until something is so.
pub(crate) async fn until(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    soon(what, async {
        while !is_so().await {
            tokio::time::sleep(Duration::from_millis(20)).await; // sleep: between two looks
        }
    })
    .await;
}

/// Tries again and again until the server is back.
pub(crate) async fn until_ok<T, E: std::fmt::Debug>(
    what: &str,
    mut ask: impl AsyncFnMut() -> Result<T, E>,
) -> T {
    let mut result = None;
    until(what, async || {
        result = ask().await.ok();
        result.is_some()
    })
    .await;
    result.unwrap()
}

/// Notes what it is told and answers `re: ` and the frame, except to what begins with `silence`.
#[derive(Debug, Default)]
pub(crate) struct Ear {
    requests: Mutex<Vec<Bytes>>,
    notices: Mutex<Vec<Bytes>>,
    states: Mutex<Vec<BusState>>,
}

impl Ear {
    pub(crate) fn new() -> Arc<Self> {
        Arc::default()
    }

    pub(crate) fn requests(&self) -> usize {
        self.requests.lock().unwrap().len()
    }

    /// The requests, and nobody else has them any more.
    pub(crate) fn take(&self) -> Vec<Bytes> {
        std::mem::take(&mut *self.requests.lock().unwrap())
    }

    pub(crate) fn notices(&self) -> usize {
        self.notices.lock().unwrap().len()
    }

    pub(crate) fn states(&self) -> Vec<BusState> {
        self.states.lock().unwrap().clone()
    }
}

impl Inbound for Ear {
    fn request(&self, frame: Bytes, answer: Answer) {
        self.requests.lock().unwrap().push(frame.clone());
        if !frame.starts_with(b"silence") {
            answer.send(Bytes::from([b"re: ", &frame[..]].concat()));
        }
    }

    fn notify(&self, frame: Bytes) {
        self.notices.lock().unwrap().push(frame);
    }

    fn state(&self, state: BusState) {
        self.states.lock().unwrap().push(state);
    }
}

//! Senders write to sessions at rest themselves.
#![cfg(feature = "tokio")]

mod common;

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll},
};

use common::*;
use tok_core::{
    Device, Transport,
    testkit::{MemoryTransport, memory_pair},
    transport::{Framing, Incoming, Outgoing, TransportError, WriteNow},
};

/// Counts how often the session's task polls it.
struct Counted(MemoryTransport, Arc<AtomicUsize>);

impl Transport for Counted {
    fn framing(&self) -> &'static Framing {
        self.0.framing()
    }

    fn poll_recv(&mut self, cx: &mut Context<'_>) -> Poll<Result<Incoming, TransportError>> {
        self.1.fetch_add(1, Ordering::Relaxed);
        self.0.poll_recv(cx)
    }

    fn start_send(&mut self, out: Outgoing) -> Result<u64, TransportError> {
        self.0.start_send(out)
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), TransportError>> {
        self.0.poll_flush(cx)
    }

    fn written(&self) -> u64 {
        self.0.written()
    }

    fn writer(&self) -> Option<Arc<dyn WriteNow>> {
        self.0.writer()
    }

    fn is_at_rest(&self) -> bool {
        self.0.is_at_rest()
    }

    fn poll_close(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), TransportError>> {
        self.0.poll_close(cx)
    }
}

#[tokio::test(start_paused = true)]
async fn a_session_at_rest_is_written_to_without_waking_its_task() {
    let hub = keeping().build().unwrap();
    let polls = Arc::new(AtomicUsize::new(0));
    let (transport, peer) = memory_pair(2000, false);
    let mut client =
        login_over(&hub, Device::new("alice"), Counted(transport, Arc::clone(&polls)), peer).await;
    settle().await;
    let before = polls.load(Ordering::Relaxed);
    for n in 0..10 {
        assert_eq!(hub.send("alice", format!("direct {n}")).await.unwrap().sessions(), 1);
    }
    settle().await;
    assert_eq!(polls.load(Ordering::Relaxed), before, "the session's task was woken");
    client.expect((0..10).map(|n| format!("direct {n}"))).await;

    // What is kept is confirmed by the task, and what follows it waits for it.
    keep(&hub, "alice", "kept").await;
    let _ = hub.send("alice", "behind").await.unwrap();
    client.expect(["kept", "behind"]).await;
    assert!(polls.load(Ordering::Relaxed) > before);
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_takes_no_more_is_left_to_the_task() {
    let hub = builder().build().unwrap();
    let mut client = login_with(&hub, Device::new("alice"), 100).await;
    for n in 0..50 {
        let _ = hub.send("alice", format!("message {n}")).await.unwrap();
    }
    client.expect((0..50).map(|n| format!("message {n}"))).await;
    client.leave().await;
}

#[tokio::test(start_paused = true)]
async fn a_broadcast_that_is_dropped_half_way_reaches_everybody() {
    const MANY: usize = 500;
    let hub = builder().build().unwrap();
    let mut clients = Vec::new();
    for n in 0..MANY {
        clients.push(login(&hub, &format!("user {n}")).await);
    }
    settle().await;
    // It lets others have their turn in between.
    assert!(now_or_never(hub.broadcast("first")).is_none());
    assert_eq!(hub.broadcast("second").await.unwrap(), MANY);
    for client in &mut clients {
        client.expect(["first", "second"]).await;
    }
}

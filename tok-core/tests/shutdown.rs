//! Shutdowns: every session gets its goodbye, unconfirmed messages are stored, and the shutdown ends in time.
#![cfg(feature = "tokio")]

mod common;

use std::{
    future::IntoFuture,
    pin::{Pin, pin},
    sync::Arc,
    task::{Context, Wake, Waker},
    time::Duration,
};

use common::*;
use tok_core::{CloseReason, Device, Hub, SendError, ShutdownReport, rt::Runtime};
use tokio::task::JoinHandle;

fn shutdown(hub: &Hub, deadline: Duration) -> JoinHandle<ShutdownReport> {
    let hub = hub.clone();
    tokio::spawn(async move { hub.shutdown(deadline).await })
}

#[tokio::test(start_paused = true)]
async fn a_shutdown_of_an_empty_hub_is_done_at_once() {
    let hub = keeping().build().unwrap();
    let report = shutdown(&hub, secs(10));
    settle().await;
    assert!(report.is_finished());
    assert_eq!(report.await.unwrap(), ShutdownReport::default());
    assert!(hub.is_draining());
}

#[tokio::test(start_paused = true)]
async fn a_shutdown_refuses_logins() {
    let hub = builder().build().unwrap();
    let client = login(&hub, "alice").await;
    let report = shutdown(&hub, secs(10));
    settle().await;
    assert_eq!(hub.admit(&Device::new("bob")).unwrap_err().status(), 503);
    assert_eq!(login(&hub, "bob").await.closed().await, CloseReason::Draining);
    // Nor does a login take the place of one that is still there.
    assert_eq!(login(&hub, "alice").await.closed().await, CloseReason::Draining);
    assert_eq!(client.closed().await, CloseReason::Draining);
    assert_eq!(report.await.unwrap().sessions, 1);
}

#[tokio::test(start_paused = true)]
async fn a_shutdown_stores_what_is_kept_and_refuses_the_rest() {
    let queue = Moody::new(Default::default());
    let hub = builder().queue(Arc::clone(&queue)).build().unwrap();
    let mut client = login(&hub, "alice").await;
    client.peer.answers(false);
    keep(&hub, "alice", "before").await;
    client.expect(["before"]).await;
    let report = shutdown(&hub, secs(10));
    settle().await;
    assert!(matches!(hub.send("alice", "not kept").await, Err(SendError::Draining)));
    assert!(keep(&hub, "alice", "while").await.is_stored());
    assert_eq!(client.closed().await, CloseReason::Draining);
    let report = report.await.unwrap();
    assert_eq!((report.sessions, report.forced, report.unstored), (1, 0, 0));
    assert!(keep(&hub, "alice", "after").await.is_stored());
    assert_eq!(queue.kept("alice").await, 3);
    let next = builder().queue(queue).build().unwrap();
    let mut client = login(&next, "alice").await;
    assert_eq!(client.drain().await, ["before", "while", "after"]);
}

#[tokio::test(start_paused = true)]
async fn a_shutdown_spreads_its_closes_over_the_first_half() {
    let hub = builder().build().unwrap();
    let mut clients = Vec::new();
    for n in 0..500 {
        clients.push(login(&hub, &n.to_string()).await);
    }
    let report = shutdown(&hub, secs(10));
    settle().await;
    let mut left = vec![hub.stats().sessions];
    for _ in 0..5 {
        pass(secs(1)).await;
        left.push(hub.stats().sessions);
    }
    assert!(left[0] > 450, "{left:?}");
    assert!(left.windows(2).all(|pair| pair[0] > pair[1]), "{left:?}");
    assert_eq!(left[5], 0);
    for client in clients {
        drop(client.peer);
    }
    assert_eq!(report.await.unwrap().sessions, 500);
}

#[tokio::test(start_paused = true)]
async fn a_handful_of_sessions_is_closed_at_once() {
    let hub = builder().build().unwrap();
    let mut clients = Vec::new();
    for n in 0..20 {
        clients.push(login(&hub, &n.to_string()).await);
    }
    let report = shutdown(&hub, secs(10));
    settle().await;
    for client in clients {
        assert_eq!(client.closed().await, CloseReason::Draining);
    }
    settle().await;
    assert!(report.is_finished());
}

#[tokio::test(start_paused = true)]
async fn a_shutdown_waits_for_running_handlers_and_their_messages_are_not_cut() {
    let actor = Holding::new();
    let hub = builder_of(actor.clone()).build().unwrap();
    let client = login(&hub, "held").await;
    client.send("one");
    client.send("two");
    settle().await;
    let report = shutdown(&hub, secs(10));
    pass(secs(8)).await;
    assert!(!report.is_finished());
    actor.release(2);
    let report = report.await.unwrap();
    assert_eq!((report.sessions, report.forced), (1, 0));
    assert_eq!(actor.journal.lines(), ["begin one", "end one"]);
}

#[tokio::test(start_paused = true)]
async fn at_the_deadline_a_shutdown_cuts_off_who_is_not_done() {
    let journal = Journal::default();
    let notes = journal.clone();
    let actor = Holding::new();
    let hub = builder_of(actor.clone())
        .queue(tok_queue::MemoryQueue::default())
        .close(move |session, reason| notes.note(format!("{} {reason}", session.device().uid())))
        .build()
        .unwrap();
    let stuck = login(&hub, "held").await;
    stuck.send("one");
    settle().await;
    let fine = login(&hub, "fine").await;
    let start = Clock.now();
    let report = shutdown(&hub, secs(10));
    assert_eq!(fine.closed().await, CloseReason::Draining);
    let report = report.await.unwrap();
    let took = Clock.now().saturating_since(start);
    assert!((secs(9)..=secs(10)).contains(&took), "{took:?}");
    assert_eq!((report.sessions, report.forced), (1, 1));
    assert_eq!(stuck.session.await.unwrap(), CloseReason::Draining);
    // The handler was dropped where it waited.
    assert_eq!(actor.journal.lines(), ["begin one"]);
    assert_eq!(journal.lines(), ["fine drain", "held drain"]);
    assert_eq!(hub.stats(), Default::default());
}

#[tokio::test(start_paused = true)]
async fn a_shutdown_returns_by_its_deadline_whatever_hangs() {
    for deadline in [10_000, 100, 1, 0].map(Duration::from_millis) {
        let queue = Moody::new(Default::default());
        let actor = Holding::new();
        let hub = builder_of(actor).queue(Arc::clone(&queue)).build().unwrap();
        let mut client = login(&hub, "held").await;
        client.peer.answers(false);
        keep(&hub, "held", "kept").await;
        client.send("one");
        settle().await;
        queue.pause();
        let start = Clock.now();
        let report = hub.shutdown(deadline).await;
        let took = Clock.now().saturating_since(start);
        assert!(took <= deadline, "{took:?} of {deadline:?}");
        assert_eq!((report.sessions, report.forced, report.unstored), (0, 1, 1), "{deadline:?}");
        settle().await;
        assert_eq!(client.session.await.unwrap(), CloseReason::Draining);
    }
}

struct Nothing;

impl Wake for Nothing {
    fn wake(self: Arc<Self>) {}
}

#[tokio::test(start_paused = true)]
async fn a_shutdown_that_is_polled_often_or_dropped_leaves_no_waker() {
    let hub = builder_of(Holding::new()).build().unwrap();
    let client = login(&hub, "held").await;
    client.send("one");
    settle().await;
    let nothing = Arc::new(Nothing);
    let waker = Waker::from(Arc::clone(&nothing));
    // One each for the sessions and the deadline.
    let polled = |future: Pin<&mut dyn Future<Output = ShutdownReport>>| {
        assert!(future.poll(&mut Context::from_waker(&waker)).is_pending());
        Arc::strong_count(&nothing)
    };
    {
        let mut shutdown = pin!(hub.shutdown(secs(10)));
        let first = polled(shutdown.as_mut());
        for _ in 0..100 {
            assert_eq!(polled(shutdown.as_mut()), first);
        }
    }
    assert_eq!(Arc::strong_count(&nothing), 2);
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_does_not_close_delays_a_shutdown_by_the_close_timeout_at_most() {
    let hub = builder().close_timeout(secs(3)).build().unwrap();
    let client = login(&hub, "alice").await;
    client.peer.vanish();
    let start = Clock.now();
    let report = hub.shutdown(secs(60)).await;
    assert!(Clock.now().saturating_since(start) < secs(4));
    assert_eq!((report.sessions, report.forced), (1, 0));
    assert_eq!(client.session.await.unwrap(), CloseReason::Draining);
}

#[tokio::test(start_paused = true)]
async fn a_second_shutdown_waits_for_the_same_end() {
    let hub = builder().build().unwrap();
    let client = login(&hub, "alice").await;
    let first = shutdown(&hub, secs(10));
    settle().await;
    let second = shutdown(&hub, secs(10));
    settle().await;
    assert!(!first.is_finished() && !second.is_finished());
    assert_eq!(client.closed().await, CloseReason::Draining);
    settle().await;
    assert!(first.is_finished() && second.is_finished());
}

#[tokio::test(start_paused = true)]
async fn what_a_failing_queue_does_not_take_is_counted() {
    let queue = Moody::new(Default::default());
    let hub = builder().queue(Arc::clone(&queue)).build().unwrap();
    let mut client = login(&hub, "alice").await;
    client.peer.answers(false);
    for n in numbers(0..7) {
        keep(&hub, "alice", &n).await;
    }
    client.expect(numbers(0..7)).await;
    queue.fail(true);
    let report = shutdown(&hub, secs(10));
    settle().await;
    assert_eq!(client.closed().await, CloseReason::Draining);
    assert_eq!(report.await.unwrap().unstored, 7);
}

#[tokio::test(start_paused = true)]
async fn what_no_queue_keeps_is_reported_when_a_shutdown_ends_its_session() {
    let journal = Journal::default();
    let notes = journal.clone();
    let hub = builder().undelivered(move |_, _, why| notes.note(format!("{why:?}"))).build().unwrap();
    let mut client = login(&hub, "alice").await;
    client.peer.answers(false);
    let mut sends = Vec::new();
    for n in numbers(0..3) {
        sends.push(tokio::spawn(hub.send("alice", n).ttl(LONG).into_future()));
        settle().await;
    }
    client.expect(numbers(0..3)).await;
    let report = shutdown(&hub, secs(10));
    assert_eq!(client.closed().await, CloseReason::Draining);
    assert_eq!(report.await.unwrap().forced, 0);
    assert_eq!(journal.lines(), ["NotKept"; 3]);
    for send in sends {
        assert!(matches!(send.await.unwrap(), Err(SendError::Unconfirmed { pending: false, .. })));
    }
    assert_eq!(hub.stats(), Default::default());
}

#[tokio::test(start_paused = true)]
async fn a_queue_that_recovers_before_the_deadline_loses_nothing() {
    let queue = Moody::new(Default::default());
    let hub = builder().queue(Arc::clone(&queue)).build().unwrap();
    let mut client = login(&hub, "alice").await;
    client.peer.answers(false);
    for n in numbers(0..7) {
        keep(&hub, "alice", &n).await;
    }
    client.expect(numbers(0..7)).await;
    queue.fail(true);
    let report = shutdown(&hub, secs(30));
    pass(secs(1)).await;
    assert_eq!(client.closed().await, CloseReason::Draining);
    pass(secs(5)).await;
    queue.fail(false);
    assert_eq!(report.await.unwrap().unstored, 0);
    assert_eq!(queue.kept("alice").await, 7);
}

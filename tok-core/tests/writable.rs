//! `Session::writable`: any number of tasks wait for room on one connection, and all are woken.
#![cfg(feature = "tokio")]

mod common;

use std::{
    pin::pin,
    sync::{Arc, OnceLock},
    task::{Context, Wake, Waker},
};

use common::*;
use tok_core::{CloseReason, Device, Hub, HubBuilder, Overflow, Session};
use tokio::task::JoinHandle;

fn padded(n: usize) -> String {
    format!("{n:04}{}", "x".repeat(996))
}

fn number(text: &str) -> usize {
    text[..4].parse().unwrap()
}

/// A client whose connection takes one message, and who reads nothing.
async fn slow(hub: &Hub, uid: &str) -> Client {
    login_with(hub, Device::new(uid), 1).await
}

/// The only session of a hub, and its slow client.
async fn only(builder: HubBuilder) -> (Session, Client) {
    let session = Arc::new(OnceLock::new());
    let opened = Arc::clone(&session);
    let hub = builder.open(move |session| drop(opened.set(session.clone()))).build().unwrap();
    let client = slow(&hub, "alice").await;
    (session.get().unwrap().clone(), client)
}

/// Sends to a session until less than half of the backlog's bound is left.
async fn fill(session: &Session) -> usize {
    let mut sent = 0;
    while now_or_never(session.writable()).is_some() {
        session.send(padded(sent)).unwrap();
        sent += 1;
        settle().await;
    }
    sent
}

/// Tasks that wait for room on clones of a session.
async fn waiting(session: &Session, tasks: usize) -> Vec<JoinHandle<()>> {
    let tasks: Vec<_> = (0..tasks)
        .map(|_| {
            let session = session.clone();
            tokio::spawn(async move { session.writable().await })
        })
        .collect();
    settle().await;
    assert!(tasks.iter().all(|task| !task.is_finished()));
    tasks
}

#[tokio::test(start_paused = true)]
async fn all_tasks_that_wait_are_woken_when_there_is_room() {
    let (session, mut client) = only(builder().max_backlog(10_000)).await;
    let sent = fill(&session).await;
    let tasks = waiting(&session, 5).await;
    for n in 0..sent {
        assert_eq!(number(&client.text().await), n);
    }
    settle().await;
    assert_eq!(tasks.iter().filter(|task| task.is_finished()).count(), 5);
    client.leave().await;
}

#[tokio::test(start_paused = true)]
async fn all_tasks_that_wait_are_woken_when_the_session_ends() {
    let (session, client) = only(builder().max_backlog(10_000)).await;
    fill(&session).await;
    let tasks = waiting(&session, 5).await;
    client.peer.reset();
    settle().await;
    assert_eq!(tasks.iter().filter(|task| task.is_finished()).count(), 5);
}

#[tokio::test(start_paused = true)]
async fn room_made_by_dropping_old_messages_wakes_the_tasks_that_wait() {
    const KIB: usize = 1024;
    let (session, _client) = only(builder().max_backlog(1024 * KIB).overflow(Overflow::DropOldest)).await;
    // The first is on its way, the second is with the transport, and the third waits.
    for size in [70 * KIB, 70 * KIB, 800 * KIB] {
        session.send("x".repeat(size)).unwrap();
        settle().await;
    }
    let tasks = waiting(&session, 2).await;
    session.send("x".repeat(300 * KIB)).unwrap();
    settle().await;
    assert_eq!(tasks.iter().filter(|task| task.is_finished()).count(), 2);
}

struct Nothing;

impl Wake for Nothing {
    fn wake(self: Arc<Self>) {}
}

#[tokio::test(start_paused = true)]
async fn dropped_waiters_leave_nothing() {
    let (session, _client) = only(builder().max_backlog(10_000)).await;
    fill(&session).await;
    let nothing = Arc::new(Nothing);
    let waker = Waker::from(Arc::clone(&nothing));
    let first = waiting(&session, 1).await;
    for _ in 0..100 {
        let mut waits = pin!(session.writable());
        for _ in 0..2 {
            assert!(waits.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
        }
        // Polled twice, it is registered once.
        assert_eq!(Arc::strong_count(&nothing), 3);
    }
    assert_eq!(Arc::strong_count(&nothing), 2);
    assert!(!first[0].is_finished());
    session.close(CloseReason::Kicked);
    settle().await;
    assert!(first[0].is_finished());
}

#[tokio::test(start_paused = true)]
async fn writable_waits_while_half_of_the_backlog_waits() {
    let journal = Journal::default();
    let notes = journal.clone();
    let streams = Act(move |session: Session, _: tok_core::Message| {
        let notes = notes.clone();
        async move {
            for n in 0..200 {
                session.writable().await;
                session.send(padded(n)).unwrap();
                notes.note("sent");
            }
        }
    });
    let hub = builder_of(streams).max_backlog(10_000).build().unwrap();
    let mut client = slow(&hub, "alice").await;
    client.send("go");
    settle().await;
    let ahead = journal.lines().len();
    assert!((4..=10).contains(&ahead), "{ahead} messages were sent ahead");
    for n in 0..200 {
        assert_eq!(number(&client.text().await), n);
    }
    client.leave().await;
}

#[tokio::test(start_paused = true)]
async fn writable_ends_when_the_session_does() {
    let journal = Journal::default();
    let notes = journal.clone();
    let streams = Act(move |session: Session, _: tok_core::Message| {
        let notes = notes.clone();
        async move {
            while session.send(padded(0)).is_ok() {
                session.writable().await;
            }
            notes.note("done");
        }
    });
    let hub = builder_of(streams).max_backlog(10_000).build().unwrap();
    let client = slow(&hub, "alice").await;
    client.send("go");
    settle().await;
    assert_eq!(journal.lines(), Vec::<String>::new());
    client.peer.reset();
    assert_eq!(client.session.await.unwrap(), CloseReason::Disconnected);
    assert_eq!(journal.lines(), ["done"]);
}

#[tokio::test(start_paused = true)]
async fn after_writable_one_message_of_any_size_fits() {
    const SIZES: [usize; 6] = [4000, 20_000, 100, 10_000, 4000, 9900];
    let streams = Act(move |session: Session, _: tok_core::Message| async move {
        for size in SIZES {
            session.writable().await;
            session.send("x".repeat(size)).unwrap();
        }
    });
    let hub = builder_of(streams).max_backlog(10_000).build().unwrap();
    let mut client = slow(&hub, "alice").await;
    client.send("go");
    for size in SIZES {
        settle().await;
        assert_eq!(client.text().await.len(), size);
    }
    client.leave().await;
}

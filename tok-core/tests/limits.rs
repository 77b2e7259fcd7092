//! Everything that waits is bounded, and each bound has its policy.
#![cfg(feature = "tokio")]

mod common;

use std::sync::Arc;

use common::*;
use tok_core::{CloseReason, Device, Hub, JoinError, Outcome, Overflow, SendError, Session};

/// What a message counts for beside its bytes where one connection is bounded.
const OVERHEAD: usize = 128;

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

#[tokio::test(start_paused = true)]
async fn past_the_backlog_a_session_is_closed_as_slow() {
    let hub = builder().max_backlog(10_000).build().unwrap();
    let mut client = slow(&hub, "alice").await;
    let mut sent = 0;
    while hub.send("alice", padded(sent)).await.unwrap().sessions() == 1 {
        sent += 1;
        settle().await;
        assert!(sent < 20, "nothing ended the session");
    }
    assert!(sent >= 8, "{sent} messages are less than the bound");
    settle().await;
    assert_eq!(hub.stats().sessions, 0);
    assert_eq!(hub.users_online().await.unwrap(), 0);
    assert!(!hub.is_online("alice").await.unwrap());
    let read = client.drain().await;
    assert_eq!(read.last().map(String::as_str), Some("Close(Slow)"));
    client.peer.close();
    assert_eq!(client.session.await.unwrap(), CloseReason::Slow);
    assert_eq!(hub.stats(), Default::default());
}

#[tokio::test(start_paused = true)]
async fn what_is_kept_after_a_session_was_too_slow_is_stored() {
    let hub = keeping().max_backlog(1000).build().unwrap();
    let client = slow(&hub, "alice").await;
    let mut sent = 0;
    while hub.send("alice", padded(sent)).await.unwrap().sessions() == 1 {
        sent += 1;
        settle().await;
        assert!(sent < 10, "nothing ended the session");
    }
    assert!(keep(&hub, "alice", "kept").await.is_stored());
    client.peer.reset();
    client.session.await.unwrap();
    let mut again = login(&hub, "alice").await;
    assert_eq!(again.drain().await, ["kept"]);
}

#[tokio::test(start_paused = true)]
async fn drop_oldest_makes_room_for_the_newest() {
    let journal = Journal::default();
    let dropped = journal.clone();
    let hub = builder()
        .max_backlog(10_000)
        .overflow(Overflow::DropOldest)
        .undelivered(move |_, message, why| {
            dropped.note(format!("{why:?} {}", number(message.as_text().unwrap())));
        })
        .build()
        .unwrap();
    let mut client = slow(&hub, "alice").await;
    for n in 0..100 {
        assert_eq!(hub.send("alice", padded(n)).await.unwrap().sessions(), 1);
        settle().await;
    }
    let read: Vec<_> = client.drain().await.iter().map(|text| number(text)).collect();
    assert!(read.is_sorted(), "{read:?}");
    assert_eq!(read.last(), Some(&99));
    assert!(read.len() < 30, "{} messages waited", read.len());
    let missing: Vec<_> = (0..100).filter(|n| !read.contains(n)).map(|n| format!("Dropped {n}")).collect();
    assert_eq!(journal.lines(), missing);
    client.leave().await;
}

#[tokio::test(start_paused = true)]
async fn refuse_drops_the_newest_and_the_session_lives() {
    let journal = Journal::default();
    let dropped = journal.clone();
    let hub = builder()
        .max_backlog(10_000)
        .overflow(Overflow::Refuse)
        .undelivered(move |_, message, _| dropped.note(number(message.as_text().unwrap()).to_string()))
        .build()
        .unwrap();
    let mut client = slow(&hub, "alice").await;
    for n in 0..100 {
        let _ = hub.send("alice", padded(n)).await.unwrap();
        settle().await;
    }
    let read: Vec<_> = client.drain().await.iter().map(|text| number(text)).collect();
    assert!((8..30).contains(&read.len()), "{} messages waited", read.len());
    assert_eq!(read, (0..read.len()).collect::<Vec<_>>());
    assert!(journal.lines().contains(&"99".to_owned()));
    client.leave().await;
}

#[tokio::test(start_paused = true)]
async fn one_message_of_any_size_fits_where_nothing_else_waits() {
    let hub = builder().max_backlog(1000).build().unwrap();
    let mut client = login(&hub, "alice").await;
    let big = "x".repeat(500_000);
    for _ in 0..3 {
        assert_eq!(hub.send("alice", big.clone()).await.unwrap().sessions(), 1);
        assert_eq!(client.text().await, big);
        settle().await;
    }
    client.leave().await;
}

#[tokio::test(start_paused = true)]
async fn kept_messages_never_end_a_slow_reader_who_catches_up_in_order() {
    let hub = keeping().max_backlog(2000).build().unwrap();
    let mut client = slow(&hub, "alice").await;
    let mut last = None;
    for n in 0..500 {
        let receipt = keep(&hub, "alice", &padded(n)).await;
        assert_eq!(receipt.sessions(), 1);
        last = Some(receipt);
        if n % 50 == 0 {
            settle().await;
        }
    }
    assert_eq!(hub.stats().sessions, 1);
    let read: Vec<_> = client.drain().await.iter().map(|text| number(text)).collect();
    assert_eq!(read, (0..500).collect::<Vec<_>>());
    assert_eq!(last.unwrap().outcome().await, Outcome::Confirmed);
    client.leave().await;
}

#[tokio::test(start_paused = true)]
async fn a_backlog_of_kept_messages_does_not_count_against_those_that_are_not() {
    let hub = keeping().max_backlog(10_000).build().unwrap();
    let mut client = slow(&hub, "alice").await;
    // The connection is full of kept messages before the first other comes.
    for n in 0..200 {
        keep(&hub, "alice", &padded(n)).await;
    }
    settle().await;
    assert_eq!(hub.send("alice", "not kept").await.unwrap().sessions(), 1);
    let read = client.drain().await;
    assert_eq!(read.len(), 201);
    assert_eq!(read[200], "not kept");
    client.leave().await;
}

#[tokio::test(start_paused = true)]
async fn a_slow_reader_catches_up_from_a_durable_queue_with_little_in_memory() {
    let queue = Moody::new(durable());
    let hub = builder().queue(Arc::clone(&queue)).max_backlog(20_000).build().unwrap();
    let mut client = slow(&hub, "alice").await;
    for n in 0..500 {
        keep(&hub, "alice", &padded(n)).await;
    }
    settle().await;
    assert!(hub.stats().memory_bytes < 100_000, "{:?}", hub.stats());
    let read: Vec<_> = client.drain().await.iter().map(|text| number(text)).collect();
    assert_eq!(read, (0..500).collect::<Vec<_>>());
    settle().await;
    assert_eq!(queue.kept("alice").await, 0);
    client.leave().await;
    assert_eq!(hub.stats(), Default::default());
}

#[tokio::test(start_paused = true)]
async fn max_rooms_per_session_refuses_one_more() {
    let journal = Journal::default();
    let notes = journal.clone();
    let join = Act(move |session: Session, message: tok_core::Message| {
        notes.note(format!("{:?}", session.join(message.as_text().unwrap())));
        std::future::ready(())
    });
    let hub = builder_of(join).max_rooms_per_session(2).build().unwrap();
    let client = login(&hub, "alice").await;
    for room in ["a", "b", "c", "a"] {
        client.send(room);
    }
    client.leave().await;
    let refused = format!("{:?}", Err::<usize, _>(JoinError::TooMany { limit: 2 }));
    assert_eq!(journal.lines(), ["Ok(1)", "Ok(2)", refused.as_str(), "Ok(2)"]);
}

#[tokio::test(start_paused = true)]
async fn past_max_inbound_the_connection_is_not_read_and_others_are_served() {
    let actor = Holding::new();
    let hub = builder_of(actor.clone()).max_inbound(10_000).build().unwrap();
    let held = login(&hub, "held").await;
    for n in 0..10_000 {
        held.send(&padded(n));
    }
    settle().await;
    // What is read and waits is bounded; the rest is still in the connection.
    let memory = hub.stats().memory_bytes;
    assert!((5_000..30_000).contains(&memory), "{memory} bytes");
    let mut other = login(&hub, "other").await;
    other.send("hello");
    assert_eq!(other.text().await, "hello");
    other.leave().await;
    assert_eq!(actor.journal.count("end hello"), 1);
    // Nothing is lost by it.
    let mut held = held;
    for n in 0..10_000 {
        actor.release(1);
        assert_eq!(number(&held.text().await), n);
    }
    held.leave().await;
    assert_eq!(hub.stats(), Default::default());
}

#[tokio::test(start_paused = true)]
async fn one_message_over_max_inbound_is_read_all_the_same() {
    let hub = builder().max_inbound(10).build().unwrap();
    let mut client = login(&hub, "alice").await;
    for n in 0..20 {
        client.send(&padded(n));
    }
    for n in 0..20 {
        assert_eq!(number(&client.text().await), n);
    }
    client.leave().await;
}

#[tokio::test(start_paused = true)]
async fn past_max_memory_sends_are_overloaded_until_there_is_room() {
    let hub = keeping().max_message(1000).max_memory(20_000).build().unwrap();
    let mut client = slow(&hub, "alice").await;
    let mut taken = 0;
    let error = loop {
        match hub.send("alice", padded(taken)).ttl(LONG).await {
            Ok(_) => taken += 1,
            Err(error) => break error,
        }
        settle().await;
        assert!(taken < 100, "nothing was refused");
    };
    assert!(matches!(error, SendError::Overloaded), "{error:?}");
    // Encoding counts, too, and is not refused.
    assert!(hub.stats().memory_bytes <= 2 * 20_000, "{:?}", hub.stats());
    assert!(matches!(hub.send("alice", padded(0)).await, Err(SendError::Overloaded)));
    assert!(matches!(hub.broadcast(padded(0)).await, Err(SendError::Overloaded)));
    let read: Vec<_> = client.drain().await.iter().map(|text| number(text)).collect();
    assert_eq!(read, (0..taken).collect::<Vec<_>>());
    assert_eq!(hub.send("alice", padded(0)).await.unwrap().sessions(), 1);
    client.reset().await;
    settle().await;
    assert_eq!(hub.stats(), Default::default());
}

#[tokio::test(start_paused = true)]
async fn max_outgoing_refuses_what_is_bigger_everywhere() {
    let journal = Journal::default();
    let notes = journal.clone();
    let sends = Act(move |session: Session, message: tok_core::Message| {
        notes.note(format!("{:?}", session.send(message).is_ok()));
        std::future::ready(())
    });
    let hub = builder_of(sends).max_outgoing(100).build().unwrap();
    let mut client = login(&hub, "alice").await;
    let (fits, big) = ("x".repeat(100), "x".repeat(101));
    let too_big = |result| matches!(result, Err(SendError::TooBig { bytes: 101, limit: 100 }));
    assert!(too_big(hub.send("alice", big.clone()).await.map(drop)));
    assert!(too_big(hub.send("alice", big.clone()).ttl(LONG).await.map(drop)));
    assert!(too_big(hub.broadcast(big.clone()).await.map(drop)));
    client.send(&big);
    client.send(&fits);
    assert_eq!(client.text().await, fits);
    assert_eq!(journal.lines(), ["false", "true"]);
    client.leave().await;
}

#[tokio::test(start_paused = true)]
async fn a_full_queue_refuses_the_newest_and_keeps_what_it_took() {
    let queue = tok_queue::MemoryQueue::builder().max_messages(5).build().unwrap();
    let hub = builder().queue(queue).build().unwrap();
    for n in 0..5 {
        keep(&hub, "alice", &padded(n)).await;
    }
    for n in 5..10 {
        let refused = hub.send("alice", padded(n)).ttl(LONG).await;
        assert!(matches!(refused, Err(SendError::Full)), "{refused:?}");
    }
    // Another user's queue is another.
    keep(&hub, "bob", "one").await;
    let mut client = login(&hub, "alice").await;
    let read: Vec<_> = client.drain().await.iter().map(|text| number(text)).collect();
    assert_eq!(read, (0..5).collect::<Vec<_>>());
    keep(&hub, "alice", "there is room again").await;
    assert_eq!(client.text().await, "there is room again");
}

#[tokio::test(start_paused = true)]
async fn the_limit_of_the_queue_holds_for_who_is_online_and_confirms_nothing() {
    let queue = tok_queue::MemoryQueue::builder().max_messages(5).build().unwrap();
    let hub = builder().queue(queue).build().unwrap();
    let mut client = login(&hub, "alice").await;
    client.peer.answers(false);
    for n in 0..5 {
        keep(&hub, "alice", &padded(n)).await;
    }
    settle().await;
    let refused = hub.send("alice", padded(5)).ttl(LONG).await;
    assert!(matches!(refused, Err(SendError::Full)), "{refused:?}");
    client.reset().await;
    settle().await;
    let mut again = login(&hub, "alice").await;
    let read: Vec<_> = again.drain().await.iter().map(|text| number(text)).collect();
    assert_eq!(read, (0..5).collect::<Vec<_>>());
}

#[tokio::test(start_paused = true)]
async fn the_bytes_of_the_queue_are_bounded_too() {
    let queue = tok_queue::MemoryQueue::builder().max_bytes(3 * (1000 + OVERHEAD as u64)).build().unwrap();
    let hub = builder().queue(queue).build().unwrap();
    for n in 0..3 {
        keep(&hub, "alice", &padded(n)).await;
    }
    let refused = hub.send("alice", padded(3)).ttl(LONG).await;
    assert!(matches!(refused, Err(SendError::Full)), "{refused:?}");
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

#[tokio::test(start_paused = true)]
async fn writable_ends_when_the_session_does() {
    let journal = Journal::default();
    let notes = journal.clone();
    let streams = Act(move |session: Session, _: tok_core::Message| {
        let notes = notes.clone();
        async move {
            while session.is_open() {
                session.writable().await;
                session.send(padded(0)).unwrap();
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

//! How a hub finds out that a peer is gone, and that it leaves those alone who are not.
#![cfg(feature = "tokio")]

mod common;

use common::*;
use tok_core::{
    CloseReason, Device, HubBuilder,
    testkit::{Read, memory_pair},
};

/// Deadlines are rounded up to a tick of this length.
const TICK: std::time::Duration = std::time::Duration::from_millis(50);

async fn spied(builder: HubBuilder, confirms: bool) -> (tok_core::Hub, Client, Journal) {
    let hub = builder.build().unwrap();
    let journal = Journal::default();
    let (transport, peer) = memory_pair(BUFFER, confirms);
    let client = login_over(&hub, Device::new("alice"), Spied::new(transport, &journal), peer).await;
    (hub, client, journal)
}

#[tokio::test(start_paused = true)]
async fn a_silent_peer_is_pinged_after_the_interval_and_closed_after_two() {
    let (_hub, mut client, journal) = spied(builder().ping_interval(secs(10)), true).await;
    client.peer.answers(false);
    pass(secs(10) - TICK).await;
    assert_eq!(journal.lines(), Vec::<String>::new());
    pass(2 * TICK).await;
    assert_eq!(journal.lines(), ["ping"]);
    pass(secs(10) - 3 * TICK).await;
    assert_eq!(journal.lines(), ["ping"]);
    pass(3 * TICK).await;
    assert_eq!(journal.lines(), ["ping", "close idle"]);
    assert_eq!(client.closed().await, CloseReason::Idle);
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_answers_pings_lives() {
    let (hub, mut client, journal) = spied(builder().ping_interval(secs(10)), true).await;
    for _ in 0..10 {
        pass(secs(11)).await;
        assert_eq!(client.peer.try_recv(), None);
    }
    assert_eq!(hub.stats().sessions, 1);
    let pings = journal.count("ping");
    assert!((9..=11).contains(&pings), "{pings} pings in eleven intervals");
    client.leave().await;
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_sends_needs_no_ping() {
    let (_hub, client, journal) =
        spied(builder_of(Noting(Journal::default())).ping_interval(secs(10)), true).await;
    for _ in 0..10 {
        pass(secs(9)).await;
        client.send("still here");
    }
    settle().await;
    assert_eq!(journal.count("ping"), 0);
    client.leave().await;
}

#[tokio::test(start_paused = true)]
async fn zero_turns_pings_off() {
    let (hub, client, journal) = spied(builder().ping_interval(secs(0)), true).await;
    pass(secs(86_400)).await;
    assert_eq!(journal.count("ping"), 0);
    assert_eq!(hub.stats().sessions, 1);
    client.leave().await;
}

#[tokio::test(start_paused = true)]
async fn a_transport_that_cannot_be_pinged_is_left_to_the_read_timeout() {
    let (hub, client, journal) = spied(builder().ping_interval(secs(10)), false).await;
    pass(secs(86_400)).await;
    assert_eq!(journal.lines(), Vec::<String>::new());
    assert_eq!(hub.stats().sessions, 1);
    client.leave().await;
}

#[tokio::test(start_paused = true)]
async fn the_read_timeout_closes_who_sends_nothing_and_not_who_does() {
    let (hub, client, _) = spied(builder().ping_interval(secs(0)).read_timeout(secs(20)), false).await;
    for _ in 0..5 {
        pass(secs(19)).await;
        client.peer.pong();
    }
    settle().await;
    assert_eq!(hub.stats().sessions, 1);
    pass(secs(20) - TICK).await;
    assert_eq!(hub.stats().sessions, 1);
    pass(2 * TICK).await;
    assert_eq!(hub.stats().sessions, 0);
    assert_eq!(client.closed().await, CloseReason::Idle);
}

#[tokio::test(start_paused = true)]
async fn the_write_timeout_closes_who_takes_no_bytes() {
    let hub = builder().ping_interval(secs(0)).write_timeout(secs(60)).build().unwrap();
    let mut client = login_with(&hub, Device::new("alice"), 1).await;
    for _ in 0..3 {
        let _ = hub.send("alice", "x".repeat(100)).await.unwrap();
    }
    pass(secs(60) - TICK).await;
    assert_eq!(hub.stats().sessions, 1);
    pass(2 * TICK).await;
    assert_eq!(hub.stats().sessions, 0);
    let read = client.drain().await;
    assert_eq!(read.last().map(String::as_str), Some("Close(Slow)"));
    client.peer.close();
    assert_eq!(client.session.await.unwrap(), CloseReason::Slow);
}

#[tokio::test(start_paused = true)]
async fn the_write_timeout_spares_who_takes_bytes_slowly() {
    let hub = builder().ping_interval(secs(0)).write_timeout(secs(60)).build().unwrap();
    let mut client = login_with(&hub, Device::new("alice"), 1).await;
    for n in numbers(0..20) {
        let _ = hub.send("alice", n).await.unwrap();
    }
    for n in numbers(0..20) {
        pass(secs(50)).await;
        assert_eq!(client.text().await, n);
    }
    client.leave().await;
}

#[tokio::test(start_paused = true)]
async fn the_write_timeout_does_not_count_time_in_which_nothing_waited() {
    let hub = builder().ping_interval(secs(0)).write_timeout(secs(60)).build().unwrap();
    let client = login_with(&hub, Device::new("alice"), 1).await;
    pass(secs(3600)).await;
    for n in numbers(0..3) {
        let _ = hub.send("alice", n).await.unwrap();
    }
    pass(secs(59)).await;
    assert_eq!(hub.stats().sessions, 1);
    drop(client);
}

/// Sends a part of a message every second, for `seconds` seconds.
async fn upload(client: &Client, bytes: usize, seconds: u64) {
    for _ in 0..seconds {
        pass(secs(1)).await;
        client.peer.send_part(bytes);
    }
    settle().await;
}

#[tokio::test(start_paused = true)]
async fn a_message_that_arrives_slowly_is_a_sign_of_life() {
    for builder in
        [builder().ping_interval(secs(10)), builder().ping_interval(secs(0)).read_timeout(secs(20))]
    {
        let (hub, mut client, _) = spied(builder, true).await;
        // Its stack cannot answer a ping in the midst of a message.
        client.peer.answers(false);
        upload(&client, 2048, 200).await;
        assert_eq!(hub.stats().sessions, 1);
        client.send("whole");
        assert_eq!(client.text().await, "whole");
        // It stops in the midst of the next one, and is found in the same time as one that sent nothing.
        client.peer.send_part(100_000);
        pass(secs(20) - TICK).await;
        assert_eq!(hub.stats().sessions, 1);
        pass(3 * TICK).await;
        assert_eq!(hub.stats().sessions, 0);
    }
}

#[tokio::test(start_paused = true)]
async fn a_message_that_gains_less_than_a_kibibyte_a_second_does_not_keep_its_peer_alive() {
    for builder in
        [builder().ping_interval(secs(10)), builder().ping_interval(secs(0)).read_timeout(secs(20))]
    {
        let (hub, mut client, _) = spied(builder, true).await;
        client.peer.answers(false);
        upload(&client, 100, 19).await;
        assert_eq!(hub.stats().sessions, 1);
        upload(&client, 100, 5).await;
        assert_eq!(hub.stats().sessions, 0);
        assert_eq!(client.drain().await.last().map(String::as_str), Some("Close(Idle)"));
    }
}

#[tokio::test(start_paused = true)]
async fn a_probe_that_is_open_when_a_slow_message_begins_does_not_end_its_peer() {
    let (hub, mut client, journal) = spied(builder().ping_interval(secs(10)), true).await;
    client.peer.answers(false);
    pass(secs(15)).await;
    assert_eq!(journal.lines(), ["ping"]);
    upload(&client, 50_000, 100).await;
    assert_eq!(hub.stats().sessions, 1);
    // One probe is enough: it is answered when the message is over.
    assert_eq!(journal.lines(), ["ping"]);
    pass(secs(20) + 3 * TICK).await;
    assert_eq!(hub.stats().sessions, 0);
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_reads_slowly_is_not_taken_for_silent() {
    for builder in
        [builder().ping_interval(secs(10)), builder().ping_interval(secs(0)).read_timeout(secs(20))]
    {
        let hub = builder.write_timeout(secs(0)).build().unwrap();
        let mut client = login_with(&hub, Device::new("alice"), 1).await;
        // It reads no ping before what was sent earlier.
        client.peer.answers(false);
        for n in numbers(0..40) {
            let _ = hub.send("alice", n).await.unwrap();
        }
        for n in numbers(0..20) {
            pass(secs(9)).await;
            assert_eq!(client.text().await, n);
        }
        settle().await;
        assert_eq!(hub.stats().sessions, 1);
        // It reads no more, and is found in the same time as one that sent nothing.
        pass(secs(20) - 2 * TICK).await;
        assert_eq!(hub.stats().sessions, 1);
        pass(4 * TICK).await;
        assert_eq!(hub.stats().sessions, 0);
    }
}

#[tokio::test(start_paused = true)]
async fn bytes_that_the_system_takes_by_itself_are_no_sign_of_life() {
    let hub = builder().ping_interval(secs(10)).build().unwrap();
    let mut client = login(&hub, "alice").await;
    client.peer.answers(false);
    // There is room for all of these, whether or not somebody reads them.
    for n in numbers(0..20) {
        assert_eq!(hub.stats().sessions, 1, "{n}");
        let _ = hub.send("alice", n).await.unwrap();
        pass(secs(1)).await;
    }
    pass(3 * TICK).await;
    assert_eq!(hub.stats().sessions, 0);
}

#[tokio::test(start_paused = true)]
async fn time_in_which_the_handler_holds_back_reading_is_not_the_peers() {
    let actor = Holding::new();
    let hub = builder_of(actor.clone())
        .max_inbound(10)
        .ping_interval(secs(10))
        .read_timeout(secs(15))
        .build()
        .unwrap();
    let mut client = login(&hub, "held").await;
    for text in ["one", "two", "three"] {
        client.send(text);
    }
    // The second waits for the first, the third is not read, and neither is anything else.
    pass(secs(600)).await;
    assert_eq!(hub.stats().sessions, 1);
    actor.release(3);
    client.expect(["one", "two", "three"]).await;
    // From here on its silence counts again.
    client.peer.answers(false);
    pass(secs(30)).await;
    assert_eq!(hub.stats().sessions, 0);
}

#[tokio::test(start_paused = true)]
async fn a_handler_that_takes_long_does_not_stop_a_peers_pongs_from_counting() {
    let actor = Holding::new();
    let hub = builder_of(actor.clone()).ping_interval(secs(10)).build().unwrap();
    let mut client = login(&hub, "held").await;
    client.send("one");
    for _ in 0..20 {
        pass(secs(9)).await;
        assert_eq!(client.peer.try_recv(), None);
    }
    assert_eq!(hub.stats().sessions, 1);
    actor.release(1);
    client.expect(["one"]).await;
    client.leave().await;
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_vanished_is_found_by_pings() {
    let hub = keeping().ping_interval(secs(10)).build().unwrap();
    let client = login(&hub, "alice").await;
    client.peer.vanish();
    keep(&hub, "alice", "one").await;
    assert_eq!(client.session.await.unwrap(), CloseReason::Idle);
    let mut again = login(&hub, "alice").await;
    assert_eq!(again.text().await, "one");
}

#[tokio::test(start_paused = true)]
async fn the_close_timeout_bounds_the_goodbye() {
    let hub = builder().close_timeout(secs(3)).ping_interval(secs(0)).build().unwrap();
    let client = login_with(&hub, Device::new("alice"), 1).await;
    let _ = hub.send("alice", "unread").await.unwrap();
    settle().await;
    let _ = hub.kick("alice").await.unwrap();
    pass(secs(3) - TICK).await;
    assert!(!client.session.is_finished());
    pass(3 * TICK).await;
    assert!(client.session.is_finished());
    assert_eq!(client.session.await.unwrap(), CloseReason::Kicked);
}

#[tokio::test(start_paused = true)]
async fn a_goodbye_ends_at_once_when_the_peer_closes_too() {
    let hub = builder().close_timeout(secs(3)).build().unwrap();
    let mut client = login(&hub, "alice").await;
    let _ = hub.kick("alice").await.unwrap();
    assert_eq!(client.peer.recv().await, Read::Close(CloseReason::Kicked));
    client.peer.close();
    settle().await;
    assert!(client.session.is_finished());
}

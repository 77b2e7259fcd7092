//! Which logins are accepted and which sessions they end, and that those that lost their place are silent.
#![cfg(feature = "tokio")]

mod common;

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use common::*;
use tok_core::{
    CloseReason, Confirm, Device, Outcome, Sso,
    testkit::{Read, memory_pair},
};

#[tokio::test(start_paused = true)]
async fn per_user_leaves_one_session() {
    let hub = builder().build().unwrap();
    let phone = login_as(&hub, "alice", "phone").await;
    let other = login_as(&hub, "bob", "phone").await;
    let mut desktop = login_as(&hub, "alice", "desktop").await;
    assert_eq!(phone.closed().await, CloseReason::Sso);
    desktop.send("here");
    assert_eq!(desktop.text().await, "here");
    assert_eq!(hub.stats().sessions, 2);
    other.leave().await;
}

#[tokio::test(start_paused = true)]
async fn per_device_ends_the_same_device_alone() {
    let hub = builder().sso(Sso::PerDevice).build().unwrap();
    let phone = login_as(&hub, "alice", "phone").await;
    let desktop = login_as(&hub, "alice", "desktop").await;
    assert_eq!(hub.stats().sessions, 2);
    let again = login_as(&hub, "alice", "phone").await;
    assert_eq!(phone.closed().await, CloseReason::Sso);
    assert_eq!(hub.send("alice", "both").await.unwrap().sessions(), 2);
    for mut client in [desktop, again] {
        assert_eq!(client.text().await, "both");
        client.leave().await;
    }
}

#[tokio::test(start_paused = true)]
async fn off_ends_none() {
    let hub = builder().sso(Sso::Off).build().unwrap();
    let mut clients = Vec::new();
    for _ in 0..5 {
        clients.push(login_as(&hub, "alice", "phone").await);
    }
    assert_eq!(hub.stats().sessions, 5);
    assert_eq!(hub.stats().users_online, 1);
    assert_eq!(hub.send("alice", "all").await.unwrap().sessions(), 5);
    for mut client in clients {
        assert_eq!(client.text().await, "all");
        client.leave().await;
    }
}

#[tokio::test(start_paused = true)]
async fn by_class_ends_the_same_class_alone() {
    let hub = builder()
        .sso(Sso::by_class(|device| device.id().split('-').next().unwrap_or_default().to_owned()))
        .build()
        .unwrap();
    let first = login_as(&hub, "alice", "phone-1").await;
    let desktop = login_as(&hub, "alice", "desktop-1").await;
    let second = login_as(&hub, "alice", "phone-2").await;
    assert_eq!(first.closed().await, CloseReason::Sso);
    assert_eq!(hub.stats().sessions, 2);
    desktop.leave().await;
    second.leave().await;
}

#[tokio::test(start_paused = true)]
async fn messages_of_the_old_session_that_were_read_and_wait_are_not_handled() {
    let actor = Holding::new();
    let hub = builder_of(actor.clone()).build().unwrap();
    let mut old = login(&hub, "held").await;
    for text in ["one", "two", "three"] {
        old.send(text);
    }
    settle().await;
    let _new = login(&hub, "held").await;
    old.send("four");
    actor.release(10);
    // The handler that was running ends normally; what it answers goes nowhere, and it is the last.
    assert_eq!(old.peer.recv().await, Read::Close(CloseReason::Sso));
    old.peer.close();
    assert_eq!(old.session.await.unwrap(), CloseReason::Sso);
    assert_eq!(actor.journal.lines(), ["begin one", "end one"]);
}

#[tokio::test(start_paused = true)]
async fn the_goodbye_does_not_wait_for_the_running_handler_and_the_end_does() {
    let actor = Holding::new();
    let hub = builder_of(actor.clone()).build().unwrap();
    let mut old = login(&hub, "held").await;
    old.send("one");
    settle().await;
    let _new = login(&hub, "held").await;
    assert_eq!(old.peer.recv().await, Read::Close(CloseReason::Sso));
    old.peer.close();
    pass(secs(60)).await;
    assert!(!old.session.is_finished());
    actor.release(1);
    assert_eq!(old.session.await.unwrap(), CloseReason::Sso);
    assert_eq!(actor.journal.lines(), ["begin one", "end one"]);
}

#[tokio::test(start_paused = true)]
async fn the_old_session_gets_only_its_goodbye() {
    let hub = keeping().bye(|_, reason| Some(format!("bye {reason}").into())).build().unwrap();
    let mut old = login_with(&hub, Device::new("alice"), 1).await;
    // The first fills the connection; the others wait in the session, and must not follow.
    for n in 0..500 {
        let text = format!("{n:04}{}", "x".repeat(1000));
        if n % 2 == 0 {
            keep(&hub, "alice", &text).await;
        } else {
            let _ = hub.send("alice", text).await.unwrap();
        }
    }
    settle().await;
    let mut new = login(&hub, "alice").await;
    keep(&hub, "alice", "for the new one").await;
    let read = old.drain().await;
    assert_eq!(read[read.len() - 2..], ["bye sso", "Close(Sso)"]);
    // What the transport had taken before may come; it is bounded.
    assert!(read.len() - 2 <= 70, "{} messages", read.len());
    assert!(!read.contains(&"for the new one".to_owned()));
    let mut kept = new.drain().await;
    assert_eq!(kept.pop().as_deref(), Some("for the new one"));
    let numbers: Vec<_> = kept.iter().map(|text| text[..4].parse::<usize>().unwrap()).collect();
    assert_eq!(numbers, (0..500).step_by(2).collect::<Vec<_>>());
}

#[tokio::test(start_paused = true)]
async fn a_late_answer_of_the_old_session_confirms_nothing() {
    let hub = keeping().build().unwrap();
    let mut old = login(&hub, "alice").await;
    old.peer.answers(false);
    let receipt = keep(&hub, "alice", "one").await;
    assert_eq!(old.text().await, "one");
    let mut new = login(&hub, "alice").await;
    new.peer.answers(false);
    old.peer.answer(1);
    settle().await;
    assert_eq!(now_or_never(receipt.outcome()), None);
    assert_eq!(new.text().await, "one");
    new.reset().await;
    // It is still kept.
    let mut newest = login(&hub, "alice").await;
    assert_eq!(newest.text().await, "one");
    newest.drain().await;
    assert_eq!(receipt.outcome().await, Outcome::Confirmed);
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_is_read_while_the_place_is_lost_confirms_nothing() {
    let hub = keeping().build().unwrap();
    let (transport, mut old) = memory_pair(BUFFER, true);
    let (new_transport, mut new) = memory_pair(BUFFER, true);
    let takeover = Box::pin(hub.serve(Device::new("alice"), new_transport));
    let armed = Arc::new(AtomicBool::new(false));
    let ambushed = Spied::new(transport, &Journal::default()).ambushed(takeover, &armed);
    let session = tokio::spawn(hub.serve(Device::new("alice"), ambushed));
    settle().await;
    for peer in [&mut old, &mut new] {
        peer.answers(false);
    }
    let receipt = keep(&hub, "alice", "one").await;
    assert_eq!(text(old.recv().await), "one");
    settle().await;
    // The takeover comes between the session's last look at its mailbox and this answer.
    armed.store(true, Ordering::Relaxed);
    old.answer(1);
    settle().await;
    assert!(!armed.load(Ordering::Relaxed));
    assert_eq!(now_or_never(receipt.outcome()), None);
    assert_eq!(text(new.recv().await), "one");
    old.close();
    assert_eq!(session.await.unwrap(), CloseReason::Sso);
}

#[tokio::test(start_paused = true)]
async fn a_late_ack_of_the_old_session_confirms_nothing() {
    let journal = Journal::default();
    let notes = journal.clone();
    let hub = keeping()
        .confirm(Confirm::Acknowledged)
        .close(move |session, _| notes.note(session.ack(1.into_id()).to_string()))
        .build()
        .unwrap();
    let mut old = login(&hub, "alice").await;
    let receipt = hub.send("alice", "one").ttl(LONG).id(1.into_id()).await.unwrap();
    assert_eq!(old.text().await, "one");
    let mut new = login(&hub, "alice").await;
    assert_eq!(old.closed().await, CloseReason::Sso);
    assert_eq!(journal.lines(), ["false"]);
    assert_eq!(new.text().await, "one");
    assert_eq!(now_or_never(receipt.outcome()), None);
}

trait IntoId {
    fn into_id(self) -> tok_core::MessageId;
}

impl IntoId for u128 {
    fn into_id(self) -> tok_core::MessageId {
        tok_core::MessageId::from_u128(self)
    }
}

#[tokio::test(start_paused = true)]
async fn the_same_connection_replaces_its_older_session_without_a_goodbye() {
    // Also where the policy ends nobody.
    for sso in [Sso::Off, Sso::PerUser] {
        let hub = builder().sso(sso).bye(|_, _| Some("bye".into())).build().unwrap();
        let (transport, peer) = memory_pair(BUFFER, true);
        let mut old = login_over(&hub, Device::new("alice"), Spied::on(transport, 9), peer).await;
        let (transport, peer) = memory_pair(BUFFER, true);
        let mut new = login_over(&hub, Device::new("alice"), Spied::on(transport, 9), peer).await;
        assert_eq!(old.peer.recv().await, Read::End);
        assert_eq!(old.session.await.unwrap(), CloseReason::Replaced);
        new.send("still here");
        assert_eq!(new.text().await, "still here");
        assert_eq!(hub.stats().sessions, 1);
    }
}

#[tokio::test(start_paused = true)]
async fn another_connection_does_not_replace() {
    let hub = builder().sso(Sso::Off).build().unwrap();
    let mut clients = Vec::new();
    for connection in [1, 2] {
        let (transport, peer) = memory_pair(BUFFER, true);
        clients.push(login_over(&hub, Device::new("alice"), Spied::on(transport, connection), peer).await);
    }
    assert_eq!(hub.stats().sessions, 2);
    for client in clients {
        client.leave().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn simultaneous_logins_leave_exactly_one() {
    let hub = builder().build().unwrap();
    let mut clients = Vec::new();
    for _ in 0..200 {
        let (transport, peer) = memory_pair(BUFFER, true);
        let session = tokio::spawn(hub.serve(Device::new("alice"), transport));
        clients.push(tokio::spawn(async move {
            let mut client = Client { peer, session };
            client.send("mine");
            // Some are answered before they lose their place.
            match client.peer.recv().await {
                Read::Message(_) => client.peer.recv().await,
                other => other,
            }
        }));
    }
    let mut closed = 0;
    while closed < 199 {
        closed = 0;
        for client in &clients {
            closed += usize::from(client.is_finished());
        }
        tokio::task::yield_now().await;
    }
    assert_eq!(hub.stats().sessions, 1);
    assert_eq!(hub.send("alice", "to the one").await.unwrap().sessions(), 1);
    let mut got = Vec::new();
    for client in clients {
        got.push(client.await.unwrap());
    }
    let messages = got.iter().filter(|read| matches!(read, Read::Message(_))).count();
    let sso = got.iter().filter(|read| **read == Read::Close(CloseReason::Sso)).count();
    assert_eq!((messages, sso), (1, 199));
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_broke_before_its_login_ends_nobody() {
    let hub = builder().build().unwrap();
    let live = login(&hub, "alice").await;
    let (transport, peer) = memory_pair(BUFFER, true);
    peer.reset();
    assert_eq!(hub.serve(Device::new("alice"), transport).await, CloseReason::Disconnected);
    assert_eq!(hub.stats().sessions, 1);
    live.leave().await;
}

#[tokio::test(start_paused = true)]
async fn a_connection_whose_peer_left_before_its_login_and_sent_nothing_ends_nobody() {
    let journal = Journal::default();
    let hub = {
        let (opened, closed) = (journal.clone(), journal.clone());
        builder().open(move |_| opened.note("open")).close(move |_, _| closed.note("close"))
    };
    let hub = hub.build().unwrap();
    let live = login(&hub, "alice").await;
    let (transport, peer) = memory_pair(BUFFER, true);
    peer.pong();
    peer.close();
    assert_eq!(hub.serve(Device::new("alice"), transport).await, CloseReason::PeerClosed);
    assert_eq!(hub.stats().sessions, 1);
    assert_eq!(journal.lines(), ["open"]);
    live.leave().await;
}

#[tokio::test(start_paused = true)]
async fn what_a_peer_sent_is_handled_and_answered_although_it_left_before_its_login() {
    let hub = builder().build().unwrap();
    let (transport, mut peer) = memory_pair(BUFFER, true);
    peer.send("question");
    peer.close();
    assert_eq!(hub.serve(Device::new("alice"), transport).await, CloseReason::PeerClosed);
    assert_eq!(text(peer.recv().await), "question");
    assert_eq!(peer.recv().await, Read::End);
}

#[tokio::test(start_paused = true)]
async fn max_sessions_refuses_further_logins_save_takeovers() {
    let hub = builder().max_sessions(2).build().unwrap();
    let alice = login(&hub, "alice").await;
    let bob = login(&hub, "bob").await;
    assert_eq!(hub.admit(&Device::new("carol")).unwrap_err().status(), 503);
    assert_eq!(login(&hub, "carol").await.closed().await, CloseReason::Full);
    hub.admit(&Device::new("alice")).unwrap();
    let again = login(&hub, "alice").await;
    assert_eq!(alice.closed().await, CloseReason::Sso);
    assert_eq!(hub.stats().sessions, 2);
    bob.leave().await;
    login(&hub, "carol").await.leave().await;
    again.leave().await;
    assert_eq!(hub.stats(), Default::default());
}

#[tokio::test(start_paused = true)]
async fn max_sessions_per_user_refuses_further_logins_save_takeovers() {
    let hub = builder().sso(Sso::PerDevice).max_sessions_per_user(2).build().unwrap();
    let phone = login_as(&hub, "alice", "phone").await;
    let desktop = login_as(&hub, "alice", "desktop").await;
    let tablet = Device::new("alice").with_id("tablet");
    assert_eq!(hub.admit(&tablet).unwrap_err().status(), 503);
    assert_eq!(login_as(&hub, "alice", "tablet").await.closed().await, CloseReason::Full);
    let again = login_as(&hub, "alice", "phone").await;
    assert_eq!(phone.closed().await, CloseReason::Sso);
    // Others have their own.
    let bob = login_as(&hub, "bob", "phone").await;
    assert_eq!(hub.stats().sessions, 3);
    for client in [desktop, again, bob] {
        client.leave().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_device_id_over_255_bytes_is_rejected() {
    let hub = builder().build().unwrap();
    let longest = "d".repeat(Device::MAX_ID_BYTES);
    let fits = login_as(&hub, "alice", &longest).await;
    let device = Device::new("bob").with_id(format!("{longest}d"));
    assert_eq!(hub.admit(&device).unwrap_err().status(), 400);
    let (transport, _peer) = memory_pair(BUFFER, true);
    assert_eq!(hub.serve(device, transport).await, CloseReason::Unauthorized);
    fits.leave().await;
    assert_eq!(hub.stats(), Default::default());
}

#[tokio::test(start_paused = true)]
async fn a_refused_login_leaves_nothing_behind() {
    let hub = builder().max_sessions(1).build().unwrap();
    let first = login(&hub, "alice").await;
    let (transport, mut peer) = memory_pair(BUFFER, true);
    peer.send("not handled");
    let session = tokio::spawn(hub.serve(Device::new("bob"), transport));
    assert_eq!(peer.recv().await, Read::Close(CloseReason::Full));
    peer.close();
    assert_eq!(session.await.unwrap(), CloseReason::Full);
    assert!(!hub.is_online("bob").await.unwrap());
    first.leave().await;
    assert_eq!(hub.stats(), Default::default());
}

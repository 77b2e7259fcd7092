//! Rooms and broadcasts: who is sent what, and in which order.
#![cfg(feature = "tokio")]

mod common;

use common::*;
use tok_core::{CloseReason, Device, Hub, HubBuilder, JoinError, Message, SendError, Session, Sso};

/// Clients say `+ROOM`, `-ROOM` and `ROOM TEXT`; the first two are answered with the session's number of rooms.
fn rooms() -> HubBuilder {
    builder_of(Act(|session: Session, message: Message| async move {
        let text = message.as_text().unwrap();
        let answer = match (text.split_at(1), text.split_once(' ')) {
            (("+", room), _) => format!("{:?}", session.join(room)),
            (("-", room), _) => session.leave(room).to_string(),
            (_, Some((room, text))) => {
                session.hub().publish(room, text).await.unwrap();
                return;
            }
            _ => "?".to_owned(),
        };
        session.send(answer).unwrap();
    }))
}

async fn asks(client: &mut Client, what: &str) -> String {
    client.send(what);
    client.text().await
}

async fn member(hub: &Hub, uid: &str, room: &str) -> Client {
    let mut client = login(hub, uid).await;
    assert_eq!(asks(&mut client, &format!("+{room}")).await, "Ok(1)");
    client
}

#[tokio::test(start_paused = true)]
async fn joining_and_leaving_answer_with_the_number_of_rooms() {
    let hub = rooms().build().unwrap();
    let mut client = login(&hub, "alice").await;
    for (what, answer) in [
        ("+a", "Ok(1)"),
        ("+b", "Ok(2)"),
        ("+a", "Ok(2)"),
        ("-c", "2"),
        ("-a", "1"),
        ("-a", "1"),
        ("+a", "Ok(2)"),
        ("-b", "1"),
        ("-a", "0"),
    ] {
        assert_eq!(asks(&mut client, what).await, answer, "{what}");
    }
    client.leave().await;
}

#[tokio::test(start_paused = true)]
async fn a_room_is_published_to_its_members_alone() {
    let hub = rooms().build().unwrap();
    let mut alice = member(&hub, "alice", "tea").await;
    let mut bob = member(&hub, "bob", "tea").await;
    let mut carol = member(&hub, "carol", "coffee").await;
    assert_eq!(hub.publish("tea", "from outside").await.unwrap(), 2);
    carol.send("tea from carol");
    settle().await;
    alice.send("tea from alice");
    for client in [&mut alice, &mut bob] {
        client.expect(["from outside", "from carol", "from alice"]).await;
    }
    assert_eq!(carol.drain().await, Vec::<String>::new());
    assert_eq!(asks(&mut bob, "-tea").await, "0");
    assert_eq!(hub.publish("tea", "after").await.unwrap(), 1);
    assert_eq!(alice.text().await, "after");
    assert_eq!(bob.drain().await, Vec::<String>::new());
}

#[tokio::test(start_paused = true)]
async fn each_session_of_a_user_is_a_member_of_its_own() {
    let hub = rooms().sso(Sso::Off).build().unwrap();
    let mut phone = member(&hub, "alice", "tea").await;
    let mut desktop = login(&hub, "alice").await;
    assert_eq!(hub.publish("tea", "one").await.unwrap(), 1);
    assert_eq!(phone.text().await, "one");
    assert_eq!(desktop.drain().await, Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn all_members_see_a_room_in_the_same_order() {
    let hub = rooms().build().unwrap();
    let mut members = Vec::new();
    for n in 0..5 {
        members.push(member(&hub, &n.to_string(), "tea").await);
    }
    let mut senders = Vec::new();
    for sender in 0..4 {
        let hub = hub.clone();
        senders.push(tokio::spawn(async move {
            for n in 0..200 {
                assert_eq!(hub.publish("tea", format!("{sender} {n}")).await.unwrap(), 5);
                tokio::task::yield_now().await;
            }
        }));
    }
    let mut seen = Vec::new();
    for client in &mut members {
        let mut texts = Vec::new();
        for _ in 0..800 {
            texts.push(client.text().await);
        }
        seen.push(texts);
    }
    for texts in &seen[1..] {
        assert_eq!(texts, &seen[0]);
    }
    for (sender, task) in senders.into_iter().enumerate() {
        task.await.unwrap();
        let prefix = format!("{sender} ");
        let own: Vec<_> = seen[0].iter().filter_map(|text| text.strip_prefix(&prefix)).collect();
        assert_eq!(own, numbers(0..200));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn all_sessions_see_broadcasts_in_the_same_order() {
    let hub = builder().build().unwrap();
    let mut clients = Vec::new();
    for n in 0..100 {
        let mut client = login(&hub, &n.to_string()).await;
        assert_eq!(asks(&mut client, "there?").await, "there?");
        clients.push(client);
    }
    let senders = (0..4).map(|sender| {
        let hub = hub.clone();
        tokio::spawn(async move {
            for n in 0..50 {
                assert_eq!(hub.broadcast(format!("{sender} {n}")).await.unwrap(), 100);
            }
        })
    });
    for sender in senders.collect::<Vec<_>>() {
        sender.await.unwrap();
    }
    let mut seen = Vec::new();
    for client in &mut clients {
        let mut texts = Vec::new();
        for _ in 0..200 {
            texts.push(client.text().await);
        }
        seen.push(texts);
    }
    assert!(seen.iter().all(|texts| *texts == seen[0]));
    for sender in 0..4 {
        let prefix = format!("{sender} ");
        let own: Vec<_> = seen[0].iter().filter_map(|text| text.strip_prefix(&prefix)).collect();
        assert_eq!(own, numbers(0..50));
    }
}

#[tokio::test(start_paused = true)]
async fn a_broadcast_reaches_every_session() {
    let hub = rooms().sso(Sso::Off).build().unwrap();
    let mut clients = [login(&hub, "alice").await, login(&hub, "alice").await, login(&hub, "bob").await];
    assert_eq!(hub.broadcast("all").await.unwrap(), 3);
    for client in &mut clients {
        client.expect(["all"]).await;
    }
    for client in clients {
        client.leave().await;
    }
    assert_eq!(hub.broadcast("nobody").await.unwrap(), 0);
    assert_eq!(hub.stats(), Default::default());
}

#[tokio::test(start_paused = true)]
async fn a_room_is_gone_when_its_last_member_is() {
    let hub = rooms().build().unwrap();
    assert_eq!(hub.publish("tea", "nobody").await.unwrap(), 0);
    let alice = member(&hub, "alice", "tea").await;
    let bob = member(&hub, "bob", "tea").await;
    assert_eq!(hub.publish("tea", "two").await.unwrap(), 2);
    alice.leave().await;
    assert_eq!(hub.publish("tea", "one").await.unwrap(), 1);
    bob.reset().await;
    assert_eq!(hub.publish("tea", "none").await.unwrap(), 0);
    assert_eq!(hub.stats(), Default::default());
}

#[tokio::test(start_paused = true)]
async fn who_was_kicked_or_taken_over_is_sent_nothing_of_the_room() {
    let hub = rooms().build().unwrap();
    let mut alice = member(&hub, "alice", "tea").await;
    let mut bob = member(&hub, "bob", "tea").await;
    let _ = hub.kick("alice").await.unwrap();
    let _new = login(&hub, "bob").await;
    assert_eq!(hub.publish("tea", "nobody").await.unwrap(), 0);
    assert_eq!(alice.drain().await, ["Close(Kicked)"]);
    assert_eq!(bob.drain().await, ["Close(Sso)"]);
}

#[tokio::test(start_paused = true)]
async fn names_have_1_to_255_bytes() {
    let hub = rooms().build().unwrap();
    let mut client = login(&hub, "alice").await;
    for (len, answer) in
        [(0, JoinError::InvalidName { bytes: 0 }), (256, JoinError::InvalidName { bytes: 256 })]
    {
        let error = format!("{:?}", Err::<usize, _>(answer));
        assert_eq!(asks(&mut client, &format!("+{}", "x".repeat(len))).await, error);
    }
    assert_eq!(asks(&mut client, &format!("+{}", "x".repeat(255))).await, "Ok(1)");
    // Whatever they are made of.
    assert_eq!(asks(&mut client, "+a b\0|\u{1f375}").await, "Ok(2)");
    client.leave().await;
}

#[tokio::test(start_paused = true)]
async fn a_session_that_has_ended_joins_nothing() {
    let journal = Journal::default();
    let notes = journal.clone();
    let hub =
        builder().close(move |session, _| notes.note(format!("{:?}", session.join("tea")))).build().unwrap();
    login(&hub, "alice").await.leave().await;
    let kicked = login(&hub, "alice").await;
    let _ = hub.kick("alice").await.unwrap();
    assert_eq!(kicked.closed().await, CloseReason::Kicked);
    let ended = format!("{:?}", Err::<usize, _>(JoinError::Ended));
    assert_eq!(journal.lines(), [ended.clone(), ended]);
    assert_eq!(hub.publish("tea", "nobody").await.unwrap(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_member_who_does_not_read_holds_up_nobody() {
    let hub = rooms().max_backlog(10_000).build().unwrap();
    let mut reader = member(&hub, "reader", "tea").await;
    let mut stuck = login_with(&hub, Device::new("stuck"), 1).await;
    assert_eq!(asks(&mut stuck, "+tea").await, "Ok(1)");
    for n in 0..100 {
        let _ = hub.publish("tea", format!("{n:04}{}", "x".repeat(996))).await.unwrap();
        assert_eq!(reader.text().await[..4], format!("{n:04}"));
    }
    assert_eq!(stuck.drain().await.last().map(String::as_str), Some("Close(Slow)"));
    reader.leave().await;
}

#[tokio::test(start_paused = true)]
async fn nothing_is_published_while_the_hub_shuts_down() {
    let hub = rooms().build().unwrap();
    hub.shutdown(secs(1)).await;
    assert!(matches!(hub.broadcast("late").await, Err(SendError::Draining)));
    assert!(matches!(hub.publish("tea", "late").await, Ok(0) | Err(SendError::Draining)));
}

//! Ending a user's sessions from the server's side.
#![cfg(feature = "tokio")]

mod common;

use common::*;
use tok_core::{AppCode, CloseReason, Session, Sso};

#[tokio::test(start_paused = true)]
async fn all_sessions_of_the_user_end_and_nobody_elses() {
    let hub = builder().sso(Sso::Off).build().unwrap();
    let alice = [login(&hub, "alice").await, login(&hub, "alice").await];
    let bob = login(&hub, "bob").await;
    assert_eq!(hub.kick("alice").await.unwrap(), 2);
    for client in alice {
        assert_eq!(client.closed().await, CloseReason::Kicked);
    }
    bob.leave().await;
    assert_eq!(hub.stats(), Default::default());
}

#[tokio::test(start_paused = true)]
async fn from_then_on_they_do_not_count() {
    let hub = builder().build().unwrap();
    let client = login(&hub, "alice").await;
    assert!(hub.is_online("alice").await.unwrap());
    assert_eq!(hub.kick("alice").await.unwrap(), 1);
    // The goodbye is still on its way.
    assert!(!client.session.is_finished());
    assert!(!hub.is_online("alice").await.unwrap());
    assert_eq!(hub.users_online().await.unwrap(), 0);
    assert_eq!(hub.online().await.unwrap(), []);
    assert_eq!(hub.stats().sessions, 0);
    assert!(hub.send("alice", "late").await.unwrap().is_offline());
    assert_eq!(hub.kick("alice").await.unwrap(), 0);
    assert_eq!(client.closed().await, CloseReason::Kicked);
}

#[tokio::test(start_paused = true)]
async fn nobody_to_kick_is_none_kicked() {
    let hub = builder().build().unwrap();
    assert_eq!(hub.kick("nobody").await.unwrap(), 0);
    assert_eq!(hub.kick("").await.unwrap(), 0);
    assert_eq!(hub.stats(), Default::default());
}

#[tokio::test(start_paused = true)]
async fn the_reason_is_what_the_peer_is_told() {
    let reason = CloseReason::Application(AppCode::new(4242).unwrap());
    let hub = builder().build().unwrap();
    let client = login(&hub, "alice").await;
    assert_eq!(hub.kick("alice").reason(reason).await.unwrap(), 1);
    assert_eq!(client.closed().await, reason);
}

#[tokio::test(start_paused = true)]
async fn a_device_narrows_it() {
    let hub = builder().sso(Sso::PerDevice).build().unwrap();
    let phone = login_as(&hub, "alice", "phone").await;
    let desktop = login_as(&hub, "alice", "desktop").await;
    assert_eq!(hub.kick("alice").device("laptop").await.unwrap(), 0);
    assert_eq!(hub.kick("alice").device("phone").await.unwrap(), 1);
    assert_eq!(phone.closed().await, CloseReason::Kicked);
    assert_eq!(hub.stats().sessions, 1);
    desktop.leave().await;
}

#[tokio::test(start_paused = true)]
async fn what_waits_unhandled_is_not_handled() {
    let actor = Holding::new();
    let hub = builder_of(actor.clone()).build().unwrap();
    let client = login(&hub, "held").await;
    client.send("one");
    client.send("two");
    settle().await;
    assert_eq!(hub.kick("held").await.unwrap(), 1);
    actor.release(2);
    assert_eq!(client.closed().await, CloseReason::Kicked);
    assert_eq!(actor.journal.lines(), ["begin one", "end one"]);
}

#[tokio::test(start_paused = true)]
async fn a_late_kick_of_an_old_session_leaves_the_new_one_alone() {
    let journal = Journal::default();
    let notes = journal.clone();
    // The old session's own end tries to close it once more.
    let hub = builder()
        .close(move |session: &Session, reason| {
            session.close(CloseReason::Kicked);
            notes.note(reason.name());
        })
        .build()
        .unwrap();
    let old = login(&hub, "alice").await;
    let mut new = login(&hub, "alice").await;
    assert_eq!(old.closed().await, CloseReason::Sso);
    assert_eq!(journal.lines(), ["sso"]);
    new.send("here");
    assert_eq!(new.text().await, "here");
}

#[tokio::test(start_paused = true)]
async fn kept_messages_stay_for_the_next_login() {
    let hub = keeping().build().unwrap();
    let mut client = login(&hub, "alice").await;
    client.peer.answers(false);
    keep(&hub, "alice", "one").await;
    client.expect(["one"]).await;
    assert_eq!(hub.kick("alice").await.unwrap(), 1);
    keep(&hub, "alice", "two").await;
    assert_eq!(client.closed().await, CloseReason::Kicked);
    let mut again = login(&hub, "alice").await;
    assert_eq!(again.drain().await, ["one", "two"]);
}

#[tokio::test(start_paused = true)]
async fn a_session_closes_itself_from_its_handler() {
    let reason = CloseReason::Application(AppCode::new(4100).unwrap());
    let hub = builder_of(Act(move |session: Session, message: tok_core::Message| {
        let _ = session.send(message);
        session.close(reason);
        assert!(!session.is_open());
        std::future::ready(())
    }))
    .build()
    .unwrap();
    let client = login(&hub, "alice").await;
    client.send("one");
    client.send("two");
    // What waited is dropped with it, the goodbye is not.
    assert_eq!(client.closed().await, reason);
}

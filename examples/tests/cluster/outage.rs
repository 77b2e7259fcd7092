//! Nodes that die, fall silent, or leave.

use brokers::Kind;
use tokio::join;

use crate::{
    flow::{OTHERS, Seen, Sent},
    nodes::{Nodes, until},
    support::{RawWs, Tcp, frame, within},
};

async fn nothing_accepted_is_lost_when_a_node_is_killed<K: Kind>() {
    let mut nodes = Nodes::<K>::start("").await;
    let mut alice = nodes.tcp(0, "alice").await;
    let mut bob = nodes.tcp(1, "uid=bob&confirm=1").await;
    let _carol = nodes.tcp(1, "carol").await;
    assert_eq!(alice.ask("Ocarol").await, "+online carol 1");
    let (mut sent, mut seen) = (Sent::default(), Seen::default());
    let receiving = seen.read(&mut bob, |_| false);
    let killing = async {
        sent.send_accepted(&mut alice, 100).await;
        nodes.node(1).signal("KILL").await;
        sent.send_accepted(&mut alice, 50).await;
    };
    join!(receiving, killing);
    assert_eq!(nodes.ended(1).await, None);

    // At once, whatever the others know of it by now.
    let mut bob = seen.read_all(nodes.node(2).tcp(), &sent).await;
    alice.send(format!("Tbob|welcome|{OTHERS}")).await;
    seen.read(&mut bob, |seen| seen.all.contains(&OTHERS)).await;
    // When its lease is over, at the latest.
    until(&mut alice, "Ocarol", "+online carol 0").await;
    assert_eq!(alice.ask("Tcarol|hi").await, "!offline carol");
    until(&mut alice, "N", "+users 2").await;
}

async fn a_silent_node_holds_up_no_sender_and_its_users_move<K: Kind>() {
    let nodes = Nodes::<K>::start("").await;
    let mut alice = nodes.tcp(0, "alice").await;
    let mut old = nodes.tcp(1, "uid=bob&confirm=1").await;
    let (mut sent, mut seen) = (Sent::default(), Seen::default());
    sent.send_accepted(&mut alice, 10).await;
    seen.read(&mut old, |seen| seen.has_all_of(&sent)).await;

    nodes.node(1).signal("STOP").await;
    // Kept: stored, whether the node hears of it or not. Not kept: nobody can know.
    sent.send_accepted(&mut alice, 20).await;
    for _ in 0..20 {
        alice.send_all(["Tbob|hello?", "Lnone"]).await;
        let mut answer = alice.recv().await;
        if answer != "+left none 0" {
            assert!(answer.starts_with("!error ") || answer == "!offline bob", "{answer}");
            answer = alice.recv().await;
        }
        assert_eq!(answer, "+left none 0");
    }
    let _new = seen.read_all(nodes.node(2).tcp(), &sent).await;

    nodes.node(1).signal("CONT").await;
    let ends = async { while old.next().await.is_some() {} };
    within("the end of the session that lost its place", ends).await;
    assert_eq!(alice.ask("Obob").await, "+online bob 1");
}

async fn users_of_a_node_that_drains_move_and_their_messages_follow<K: Kind>() {
    const USERS: usize = 10;

    let mut nodes = Nodes::<K>::start("").await;
    let mut alice = nodes.tcp(0, "alice").await;
    let mut users = Vec::new();
    for number in 0..USERS {
        users.push(nodes.ws(1, &format!("uid=user-{number}")).await);
    }
    // It takes messages and confirms none.
    let mut bob = RawWs::login(nodes.node(1).ws(), "uid=bob").await;
    bob.send(&frame(0x81, b"N")).await;
    bob.next().await;
    let (mut sent, mut seen) = (Sent::default(), Seen::default());
    sent.send_accepted(&mut alice, 20).await;
    nodes.node(1).signal("TERM").await;
    let moving = async {
        for (number, mut user) in users.into_iter().enumerate() {
            assert_eq!(user.rest().await, (vec!["!bye drain".to_owned()], Some(1001)));
            drop(user);
            let mut user = nodes.ws(2, &format!("uid=user-{number}")).await;
            assert_eq!(user.ask("E").await, "E");
        }
        let (_, code) = bob.until_close().await;
        assert_eq!(code, 1001);
    };
    join!(moving, sent.send_accepted(&mut alice, 50));
    drop(bob);
    assert_eq!(sent.refused, 0, "a send failed");
    let _bob = seen.read_all(nodes.node(2).tcp(), &sent).await;
    assert_eq!(nodes.ended(1).await, Some(0));
    // It has left, and nothing waits for its lease.
    until(&mut alice, "N", "+users 2").await;
    for node in [0, 2] {
        assert_eq!(nodes.health(node).await, 200);
    }
    let mut back = Tcp::login(nodes.node(0).tcp(), "user-1").await;
    assert_eq!(back.ask("E").await, "E");
}

crate::on_each_broker!(
    nothing_accepted_is_lost_when_a_node_is_killed
    a_silent_node_holds_up_no_sender_and_its_users_move
    users_of_a_node_that_drains_move_and_their_messages_follow
);

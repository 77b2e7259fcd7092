//! Every operation, from any node to any node.

use brokers::Kind;
use tokio_tungstenite::tungstenite::Message;

use crate::{
    nodes::{Nodes, until},
    support::Ws,
};

async fn operations_reach_users_on_other_nodes<K: Kind>() {
    let nodes = Nodes::<K>::start("").await;
    let mut alice = nodes.tcp(0, "uid=alice&confirm=1").await;
    let mut bob = nodes.ws(1, "uid=bob").await;
    let mut carol = nodes.tcp(2, "uid=carol&confirm=1").await;
    for client in [&mut alice, &mut carol] {
        until(client, "N", "+users 3").await;
        for user in ["alice", "bob", "carol"] {
            assert_eq!(client.ask(format!("O{user}")).await, format!("+online {user} 1"));
        }
        assert_eq!(client.ask("Odave").await, "+online dave 0");
    }
    assert_eq!(bob.ask("N").await, "+users 3");

    // To one user.
    alice.send("Tbob|hi").await;
    assert_eq!(bob.recv().await, "Tbob|hi");
    bob.send("Q60|carol|hi").await;
    assert_eq!(carol.recv().await, "Q60|carol|hi");
    assert_eq!(carol.ask("Tdave|hi").await, "!offline dave");
    carol.send("Q60|dave|later").await;
    assert_eq!(carol.ask("E").await, "E", "no send failed");
    let mut dave = Ws::login(nodes.node(0).ws(), "uid=dave").await;
    assert_eq!(dave.recv().await, "Q60|dave|later");

    // To all.
    carol.send("B all").await;
    for client in [&mut alice, &mut carol] {
        assert_eq!(client.recv().await, "B all");
    }
    for client in [&mut bob, &mut dave] {
        assert_eq!(client.recv().await, "B all");
    }

    // To a room.
    assert_eq!(alice.ask("Jtea").await, "+joined tea 1");
    assert_eq!(bob.ask("Jtea").await, "+joined tea 1");
    carol.send("Rtea|from outside").await;
    assert_eq!(alice.recv().await, "Rtea|from outside");
    assert_eq!(bob.recv().await, "Rtea|from outside");
    assert_eq!(bob.ask("Ltea").await, "+left tea 0");
    assert_eq!(carol.ask("E").await, "E", "who is not in the room hears nothing of it");

    // Ends sessions.
    assert_eq!(alice.ask("Kbob").await, "+kicked bob 1");
    assert_eq!(bob.rest().await, (vec!["!bye kicked".to_owned()], Some(4001)));
    for client in [&mut alice, &mut carol] {
        assert_eq!(client.ask("Obob").await, "+online bob 0");
    }
    assert_eq!(alice.ask("Knobody").await, "+kicked nobody 0");
    assert_eq!(nodes.health(0).await, 200);
}

async fn sessions_of_one_user_on_several_nodes_are_one_user<K: Kind>() {
    let nodes = Nodes::<K>::start("--sso off").await;
    let mut witness = nodes.tcp(0, "witness").await;
    let mut sessions = Vec::new();
    for node in 0..3 {
        sessions.push(nodes.ws(node, "uid=bob").await);
    }
    until(&mut witness, "N", "+users 2").await;
    sessions[1].send("E to all").await;
    witness.send("Tbob|hi").await;
    for session in &mut sessions {
        // What different senders sent has no order.
        let mut heard = [session.recv().await, session.recv().await];
        heard.sort_unstable();
        assert_eq!(heard, ["E to all", "Tbob|hi"]);
    }
    assert_eq!(witness.ask("Kbob").await, "+kicked bob 3");
    for mut session in sessions {
        assert_eq!(session.rest().await, (vec!["!bye kicked".to_owned()], Some(4001)));
    }
    assert_eq!(witness.ask("N").await, "+users 1");
}

async fn without_a_queue_the_rest_works<K: Kind>() {
    let nodes = Nodes::<K>::start("--queue none").await;
    let mut alice = nodes.tcp(0, "alice").await;
    let mut bob = nodes.ws(1, "uid=bob").await;
    alice.send("Q60|bob|now").await;
    assert_eq!(bob.next().await, Some(Message::binary("Q60|bob|now")));
    assert!(alice.ask("Q60|carol|later").await.starts_with("!error "));
}

crate::on_each_broker!(
    operations_reach_users_on_other_nodes
    sessions_of_one_user_on_several_nodes_are_one_user
    without_a_queue_the_rest_works
);

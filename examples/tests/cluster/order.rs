//! The order of one sender's messages to one user, across nodes.

use brokers::Kind;
use tokio::join;

use crate::{
    flow::{Seen, Sent},
    nodes::Nodes,
    support::{Tcp, number},
};

const MESSAGES: usize = 500;

/// Kept and not kept, in turn.
async fn send_mixed(sender: &mut Tcp, name: &str) {
    let kind = |number: usize| if number.is_multiple_of(2) { "Tbob" } else { "Q60|bob" };
    sender.send_all((0..MESSAGES).map(|number| format!("{}|{name}|{number}", kind(number)))).await;
    assert_eq!(sender.ask("E").await, "E", "no send failed");
}

async fn each_senders_messages_kept_and_not_kept_arrive_in_order<K: Kind>() {
    let nodes = Nodes::<K>::start("").await;
    let mut bob = nodes.tcp(1, "uid=bob&confirm=1").await;
    let (mut near, mut far) = (nodes.tcp(1, "near").await, nodes.tcp(2, "far").await);
    let receiving = async {
        let mut next = [0; 2];
        while next != [MESSAGES; 2] {
            let message = bob.recv().await;
            let sender = usize::from(message.contains("|far|"));
            assert_eq!(number(&message), next[sender], "{message}");
            next[sender] += 1;
        }
    };
    join!(send_mixed(&mut near, "near"), send_mixed(&mut far, "far"), receiving);
}

async fn a_receiver_that_moves_from_node_to_node_under_load_loses_nothing<K: Kind>() {
    const MOVES: usize = 12;

    let nodes = Nodes::<K>::start("").await;
    let mut alice = nodes.tcp(0, "alice").await;
    let (mut sent, mut seen) = (Sent::default(), Seen::default());
    for session in 0..MOVES {
        let receiving = async {
            let mut bob = Tcp::login(nodes.node(session % 3).tcp(), "uid=bob&confirm=1").await;
            let before = seen.all.len();
            // One at least, which shows that the login has taken effect.
            seen.read(&mut bob, |seen| seen.all.len() > before + session * 37 % 30).await;
            match session % 2 {
                0 => bob.vanish(),
                _ => drop(bob),
            }
        };
        join!(sent.send_accepted(&mut alice, 40), receiving);
    }
    assert_eq!(sent.refused, 0, "a send failed");
    seen.read_all(nodes.node(2).tcp(), &sent).await;
}

crate::on_each_broker!(
    each_senders_messages_kept_and_not_kept_arrive_in_order
    a_receiver_that_moves_from_node_to_node_under_load_loses_nothing
);

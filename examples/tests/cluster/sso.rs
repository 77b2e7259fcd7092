//! One place a user in the whole cluster.

use brokers::Kind;
use tokio::task::JoinSet;

use crate::{
    nodes::Nodes,
    support::{Tcp, Ws},
};

/// What a session of bob's hears until it is closed, or until it is called by name.
async fn hear(mut bob: Tcp) -> (Vec<String>, bool) {
    let mut heard = Vec::new();
    while let Some(message) = bob.next().await {
        heard.push(String::from_utf8(message).unwrap());
        if heard.last().is_some_and(|message| message.starts_with("Tbob|")) {
            return (heard, true);
        }
    }
    (heard, false)
}

async fn of_two_hundred_simultaneous_logins_exactly_one_works<K: Kind>() {
    const LOGINS: usize = 200;

    let nodes = Nodes::<K>::start("").await;
    let mut witness = nodes.tcp(0, "witness").await;
    let mut clients = JoinSet::new();
    for number in 0..LOGINS {
        let addr = nodes.node(number % 3).tcp();
        clients.spawn(async move { hear(Tcp::login(addr, "bob").await).await });
    }
    for _ in 1..LOGINS {
        let (heard, works) = clients.join_next().await.unwrap().unwrap();
        assert_eq!((heard, works), (vec!["!bye sso".to_owned()], false));
    }
    // Where the one that stays is, nobody can know.
    for node in 0..3 {
        let mut witness = nodes.tcp(node, &format!("witness-{node}")).await;
        assert_eq!(witness.ask("Obob").await, "+online bob 1");
    }
    witness.send("Tbob|still there?").await;
    let (heard, works) = clients.join_next().await.unwrap().unwrap();
    assert_eq!((heard, works), (vec!["Tbob|still there?".to_owned()], true));
    assert_eq!(witness.ask("E").await, "E", "bob was online");
}

async fn a_session_that_lost_its_place_to_another_node_is_silent<K: Kind>() {
    let nodes = Nodes::<K>::start("").await;
    let mut witness = nodes.tcp(2, "witness").await;
    let mut old: Ws = nodes.ws(0, "uid=bob").await;
    let mut new = nodes.tcp(1, "bob").await;
    old.send_all(["Twitness|late".to_owned(), "Kwitness".to_owned()]).await;
    witness.send("Tbob|hello").await;
    assert_eq!(new.recv().await, "Tbob|hello");
    assert_eq!(old.rest().await, (vec!["!bye sso".to_owned()], Some(4000)));
    new.send("Twitness|in time").await;
    assert_eq!(witness.recv().await, "Twitness|in time");
}

crate::on_each_broker!(
    of_two_hundred_simultaneous_logins_exactly_one_works
    a_session_that_lost_its_place_to_another_node_is_silent
);

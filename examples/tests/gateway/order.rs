//! Order: of one connection's messages, and of one sender's to one user.

use crate::support::{Gateway, Tcp, Ws, number};

#[tokio::test]
async fn two_thousand_pipelined_echoes_come_back_in_order_over_websocket() {
    let gateway = Gateway::start("").await;
    let mut alice = Ws::login(gateway.ws(), "uid=alice").await;
    alice.send_all((0..2000).map(|number| format!("E|{number}"))).await;
    for expected in 0..2000 {
        assert_eq!(alice.recv().await, format!("E|{expected}"));
    }
}

#[tokio::test]
async fn two_thousand_pipelined_echoes_come_back_in_order_over_tcp() {
    let gateway = Gateway::start("").await;
    let mut alice = Tcp::login(gateway.tcp(), "alice").await;
    alice.send_all((0..2000).map(|number| format!("E|{number}"))).await;
    for expected in 0..2000 {
        assert_eq!(alice.recv().await, format!("E|{expected}"));
    }
}

#[tokio::test]
async fn answers_and_echoes_of_one_connection_keep_their_order() {
    let gateway = Gateway::start("").await;
    let mut alice = Ws::login(gateway.ws(), "uid=alice").await;
    alice
        .send_all((0..500).map(|number| if number % 2 == 0 { format!("O{number}") } else { "N".into() }))
        .await;
    for number in 0..500 {
        let expected = if number % 2 == 0 { format!("+online {number} 0") } else { "+users 1".into() };
        assert_eq!(alice.recv().await, expected);
    }
}

/// Kept and not kept, in turn.
fn mixed(range: std::ops::Range<usize>) -> impl Iterator<Item = String> {
    range.map(|number| if number % 2 == 0 { format!("Tbob|{number}") } else { format!("Q60|bob|{number}") })
}

#[tokio::test]
async fn messages_kept_and_not_kept_arrive_in_the_order_of_their_sender() {
    let gateway = Gateway::start("--sso off").await;
    let mut over_ws = Ws::settled(gateway.ws(), "uid=bob").await;
    let mut over_tcp = Tcp::settled(gateway.tcp(), "uid=bob&confirm=1").await;
    let mut alice = Tcp::login(gateway.tcp(), "alice").await;
    alice.send_all(mixed(0..1000)).await;
    for expected in 0..1000 {
        assert_eq!(number(&over_ws.recv().await), expected);
        assert_eq!(number(&over_tcp.recv().await), expected);
    }
    assert_eq!(alice.ask("E").await, "E", "no send failed");
}

#[tokio::test]
async fn what_waited_comes_before_what_is_sent_while_it_drains_over_websocket() {
    let gateway = Gateway::start("").await;
    let mut alice = Tcp::login(gateway.tcp(), "alice").await;
    alice.send_all((0..300).map(|number| format!("Q60|bob|{number}"))).await;
    assert_eq!(alice.ask("E").await, "E", "no send failed");

    let mut bob = Ws::login(gateway.ws(), "uid=bob").await;
    alice.send_all((300..500).map(|number| format!("Q60|bob|{number}"))).await;
    for expected in 0..500 {
        assert_eq!(number(&bob.recv().await), expected);
    }
    assert_eq!(alice.ask("E").await, "E", "no send failed");
}

#[tokio::test]
async fn what_waited_comes_before_what_is_sent_while_it_drains_over_tcp() {
    let gateway = Gateway::start("").await;
    let mut alice = Ws::login(gateway.ws(), "uid=alice").await;
    alice.send_all((0..300).map(|number| format!("Q60|bob|{number}"))).await;
    assert_eq!(alice.ask("E").await, "E", "no send failed");

    let mut bob = Tcp::login(gateway.tcp(), "uid=bob&confirm=1").await;
    alice.send_all((300..500).map(|number| format!("Q60|bob|{number}"))).await;
    for expected in 0..500 {
        assert_eq!(number(&bob.recv().await), expected);
    }
    assert_eq!(alice.ask("E").await, "E", "no send failed");
}

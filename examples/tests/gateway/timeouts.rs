//! Clients that say nothing, and clients that take nothing.

use tokio_tungstenite::tungstenite::Message;

use crate::support::{Gateway, RawWs, Tcp, Ws, within};

#[tokio::test]
async fn a_client_that_sends_nothing_is_idle() {
    let gateway = Gateway::start("--read-timeout 0.3 --ping-interval 0").await;
    let mut ws = Ws::settled(gateway.ws(), "uid=alice").await;
    let mut tcp = Tcp::settled(gateway.tcp(), "bob").await;
    assert_eq!(ws.rest().await, (vec!["!bye idle".to_owned()], Some(4003)));
    assert_eq!(tcp.rest().await, ["!bye idle"]);
}

#[tokio::test]
async fn a_client_that_does_not_answer_pings_is_idle_and_others_are_not() {
    let gateway = Gateway::start("--ping-interval 0.2").await;
    let mut silent = RawWs::login(gateway.ws(), "uid=silent").await;
    let mut no_answers = Tcp::settled(gateway.tcp(), "uid=tcp&confirm=1").await;
    let mut answers = Ws::settled(gateway.ws(), "uid=alice").await;
    let reading = async {
        // Reading is what answers the pings.
        assert_eq!(answers.next().await, Some(Message::binary(&b"Talice|you live"[..])));
    };
    let others = async {
        assert_eq!(silent.until_close().await, (vec!["!bye idle".to_owned()], 4003));
        // This client answers by itself until it stops reading; here it has read nothing since its login.
        let mut bob = Tcp::settled(gateway.tcp(), "bob").await;
        while bob.ask("Otcp").await != "+online tcp 0" {}
        bob.send("Talice|you live").await;
        assert_eq!(bob.ask("E").await, "E", "alice is online");
    };
    tokio::join!(reading, others);
    assert_eq!(no_answers.rest().await, ["!bye idle"]);
}

#[tokio::test]
async fn a_reader_that_falls_behind_is_told_that_it_is_slow() {
    let gateway = Gateway::start("--max-backlog 100000").await;
    let mut slow = RawWs::login(gateway.ws(), "uid=slow").await;
    let mut alice = Tcp::settled(gateway.tcp(), "alice").await;
    while alice.ask("Oslow").await != "+online slow 1" {}
    let message = format!("Tslow|{}", "x".repeat(50_000));
    // The sockets in between hold some megabytes.
    let mut sent = 0;
    loop {
        alice.send_all([message.as_str(), "N"]).await;
        match alice.recv().await.as_str() {
            "+users 2" => sent += 1,
            // The message that was too much was not sent, and the user is not online any more.
            "!offline slow" => break,
            other => panic!("{other}"),
        }
    }
    // The answer behind it.
    alice.recv().await;
    while alice.ask("N").await != "+users 1" {}
    let (mut messages, code) = slow.until_close().await;
    assert_eq!((messages.pop().as_deref(), code), (Some("!bye slow"), 4002));
    assert!(messages.len() <= sent, "{} of {sent}", messages.len());
    assert!(messages.iter().all(|received| *received == message));
}

#[tokio::test]
async fn a_reader_that_is_behind_with_kept_messages_is_not_slow() {
    const MESSAGES: usize = 200;
    let gateway = Gateway::start("--max-backlog 100000").await;
    let mut bob = Ws::settled(gateway.ws(), "uid=bob").await;
    let mut alice = Tcp::settled(gateway.tcp(), "alice").await;
    let padding = "x".repeat(20_000);
    alice.send_all((0..MESSAGES).map(|number| format!("Q60|bob|{padding}|{number}"))).await;
    assert_eq!(alice.ask("E").await, "E", "no send failed");
    for number in 0..MESSAGES {
        assert!(bob.recv().await.ends_with(&format!("|{number}")));
    }
}

#[tokio::test]
async fn where_nothing_waits_one_message_of_any_size_fits() {
    let gateway = Gateway::start("--max-backlog 1000").await;
    let mut bob = Ws::settled(gateway.ws(), "uid=bob").await;
    let mut alice = Tcp::settled(gateway.tcp(), "alice").await;
    let message = format!("Tbob|{}", "x".repeat(500_000));
    for _ in 0..3 {
        alice.send(&message).await;
        assert_eq!(bob.recv().await, message);
        // Bob's question is handled behind what he was sent, so nothing waits any more.
        assert_eq!(bob.ask("N").await, "+users 2");
    }
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn connections_without_confirmation_are_kept_alive_by_tcp() {
    let gateway = Gateway::start("").await;
    let bob = Tcp::settled(gateway.tcp(), "bob").await;
    let port = |port: u16| format!(":{port:04X}");
    let (server, client) = (port(gateway.tcp().port()), port(bob.local_addr().port()));
    let is_kept_alive = || {
        let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
        let mut lines = table.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
        let line = lines.find(|line| line[1].ends_with(&server) && line[2].ends_with(&client)).unwrap();
        // Which timer runs: 02 is the keep-alive's, 01 that of bytes which are not acknowledged yet.
        line[5].starts_with("02:")
    };
    let kept_alive = async {
        while !is_kept_alive() {
            tokio::task::yield_now().await;
        }
    };
    within("the keep-alive timer", kept_alive).await;
}

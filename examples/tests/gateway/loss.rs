//! Nothing that is kept is lost, whatever the receiver does.

use std::collections::BTreeSet;

use tokio::join;

use crate::support::{Gateway, Tcp, Ws, number};

const SESSIONS: usize = 60;
/// Sent while each session lives.
const MESSAGES: usize = 100;

/// How many messages a session reads before it vanishes: up to more than come while it lives. One at least, which shows
/// that its login has taken effect: the login of a connection that has gone already could otherwise end the next one.
fn appetite(session: usize) -> usize {
    1 + session * 37 % 120
}

/// The messages of one load, as the receiver has seen them.
#[derive(Default)]
struct Seen {
    all: BTreeSet<usize>,
    last_of_session: Option<usize>,
}

impl Seen {
    fn new_session(&mut self) {
        self.last_of_session = None;
    }

    fn see(&mut self, message: &str) -> usize {
        let number = number(message);
        assert!(self.last_of_session.is_none_or(|last| last < number), "{message} out of order or again");
        self.last_of_session = Some(number);
        self.all.insert(number);
        number
    }

    /// How many a session can count on: what it has not seen of the messages sent so far.
    fn missing(&self, sent: usize) -> usize {
        sent - self.all.len()
    }
}

async fn send(alice: &mut Tcp, session: usize) {
    let first = session * MESSAGES;
    alice.send_all((first..first + MESSAGES).map(|number| format!("Q60|bob|{number}"))).await;
}

#[tokio::test]
async fn a_tcp_receiver_that_vanishes_under_load_loses_nothing() {
    let gateway = Gateway::start("--max-queued 10000").await;
    let mut alice = Tcp::login(gateway.tcp(), "alice").await;
    let mut seen = Seen::default();
    for session in 0..SESSIONS {
        let mut bob = Tcp::login(gateway.tcp(), "uid=bob&confirm=1").await;
        seen.new_session();
        let reading = async {
            for _ in 0..appetite(session).min(seen.missing((session + 1) * MESSAGES)) {
                seen.see(&bob.recv().await);
            }
            bob.vanish();
        };
        join!(send(&mut alice, session), reading);
    }
    let mut bob = Tcp::login(gateway.tcp(), "uid=bob&confirm=1").await;
    seen.new_session();
    while seen.see(&bob.recv().await) + 1 < SESSIONS * MESSAGES {}
    assert!(seen.all.into_iter().eq(0..SESSIONS * MESSAGES), "messages are lost");
    assert_eq!(alice.ask("E").await, "E", "no send failed");
}

#[tokio::test]
async fn a_websocket_receiver_that_vanishes_under_load_loses_nothing() {
    let gateway = Gateway::start("--max-queued 10000").await;
    let mut alice = Tcp::login(gateway.tcp(), "alice").await;
    let mut seen = Seen::default();
    for session in 0..SESSIONS {
        let mut bob = Ws::login(gateway.ws(), "uid=bob").await;
        seen.new_session();
        let reading = async {
            for _ in 0..appetite(session).min(seen.missing((session + 1) * MESSAGES)) {
                seen.see(&bob.recv().await);
            }
            bob.vanish();
        };
        join!(send(&mut alice, session), reading);
    }
    let mut bob = Ws::login(gateway.ws(), "uid=bob").await;
    seen.new_session();
    while seen.see(&bob.recv().await) + 1 < SESSIONS * MESSAGES {}
    assert!(seen.all.into_iter().eq(0..SESSIONS * MESSAGES), "messages are lost");
    assert_eq!(alice.ask("E").await, "E", "no send failed");
}

#[tokio::test]
async fn a_client_that_takes_nothing_is_cut_and_loses_nothing() {
    const MESSAGES: usize = 400;

    let gateway = Gateway::start("--write-timeout 0.5").await;
    let mut bob = Tcp::connect(gateway.tcp()).await;
    bob.shrink();
    bob.send("uid=bob&confirm=1").await;
    bob.settle().await;
    let mut alice = Tcp::login(gateway.tcp(), "alice").await;
    // More than the sockets hold.
    let padding = "x".repeat(19_000);
    alice.send_all((0..MESSAGES).map(|number| format!("Q60|bob|{padding}|{number}"))).await;
    while alice.ask("Obob").await != "+online bob 0" {}

    let mut again = Ws::login(gateway.ws(), "uid=bob").await;
    for expected in 0..MESSAGES {
        assert_eq!(number(&again.recv().await), expected);
    }
    assert_eq!(alice.ask("E").await, "E", "no send failed");
}

#[tokio::test]
async fn what_a_client_confirmed_does_not_come_again() {
    let gateway = Gateway::start("").await;
    let mut alice = Tcp::login(gateway.tcp(), "alice").await;
    alice.send_all((0..10).map(|number| format!("Q60|bob|{number}"))).await;
    assert_eq!(alice.ask("E").await, "E");

    // A client that shows empty frames, and answers them by hand.
    let mut bob = Tcp::connect(gateway.tcp()).await;
    bob.send("uid=bob&confirm=1").await;
    let mut last = None;
    while last != Some(9) {
        match bob.next().await.unwrap() {
            probe if probe.is_empty() => bob.send("").await,
            message => last = Some(number(std::str::from_utf8(&message).unwrap())),
        }
    }
    assert_eq!(bob.recv().await, "", "the question behind the last message");
    // The echo was handled behind the answer.
    bob.send_all(["", "Edone"]).await;
    assert_eq!(bob.recv().await, "Edone");
    bob.vanish();

    alice.send("Q60|bob|10").await;
    let mut bob = Tcp::login(gateway.tcp(), "uid=bob&confirm=1").await;
    assert_eq!(number(&bob.recv().await), 10);
}

#[tokio::test]
async fn without_confirmation_a_message_counts_as_received_when_it_is_written() {
    let gateway = Gateway::start("").await;
    let mut bob = Tcp::settled(gateway.tcp(), "uid=bob").await;
    let mut alice = Tcp::login(gateway.tcp(), "alice").await;
    alice.send("Q60|bob|1").await;
    assert_eq!(bob.recv().await, "Q60|bob|1");
    assert_eq!(bob.ask("E").await, "E");
    drop(bob);
    while alice.ask("Obob").await != "+online bob 0" {}
    alice.send("Q60|bob|2").await;
    let mut bob = Tcp::login(gateway.tcp(), "uid=bob").await;
    assert_eq!(bob.recv().await, "Q60|bob|2");
}

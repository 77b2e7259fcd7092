//! The chat on two nodes, as the program that people start.

#![cfg(all(unix, feature = "nats"))]

// The chat's own tests use the rest.
#[allow(dead_code, unused_imports)]
#[path = "chat/support.rs"]
mod support;

use std::{net::SocketAddr, process::Stdio};

use examples::chat::protocol::ServerMessage;
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, BufReader},
    net::TcpStream,
    process::{Child, Command},
};

use support::{Client, patiently, said, sent, text_of};

struct Program {
    child: Child,
    nodes: [SocketAddr; 2],
    broker: SocketAddr,
}

fn command() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_cluster-chat"));
    command.args(["--first", "127.0.0.1:0", "--second", "127.0.0.1:0"]);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).kill_on_drop(true);
    command
}

impl Program {
    async fn start() -> Self {
        let mut child = command().spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut addresses = Vec::new();
        while addresses.len() < 3 {
            let line = patiently("the addresses", lines.next_line()).await.unwrap().expect("it has ended");
            let urls = line.split_whitespace().filter_map(|word| word.split_once("://"));
            addresses.extend(urls.map(|(_, addr)| addr.parse::<SocketAddr>().unwrap()));
        }
        Self { child, nodes: [addresses[0], addresses[1]], broker: addresses[2] }
    }

    async fn login(&self, node: usize, name: &str) -> Client {
        Client::login(&format!("ws://{}/ws?uid={name}", self.nodes[node])).await
    }

    async fn signal(&self, name: &str) {
        let pid = self.child.id().unwrap().to_string();
        assert!(Command::new("kill").args(["-s", name, &pid]).status().await.unwrap().success());
    }

    /// Waits until the broker is gone.
    async fn broker_ends(&self) {
        let ending = async { while TcpStream::connect(self.broker).await.is_ok() {} };
        patiently("the end of the broker", ending).await;
    }
}

#[tokio::test]
async fn users_of_two_nodes_talk() {
    let mut program = Program::start().await;
    let mut alice = program.login(0, "alice").await;
    let mut bob = program.login(1, "bob").await;
    alice.until_online(&["alice", "bob"]).await;
    bob.until_online(&["alice", "bob"]).await;

    let cid = alice.write("bob", "tea?").await;
    assert_eq!(alice.next().await, sent(&cid));
    assert_eq!(text_of(bob.next().await), said("alice", "tea?"));

    // A room has its members from both.
    alice.join("tea").await;
    bob.join("tea").await;
    alice.until_members("tea", &["alice", "bob"]).await;
    bob.until_members("tea", &["alice", "bob"]).await;
    bob.until_rooms(&[("tea", 2)]).await;

    // Who is away finds what was missed on whichever node.
    bob.close().await;
    alice.until_online(&["alice"]).await;
    let cid = alice.write("bob", "still there?").await;
    assert_eq!(alice.next().await, sent(&cid));
    let mut bob = program.login(0, "bob").await;
    // What a receipt does not tell in time comes again: the first message was confirmed, or was not yet.
    let mut text = text_of(bob.next().await);
    if text == said("alice", "tea?") {
        text = text_of(bob.next().await);
    }
    assert_eq!(text, said("alice", "still there?"));

    // One place a user, on both nodes.
    let elsewhere = program.login(1, "bob").await;
    let (bye, code) = bob.end().await;
    assert_eq!(bye, ServerMessage::Bye { reason: "sso".into(), reconnect: "never".into() });
    assert_eq!(code, 4000);

    program.signal("TERM").await;
    let (bye, code) = alice.end().await;
    assert_eq!(bye, ServerMessage::Bye { reason: "drain".into(), reconnect: "now".into() });
    assert_eq!(code, 1001);
    drop(elsewhere);
    assert!(patiently("its end", program.child.wait()).await.unwrap().success());
    program.broker_ends().await;
}

#[tokio::test]
async fn the_broker_ends_with_a_program_that_is_killed() {
    let program = Program::start().await;
    program.signal("KILL").await;
    program.broker_ends().await;
}

#[tokio::test]
async fn without_a_broker_it_says_so_and_fails() {
    let mut command = command();
    command.env("TOK_NATS_SERVER", "/nonexistent/nats-server").stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let (mut out, mut err) = (String::new(), String::new());
    child.stdout.take().unwrap().read_to_string(&mut out).await.unwrap();
    child.stderr.take().unwrap().read_to_string(&mut err).await.unwrap();
    assert_eq!(patiently("its end", child.wait()).await.unwrap().code(), Some(1));
    assert!(out.is_empty() && err.contains("there is no broker"), "{out} {err}");
}

//! The terminal client against the gateway.

use std::process::Stdio;

use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    process::Command,
};

use crate::support::{Gateway, Tcp, within};

#[tokio::test]
async fn the_terminal_client_sends_lines_and_prints_messages() {
    let gateway = Gateway::start("--token s&cret").await;
    let mut bob = Tcp::settled(gateway.tcp(), "uid=bob&token=s%26cret").await;
    let mut client = Command::new(env!("CARGO_BIN_EXE_client"))
        .args([&gateway.tcp().to_string(), "Ann Lee", "s&cret"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut typing = client.stdin.take().unwrap();
    let mut printed = BufReader::new(client.stdout.take().unwrap()).lines();

    typing.write_all("Q60|bob|tea?\n\nN\n".as_bytes()).await.unwrap();
    assert_eq!(bob.recv().await, "Q60|bob|tea?");
    assert_eq!(within("a line", printed.next_line()).await.unwrap().as_deref(), Some("+users 2"));
    bob.send("Q60|Ann Lee|yes").await;
    assert_eq!(within("a line", printed.next_line()).await.unwrap().as_deref(), Some("Q60|Ann Lee|yes"));

    drop(typing);
    assert!(within("the client's end", client.wait()).await.unwrap().success());
}

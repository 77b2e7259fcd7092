//! The terminal client against the gateway.

use std::process::Stdio;

use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
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

#[tokio::test]
async fn the_terminal_client_escapes_control_characters_of_others() {
    let gateway = Gateway::start("").await;
    let mut bob = Tcp::settled(gateway.tcp(), "uid=bob").await;
    let mut client = Command::new(env!("CARGO_BIN_EXE_client"))
        .args([&gateway.tcp().to_string(), "alice"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut typing = client.stdin.take().unwrap();
    // The answer shows that the login has taken effect.
    let mut printed = BufReader::new(client.stdout.take().unwrap());
    typing.write_all(b"N\n").await.unwrap();
    within("an answer", printed.read_line(&mut String::new())).await.unwrap();

    // Sequences that write the clipboard, set the title and turn the text around, and a line that alice did not get.
    bob.send("Talice|\u{1b}]52;c;cm0gLXJm\u{7}\u{9b}2J\u{7f}\u{202e}evil\r\nTalice|forged \u{e9}").await;
    bob.send("Talice|the last").await;
    let mut line = String::new();
    let expected =
        "Talice|\\u{1b}]52;c;cm0gLXJm\\u{7}\\u{9b}2J\\u{7f}\\u{202e}evil\\r\\nTalice|forged \u{e9}\n";
    within("a line", printed.read_line(&mut line)).await.unwrap();
    assert_eq!(line, expected);

    drop(typing);
    let mut rest = String::new();
    within("the rest", printed.read_to_string(&mut rest)).await.unwrap();
    assert_eq!(rest, "Talice|the last\n");
}

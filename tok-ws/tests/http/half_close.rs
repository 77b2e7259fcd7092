//! Clients that end their direction without a close frame, and read on.

use tok_core::{CloseReason, Device};
use tok_ws::{UpgradeHead, WsHandler};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::server::{Server, builder, hub, within};

const MASK: [u8; 4] = [9, 8, 7, 6];

fn request(uid: &str) -> Vec<u8> {
    format!(
        "GET /ws?uid={uid} HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
    )
    .into_bytes()
}

fn text(text: &str) -> Vec<u8> {
    let masked = text.bytes().zip(MASK.into_iter().cycle()).map(|(byte, mask)| byte ^ mask);
    [0x81, 0x80 | text.len() as u8].into_iter().chain(MASK).chain(masked).collect()
}

/// Sends all of this, ends the direction, and reads what comes behind the response's head until the server ends too.
async fn ask(server: &Server, request: &[u8]) -> Vec<u8> {
    within(async {
        let mut client = TcpStream::connect(server.addr).await.unwrap();
        client.write_all(request).await.unwrap();
        client.shutdown().await.unwrap();
        let mut answer = Vec::new();
        client.read_to_end(&mut answer).await.unwrap();
        let head = answer.windows(4).position(|four| four == b"\r\n\r\n").map_or(0, |at| at + 4);
        assert!(answer.starts_with(b"HTTP/1.1 101 "), "{}", answer.escape_ascii());
        answer.split_off(head)
    })
    .await
}

/// The close frame of a session whose peer closed: 1000 and the reason's name.
fn close() -> Vec<u8> {
    let reason = CloseReason::PeerClosed;
    [&[0x88, 2 + reason.name().len() as u8][..], &reason.code().to_be_bytes(), reason.name().as_bytes()]
        .concat()
}

#[tokio::test]
async fn what_comes_with_the_handshake_is_answered() {
    let server = Server::start(builder(hub())).await;
    for _ in 0..20 {
        let answer = ask(&server, &[request("alice"), text("one"), text("two")].concat()).await;
        assert_eq!(answer, [b"\x81\x03one\x81\x03two", &close()[..]].concat(), "{}", answer.escape_ascii());
    }
}

/// The end of the client's direction is there before the login is decided.
#[tokio::test]
async fn what_comes_with_the_handshake_is_answered_when_the_login_takes_long() {
    let handler = WsHandler::builder(hub(), |_: UpgradeHead| async move {
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
        Ok(Device::new("alice"))
    });
    let server = Server::start(handler).await;
    for _ in 0..20 {
        let answer = ask(&server, &[request("alice"), text("one")].concat()).await;
        assert_eq!(answer, [b"\x81\x03one", &close()[..]].concat(), "{}", answer.escape_ascii());
    }
}

/// No session begins for it, and the closing handshake is done all the same.
#[tokio::test]
async fn a_close_that_comes_with_the_handshake_is_answered() {
    let server = Server::start(builder(hub())).await;
    let close = [&[0x88, 0x82][..], &[0; 4], &1000_u16.to_be_bytes()].concat();
    for _ in 0..20 {
        let answer = ask(&server, &[request("alice"), close.clone()].concat()).await;
        assert_eq!(answer, b"\x88\x02\x03\xe8", "{}", answer.escape_ascii());
    }
}

#[tokio::test]
async fn what_comes_after_the_handshake_is_answered() {
    let server = Server::start(builder(hub())).await;
    for _ in 0..20 {
        let mut client = within(TcpStream::connect(server.addr)).await.unwrap();
        client.write_all(&request("alice")).await.unwrap();
        let mut answer = Vec::new();
        while !answer.ends_with(b"\r\n\r\n") {
            answer.push(within(client.read_u8()).await.unwrap());
        }
        client.write_all(&[text("one"), text("two")].concat()).await.unwrap();
        client.shutdown().await.unwrap();
        answer.clear();
        within(client.read_to_end(&mut answer)).await.unwrap();
        assert_eq!(answer, [b"\x81\x03one\x81\x03two", &close()[..]].concat(), "{}", answer.escape_ascii());
    }
}

//! A client of somebody else's against the hub, over loopback, once for each engine compiled in.
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use tok_core::{CloseReason, Outcome, Sso};
use tok_ws::WsEngine;
use tokio::net::TcpStream;
use tokio_tungstenite::{
    MaybeTlsStream, WebSocketStream, connect_async,
    tungstenite::{Message, protocol::CloseFrame},
};

use crate::server::{Server, builder, hub, within};

type Client = WebSocketStream<MaybeTlsStream<TcpStream>>;

async fn connect(server: &Server, uid: &str) -> Client {
    within(connect_async(format!("ws://{}/ws?uid={uid}", server.addr))).await.unwrap().0
}

/// The next message that is not a Ping; the client answers those.
async fn next(client: &mut Client) -> Message {
    loop {
        match within(client.next()).await.unwrap().unwrap() {
            Message::Ping(_) => {}
            message => return message,
        }
    }
}

fn close_code(message: &Message) -> Option<u16> {
    match message {
        Message::Close(Some(frame)) => Some(frame.code.into()),
        _ => None,
    }
}

async fn echo_and_close(engine: WsEngine) {
    let hub = hub();
    let server = Server::start(builder(hub.clone()).engine(engine)).await;
    let mut client = connect(&server, "alice").await;
    for len in [0, 1, 125, 126, 65_535, 65_536, 70_000] {
        for message in [Message::text("x".repeat(len)), Message::binary(vec![7; len])] {
            client.send(message.clone()).await.unwrap();
            assert_eq!(next(&mut client).await, message);
        }
    }
    assert!(hub.is_online("alice").await.unwrap());
    client.close(Some(CloseFrame { code: 1000.into(), reason: "bye".into() })).await.unwrap();
    assert_eq!(close_code(&next(&mut client).await), Some(1000));
    assert!(within(client.next()).await.is_none(), "the server ends the connection");
}

async fn kept_messages_are_confirmed_by_pongs(engine: WsEngine) {
    let hub = hub();
    let server = Server::start(builder(hub.clone()).engine(engine)).await;
    let mut client = connect(&server, "bob").await;
    client.send(Message::text("here?")).await.unwrap();
    assert_eq!(next(&mut client).await, Message::text("here?"));
    // Without a queue it returns when the message is confirmed.
    let send = tokio::spawn(hub.send("bob", "kept").ttl(Duration::from_secs(60)).into_future());
    assert_eq!(next(&mut client).await, Message::text("kept"));
    // Reading on makes the client answer the Ping behind the message, which is all that it has to do.
    let receipt = tokio::select! {
        receipt = send => receipt.unwrap().unwrap(),
        message = next(&mut client) => panic!("unexpected: {message:?}"),
    };
    assert_eq!(receipt.outcome().await, Outcome::Confirmed);
}

async fn the_server_ends_sessions_with_their_codes(engine: WsEngine) {
    let hub = tok_core::Hub::builder(crate::server::Echo).runtime(tok_core::rt::Tokio).sso(Sso::PerUser);
    let hub = hub.max_message(1000).build().unwrap();
    let server = Server::start(builder(hub.clone()).engine(engine)).await;
    let mut old = connect(&server, "carol").await;
    old.send(Message::text("x")).await.unwrap();
    assert_eq!(next(&mut old).await, Message::text("x"));
    let mut client = connect(&server, "carol").await;
    assert_eq!(close_code(&next(&mut old).await), Some(CloseReason::Sso.code()));
    client.send(Message::text("y")).await.unwrap();
    assert_eq!(next(&mut client).await, Message::text("y"));
    client.send(Message::binary(vec![0; 1001])).await.unwrap();
    assert_eq!(close_code(&next(&mut client).await), Some(1009));
    let mut client = connect(&server, "carol").await;
    client.send(Message::text("z")).await.unwrap();
    assert_eq!(next(&mut client).await, Message::text("z"));
    hub.kick("carol").await.unwrap();
    assert_eq!(close_code(&next(&mut client).await), Some(4001));
}

macro_rules! engines {
    ($($feature:literal $module:ident $engine:ident)*) => {$(
        #[cfg(feature = $feature)]
        mod $module {
            use tok_ws::WsEngine::$engine;

            #[tokio::test]
            async fn echo_and_close() {
                super::echo_and_close($engine).await;
            }

            #[tokio::test]
            async fn kept_messages_are_confirmed_by_pongs() {
                super::kept_messages_are_confirmed_by_pongs($engine).await;
            }

            #[tokio::test]
            async fn the_server_ends_sessions_with_their_codes() {
                super::the_server_ends_sessions_with_their_codes($engine).await;
            }
        }
    )*};
}

engines! {
    "tokio-tungstenite" on_tokio_tungstenite TokioTungstenite
    "async-tungstenite" on_async_tungstenite AsyncTungstenite
    "tokio-websockets" on_tokio_websockets TokioWebsockets
}

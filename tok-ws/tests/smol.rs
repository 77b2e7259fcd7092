//! The same server with no tokio about: smol's executor, listener and timers, and a client of blocking reads.
#![cfg(all(
    feature = "smol",
    any(feature = "tokio-tungstenite", feature = "async-tungstenite", feature = "tokio-websockets")
))]

use std::{
    io::{Read, Write},
    net::{Ipv4Addr, TcpStream},
    time::Duration,
};

use tok_core::{Actor, Device, Hub, Message, Session, async_trait, rt::Smol};
use tok_ws::{UpgradeHead, WsEngine, WsHandler};

const REQUEST: &[u8] =
    b"GET /?uid=alice HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
    Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";

struct Echo;

#[async_trait]
impl Actor for Echo {
    async fn on_receive(&self, session: &Session, message: Message) {
        let _ = session.send(message);
    }
}

#[test]
fn every_engine_serves_on_smol() {
    for engine in WsEngine::compiled() {
        let hub = Hub::builder(Echo).runtime(Smol).auth_timeout(Duration::from_millis(200)).build().unwrap();
        let authenticate =
            |head: UpgradeHead| async move { Ok(Device::new(head.query("uid").unwrap().as_ref())) };
        let handler = WsHandler::builder(hub, authenticate).engine(*engine).build().unwrap();
        let listener = smol::block_on(smol::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0))).unwrap();
        let addr = listener.local_addr().unwrap();
        let server = smol::spawn(tok_ws::serve(listener, handler));

        let mut client = TcpStream::connect(addr).unwrap();
        client.write_all(REQUEST).unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            client.read_exact(&mut byte).unwrap();
            head.push(byte[0]);
        }
        assert!(head.starts_with(b"HTTP/1.1 101"), "{engine}");
        client.write_all(&[0x81, 0x82, 0, 0, 0, 0, b'h', b'i']).unwrap();
        let mut echo = [0; 4];
        client.read_exact(&mut echo).unwrap();
        assert_eq!(&echo, b"\x81\x02hi", "{engine}");
        client.write_all(&[0x88, 0x80, 0, 0, 0, 0]).unwrap();
        let mut close = Vec::new();
        client.read_to_end(&mut close).unwrap();
        assert_eq!(close, b"\x88\x00", "{engine}");

        // Half a handshake and silence: the timer is smol's as well.
        let mut client = TcpStream::connect(addr).unwrap();
        client.write_all(&REQUEST[..50]).unwrap();
        assert_eq!(client.read(&mut [0]).unwrap(), 0, "{engine}");
        smol::block_on(server.cancel());
    }
}

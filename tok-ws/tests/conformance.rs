//! The conformance suite of tok-core's `Transport`, once for each engine that is compiled in, over bytes in memory.
#![cfg(any(feature = "tokio-tungstenite", feature = "async-tungstenite", feature = "tokio-websockets"))]

use std::{
    sync::Arc,
    task::{Context, Poll, ready},
};

use tok_core::{
    Message, MessageKind,
    testkit::transport::{ByteEnd, Peer, PeerEvent, byte_pair},
    transport::ByteStream,
};
use tok_ws::{WsConfig, WsEngine, WsTransport};

const LIMIT: usize = 300_000;

const FRAGMENT: u8 = 0x00;
const FIRST_FRAGMENT: u8 = 0x02;
const TEXT: u8 = 0x81;
const BINARY: u8 = 0x82;
const CLOSE: u8 = 0x88;
const PING: u8 = 0x89;
const PONG: u8 = 0x8a;

/// A client: it masks, answers Pings and the server's close.
struct Client {
    end: ByteEnd,
    unread: Vec<u8>,
    closed: bool,
}

impl Client {
    fn frame(&mut self, head: u8, payload: &[u8]) {
        const MASK: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];
        let mut frame = vec![head];
        match payload.len() {
            len @ 0..=125 => frame.push(0x80 | len as u8),
            len @ 126..=0xffff => {
                frame.push(0x80 | 126);
                frame.extend((len as u16).to_be_bytes());
            }
            len => {
                frame.push(0x80 | 127);
                frame.extend((len as u64).to_be_bytes());
            }
        }
        frame.extend(MASK);
        frame.extend(payload.iter().enumerate().map(|(at, byte)| byte ^ MASK[at % 4]));
        self.end.put(&frame);
    }

    /// The next whole frame of those read: its first byte and its payload.
    fn next(&mut self) -> Option<(u8, Vec<u8>)> {
        let (head, start, len) = match self.unread[..] {
            [head, 126, a, b, ..] => (head, 4, usize::from(u16::from_be_bytes([a, b]))),
            [head, 127, ..] => {
                (head, 10, u64::from_be_bytes(self.unread.get(2..10)?.try_into().ok()?) as usize)
            }
            [head, len @ ..=125, ..] => (head, 2, usize::from(len)),
            _ => return None,
        };
        let payload = self.unread.get(start..start + len)?.to_vec();
        self.unread.drain(..start + len);
        Some((head, payload))
    }
}

impl Peer for Client {
    fn send(&mut self, message: &Message) {
        let head = if message.kind() == MessageKind::Text { TEXT } else { BINARY };
        self.frame(head, message.data());
    }

    fn poll_recv(&mut self, cx: &mut Context<'_>) -> Poll<PeerEvent> {
        let mut buf = [0; 4096];
        loop {
            match self.next() {
                Some((TEXT, data)) => {
                    return Poll::Ready(PeerEvent::Message(Message::text(String::from_utf8(data).unwrap())));
                }
                Some((BINARY, data)) => return Poll::Ready(PeerEvent::Message(Message::binary(data))),
                Some((PING, data)) => self.frame(PONG, &data),
                Some((PONG, _)) => {}
                Some((CLOSE, data)) => {
                    let code = data.first_chunk().map_or(1005, |code| u16::from_be_bytes(*code));
                    return Poll::Ready(PeerEvent::Close(code));
                }
                Some(other) => panic!("a frame that no server sends: {other:?}"),
                None => match ready!(self.end.poll_read(cx, &mut buf)) {
                    Ok(0) | Err(_) => return Poll::Ready(PeerEvent::End),
                    Ok(count) => self.unread.extend(&buf[..count]),
                },
            }
        }
    }

    fn close(&mut self) {
        if !self.closed {
            self.closed = true;
            self.frame(CLOSE, &1000_u16.to_be_bytes());
        }
        self.end.end();
    }

    fn end(&mut self) {
        self.end.end();
    }

    fn abort(&mut self) {
        self.end.reset();
    }

    fn answer(&mut self, number: u64) {
        self.frame(PONG, &number.to_be_bytes());
    }

    fn trickle(&mut self, bytes: usize) {
        self.end.trickle(bytes);
    }

    /// A message in fragments of one byte each, byte by byte.
    fn flood(&mut self) {
        self.end.give(1);
        self.frame(FIRST_FRAGMENT, b"a");
        (0..10_000).for_each(|_| self.frame(FRAGMENT, b"a"));
    }
}

fn pair(engine: WsEngine, capacity: usize) -> (WsTransport<ByteEnd>, Client) {
    let (near, end) = byte_pair(capacity);
    let config = WsConfig::new(engine.engine().unwrap(), LIMIT);
    (WsTransport::new(near, Arc::new(config)), Client { end, unread: Vec::new(), closed: false })
}

/// Every read and write is small.
fn narrow(engine: WsEngine) -> (WsTransport<ByteEnd>, Client) {
    let (transport, client) = pair(engine, 500);
    client.end.accept(70);
    client.end.give(50);
    (transport, client)
}

macro_rules! conformance {
    ($module:ident, $engine:ident) => {
        mod $module {
            use tok_ws::WsEngine::$engine;

            tok_core::transport_conformance!(
                async || crate::pair($engine, 64 * 1024),
                confirms,
                kinds,
                empty,
                reasons,
                limit = crate::LIMIT,
            );

            mod narrow {
                use super::*;
                tok_core::transport_conformance!(
                    async || crate::narrow($engine),
                    confirms,
                    kinds,
                    empty,
                    reasons,
                    limit = crate::LIMIT,
                );
            }
        }
    };
}

#[cfg(feature = "tokio-tungstenite")]
conformance!(tokio_tungstenite, TokioTungstenite);

#[cfg(feature = "async-tungstenite")]
conformance!(async_tungstenite, AsyncTungstenite);

#[cfg(feature = "tokio-websockets")]
conformance!(tokio_websockets, TokioWebsockets);

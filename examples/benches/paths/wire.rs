//! On the wire: encoding, each engine's decoding, and a message through each transport over bytes in memory.

use std::{
    hint::black_box,
    sync::Arc,
    task::{Context, Poll, Waker},
};

use bytes::Bytes;
use tok_core::{
    Message, MessageKind, Transport,
    testkit::transport::{ByteEnd, byte_pair},
    transport::{ByteStream, Framing, Incoming, Outgoing},
};
use tok_tcp::TcpTransport;
use tok_ws::{
    WsConfig, WsEngine, WsTransport,
    engine::{DecoderConfig, Event},
};

use super::{Path, path};

pub(super) const PATHS: &[Path] = &[
    path("encode: WebSocket, 16 B", 1, || encode(&tok_ws::AUTO, 16)),
    path("encode: WebSocket, 128 B", 1, || encode(&tok_ws::AUTO, 128)),
    path("encode: WebSocket, 16 KiB", 1, || encode(&tok_ws::AUTO, 16 * 1024)),
    path("encode: TCP, 128 B", 1, || encode(&tok_tcp::FRAMING, 128)),
    path("decode: tokio-tungstenite, 100 B", 1, || decode(WsEngine::TokioTungstenite)),
    #[cfg(feature = "async-tungstenite")]
    path("decode: async-tungstenite, 100 B", 1, || decode(WsEngine::AsyncTungstenite)),
    #[cfg(feature = "tokio-websockets")]
    path("decode: tokio-websockets, 100 B", 1, || decode(WsEngine::TokioWebsockets)),
    path("transport: tokio-tungstenite, read and write", 1, || websocket(WsEngine::TokioTungstenite)),
    #[cfg(feature = "async-tungstenite")]
    path("transport: async-tungstenite, read and write", 1, || websocket(WsEngine::AsyncTungstenite)),
    #[cfg(feature = "tokio-websockets")]
    path("transport: tokio-websockets, read and write", 1, || websocket(WsEngine::TokioWebsockets)),
    path("transport: TCP, read and write", 1, tcp),
];

const LIMIT: usize = 1 << 20;

fn message(bytes: usize) -> Message {
    Message::new(MessageKind::Text, Bytes::from(vec![b'x'; bytes]))
}

/// A client's text frame of 100 bytes.
fn masked() -> Vec<u8> {
    let mask = [1, 2, 3, 4];
    let payload = (0..100).map(|index| b'x' ^ mask[index % 4]);
    [0x81, 0x80 | 100].into_iter().chain(mask).chain(payload).collect()
}

fn encode(framing: &'static Framing, bytes: usize) -> Box<dyn FnMut()> {
    let message = message(bytes);
    Box::new(move || drop(black_box(framing.encode(black_box(&message)))))
}

fn decode(engine: WsEngine) -> Box<dyn FnMut()> {
    let engine = engine.engine().expect("an engine that is compiled in");
    let (mut decoder, frame) = (engine.decoder(&DecoderConfig::new(LIMIT)), masked());
    Box::new(move || {
        decoder.feed(&frame);
        assert!(matches!(decoder.next(), Some(Ok(Event::Text(text))) if text.len() == 100));
    })
}

fn websocket(engine: WsEngine) -> Box<dyn FnMut()> {
    let engine = engine.engine().expect("an engine that is compiled in");
    let (near, far) = byte_pair(LIMIT);
    through(WsTransport::new(near, Arc::new(WsConfig::new(engine, LIMIT))), far, masked())
}

fn tcp() -> Box<dyn FnMut()> {
    let (near, far) = byte_pair(LIMIT);
    let frame = tok_tcp::FRAMING.encode(&message(100)).into_bytes().to_vec();
    through(TcpTransport::new(near, LIMIT, false), far, frame)
}

/// One message in, until nothing more is there, and the same one out.
fn through(mut transport: impl Transport, mut far: ByteEnd, frame: Vec<u8>) -> Box<dyn FnMut()> {
    let mut buffer = [0; 256];
    Box::new(move || {
        let mut cx = Context::from_waker(Waker::noop());
        far.put(&frame);
        let Poll::Ready(Ok(Incoming::Message(message))) = transport.poll_recv(&mut cx) else {
            panic!("a message was sent");
        };
        assert!(transport.poll_recv(&mut cx).is_pending());
        let frame = transport.framing().encode(&message);
        transport.start_send(Outgoing::Frame(frame)).expect("an open transport");
        assert!(transport.poll_flush(&mut cx).is_ready());
        assert!(matches!(far.poll_read(&mut cx, &mut buffer), Poll::Ready(Ok(102..))));
    })
}

use std::sync::Arc;

use tok_core::{
    CloseReason, Message, Transport,
    testkit::{ByteEnd, byte_pair},
    transport::Outgoing,
};
use tok_ws::{Guard, WsConfig, WsEngine, WsTransport, engine::Engine};

use crate::{
    drive::{Got, Wrong, poll, read, receive},
    input::{Input, portions},
    reference,
};

pub(crate) fn tokio_tungstenite(data: &[u8]) {
    connection(WsEngine::TokioTungstenite, data);
}

pub(crate) fn async_tungstenite(data: &[u8]) {
    connection(WsEngine::AsyncTungstenite, data);
}

pub(crate) fn tokio_websockets(data: &[u8]) {
    connection(WsEngine::TokioWebsockets, data);
}

/// A WebSocket connection after its handshake, on one engine.
fn connection(engine: WsEngine, data: &[u8]) {
    let engine = engine.engine().expect("all engines are compiled in");
    let mut input = Input::new(data);
    let (limit, how) = (input.number() & 0xfff, input.byte());
    let stream = whole_frames(input.rest(), limit);

    let (expected, pings) = reference::events(&stream, limit);
    for how in [0, how] {
        let (got, sent) = listen(&engine, limit, &stream, how);
        assert_eq!(got, expected, "on {}, in portions {how}", engine.name());
        check_sent(&sent, &pings);
    }
    // The decoder of one connection serves the next.
    let hello = [&[0x81, 0x85, 1, 2, 3, 4][..], &[b'h' ^ 1, b'e' ^ 2, b'l' ^ 3, b'l' ^ 4, b'o' ^ 1]].concat();
    let (got, _) = listen(&engine, 5, &hello, 0);
    assert_eq!(got, [Got::Text(b"hello".to_vec())], "after another connection");

    converse(&engine, limit, &stream, how);
}

/// The bytes with the last frame completed: an engine may refuse text at its first wrong byte, or when the frame is whole.
fn whole_frames(bytes: &[u8], limit: usize) -> Vec<u8> {
    let mut stream = bytes.to_vec();
    let mut guard = Guard::new(limit);
    if let (_, Ok(())) = guard.check(&stream) {
        let lacking = usize::try_from(guard.remaining()).expect("it is within the limit");
        stream.resize(stream.len() + lacking, 0);
    }
    stream
}

fn connect(engine: &Arc<dyn Engine>, limit: usize) -> (WsTransport<ByteEnd>, ByteEnd) {
    let (near, far) = byte_pair(1 << 20);
    (WsTransport::new(near, Arc::new(WsConfig::new(Arc::clone(engine), limit))), far)
}

/// What a connection gives whose peer sends this and takes everything, and what it sends.
fn listen(engine: &Arc<dyn Engine>, limit: usize, stream: &[u8], how: u8) -> (Vec<Got>, Vec<u8>) {
    let (mut transport, mut far) = connect(engine, limit);
    let (mut got, mut sent) = (Vec::new(), Vec::new());
    for portion in portions(how, stream) {
        far.put(portion);
        receive(&mut transport, &mut got);
        sent.extend(read(&mut far));
    }
    if let Some(Got::Error(_)) = got.last() {
        transport.start_send(Outgoing::Close(CloseReason::Protocol)).expect("a goodbye");
    }
    far.end();
    assert!(poll(|cx| transport.poll_close(cx)).is_some(), "the peer is done, and the close is not");
    sent.extend(read(&mut far));
    (got, sent)
}

/// All that a server sends to who only listens: Pongs to Pings, in their order, and one close.
fn check_sent(sent: &[u8], pings: &[Vec<u8>]) {
    let frames = frames(sent);
    let mut pings = pings.iter();
    for (index, (head, payload)) in frames.iter().enumerate() {
        match head {
            0x8a => assert!(pings.any(|ping| ping == payload), "a Pong to no Ping"),
            0x88 => assert_eq!(index + 1, frames.len(), "something follows the close"),
            other => panic!("{other:#x} was sent"),
        }
    }
}

/// The frames of a server: first byte and payload.
fn frames(mut bytes: &[u8]) -> Vec<(u8, &[u8])> {
    let mut frames = Vec::new();
    while !bytes.is_empty() {
        let len = usize::from(bytes[1]);
        assert!(len <= 125, "longer than anything that was sent, or masked");
        frames.push((bytes[0], &bytes[2..2 + len]));
        bytes = &bytes[2 + len..];
    }
    frames
}

/// A connection whose peer stalls now and then, and on which the server sends and asks: the peer knows the numbers of
/// barriers, and may answer what it was not asked.
fn converse(engine: &Arc<dyn Engine>, limit: usize, stream: &[u8], how: u8) {
    let (mut transport, mut far) = connect(engine, limit);
    let mut got = Vec::new();
    let (mut asked, mut answered) = (0, 0);
    for (index, portion) in portions(how.max(1), stream).enumerate() {
        far.stall(index % 3 == 1);
        far.put(portion);
        let before = got.len();
        receive(&mut transport, &mut got);
        for one in &got[before..] {
            if let Got::Barrier(number) = one {
                assert!(answered < *number && *number <= asked, "barrier {number} of {asked}");
                answered = *number;
            }
        }
        let accepted = if index % 2 == 0 {
            asked += 1;
            transport.start_send(Outgoing::Barrier(asked))
        } else {
            let frame = transport.framing().encode(&Message::from("hi"));
            transport.start_send(Outgoing::Frame(frame))
        };
        let accepted = accepted.expect("nothing was closed");
        let _ = poll(|cx| transport.poll_flush(cx));
        assert!(transport.written() <= accepted);
    }
    far.stall(false);
    far.end();
    receive(&mut transport, &mut got);
    let closed = matches!(got.last(), Some(Got::Close | Got::Error(Wrong::Closed)));
    assert!(closed || matches!(got.last(), Some(Got::Error(_))), "the end of the stream was not told");
    assert!(poll(|cx| transport.poll_close(cx)).is_some(), "the peer is done, and the close is not");
    frames(&read(&mut far));
}

//! Clients that break the protocol, on every engine.

use tok_ws::WsEngine;

use crate::support::{Gateway, RawWs, Tcp, Ws, frame, frame_head};

const LIMIT: usize = 1000;

#[tokio::test]
async fn wrong_frames_get_their_close_code_and_nothing_else() {
    let unmasked = |first: u8, payload: &[u8]| {
        let mut frame = vec![first, u8::try_from(payload.len()).unwrap()];
        frame.extend(payload);
        frame
    };
    let table = [
        ("2^62 bytes announced", frame_head(0x82, 1 << 62), 1009),
        ("one byte too many", frame(0x82, &[b'E'; LIMIT + 1]), 1009),
        ("too many bytes in fragments", [frame(0x02, &[b'E'; LIMIT]), frame(0x80, b"E")].concat(), 1009),
        ("unmasked", unmasked(0x81, b"E"), 1002),
        ("a reserved bit", frame(0xc1, b"E"), 1002),
        ("a reserved opcode", frame(0x83, b"E"), 1002),
        ("a reserved control opcode", frame(0x8b, b""), 1002),
        ("a continuation of nothing", frame(0x80, b"E"), 1002),
        ("a message inside a message", [frame(0x01, b"E"), frame(0x81, b"E")].concat(), 1002),
        ("a ping in fragments", frame(0x09, b""), 1002),
        ("a long ping", frame(0x89, &[0; 126]), 1002),
        ("a close code of one byte", frame(0x88, &[3]), 1002),
        ("a reserved close code", frame(0x88, &1005_u16.to_be_bytes()), 1002),
        ("text that is not UTF-8", frame(0x81, b"E\xff"), 1007),
        ("text that is not UTF-8 in fragments", [frame(0x01, b"E\xc3"), frame(0x80, b"(")].concat(), 1007),
    ];
    for engine in WsEngine::compiled() {
        let gateway = Gateway::start(&format!("--engine {engine} --max-message {LIMIT}")).await;
        for (what, bytes, code) in &table {
            let mut client = RawWs::login(gateway.ws(), "uid=bob").await;
            client.send(bytes).await;
            assert_eq!(client.until_close().await, (vec![], *code), "{what} on {engine}");
            client.ends().await;
        }
        // The largest message still passes.
        let mut client = Ws::settled(gateway.ws(), "uid=bob").await;
        let largest = "E".repeat(LIMIT);
        assert_eq!(client.ask(&largest).await, largest);
    }
}

#[tokio::test]
async fn a_message_in_fragments_with_a_ping_between_is_whole() {
    for engine in WsEngine::compiled() {
        let gateway = Gateway::start(&format!("--engine {engine}")).await;
        let mut client = RawWs::login(gateway.ws(), "uid=bob").await;
        client.send(&[frame(0x01, b"E h"), frame(0x89, b"?"), frame(0x80, "ö".as_bytes())].concat()).await;
        let mut frames = vec![client.next().await.unwrap(), client.next().await.unwrap()];
        frames.sort_unstable();
        assert_eq!(frames, [(0x81, "E hö".as_bytes().to_vec()), (0x8a, b"?".to_vec())], "{engine}");
    }
}

#[tokio::test]
async fn a_close_is_answered() {
    for engine in WsEngine::compiled() {
        let gateway = Gateway::start(&format!("--engine {engine}")).await;
        let mut client = RawWs::login(gateway.ws(), "uid=bob").await;
        client.send(&frame(0x88, &1000_u16.to_be_bytes())).await;
        assert_eq!(client.until_close().await, (vec![], 1000), "{engine}");
        client.ends().await;
    }
}

#[tokio::test]
async fn an_over_long_tcp_frame_is_an_error_and_the_end() {
    let gateway = Gateway::start(&format!("--max-message {LIMIT}")).await;
    for announced in [u32::try_from(LIMIT).unwrap() + 1, u32::MAX] {
        let mut client = Tcp::settled(gateway.tcp(), "bob").await;
        client.send_raw(&announced.to_be_bytes()).await;
        assert_eq!(client.rest().await, [format!("!error message over {LIMIT} bytes")]);
    }
    let mut client = Tcp::settled(gateway.tcp(), "bob").await;
    let largest = "E".repeat(LIMIT);
    assert_eq!(client.ask(&largest).await, largest);
}

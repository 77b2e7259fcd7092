use bytes::{BufMut, Bytes, BytesMut};
use tok_core::{CloseReason, MessageKind, transport::Framing};

use crate::guard::may_be_sent;

/// Keeps a message's own kind; text that is not valid UTF-8 goes out as binary. The default.
pub static AUTO: Framing = Framing::new("websocket", |kind, data| {
    let text = kind == MessageKind::Text && str::from_utf8(data).is_ok();
    encode(if text { TEXT_FRAME } else { BINARY_FRAME }, data)
});

/// Sends every message that is valid UTF-8 as text, whatever its kind, and the others as binary.
pub static TEXT: Framing = Framing::new("websocket-text", |_, data| {
    encode(if str::from_utf8(data).is_ok() { TEXT_FRAME } else { BINARY_FRAME }, data)
});

/// Sends every message as binary, whatever its kind.
pub static BINARY: Framing = Framing::new("websocket-binary", |_, data| encode(BINARY_FRAME, data));

// FIN and the opcode (RFC 6455 section 5.2): what a server sends is never fragmented and never masked.
const TEXT_FRAME: u8 = 0x81;
const BINARY_FRAME: u8 = 0x82;
const CLOSE_FRAME: u8 = 0x88;
const PING_FRAME: u8 = 0x89;

/// Control frames carry at most 125 bytes (RFC 6455 section 5.5), of which a close code takes two.
const MAX_REASON: usize = 123;

fn encode(head: u8, payload: &[u8]) -> Bytes {
    let header = match payload.len() {
        0..=125 => 2,
        126..=0xffff => 4,
        _ => 10,
    };
    // Room to spare would take a second piece of memory, to remember it.
    let mut frame = BytesMut::with_capacity(header + payload.len());
    frame.put_u8(head);
    match payload.len() {
        len @ 0..=125 => frame.put_u8(len as u8),
        len @ 126..=0xffff => {
            frame.put_u8(126);
            frame.put_u16(len as u16);
        }
        len => {
            frame.put_u8(127);
            frame.put_u64(len as u64);
        }
    }
    frame.put_slice(payload);
    frame.freeze()
}

/// A Ping that is only to be answered.
pub(crate) fn ping() -> Bytes {
    Bytes::from_static(&[PING_FRAME, 0])
}

/// A Ping that carries the number of a barrier; [`barrier_of`] reads it from the Pong.
pub(crate) fn barrier(number: u64) -> Bytes {
    encode(PING_FRAME, &number.to_be_bytes())
}

pub(crate) fn barrier_of(pong: &[u8]) -> Option<u64> {
    pong.try_into().ok().map(u64::from_be_bytes)
}

/// The goodbye for a reason; `None` for one whose code must not be sent (RFC 6455 section 7.4.1: 1005, 1006, 1015).
pub(crate) fn goodbye(reason: CloseReason) -> Option<Bytes> {
    if !may_be_sent(reason.code()) {
        return None;
    }
    // Names are ASCII; the cut only guards against a longer one being added.
    let name = reason.name();
    Some(close(reason.code(), name.get(..MAX_REASON).unwrap_or(name)))
}

/// The answer to a close frame: its code, or nothing where it had none.
pub(crate) fn close_answer(code: Option<u16>) -> Bytes {
    match code {
        Some(code) if may_be_sent(code) => close(code, ""),
        _ => encode(CLOSE_FRAME, &[]),
    }
}

fn close(code: u16, reason: &str) -> Bytes {
    let mut payload = BytesMut::with_capacity(2 + reason.len());
    payload.put_u16(code);
    payload.put_slice(reason.as_bytes());
    encode(CLOSE_FRAME, &payload)
}

#[cfg(test)]
mod tests {
    use tok_core::Message;

    use super::*;

    #[test]
    fn lengths_take_their_shortest_form() {
        for (len, header) in [
            (0, vec![0x82, 0]),
            (125, vec![0x82, 125]),
            (126, vec![0x82, 126, 0, 126]),
            (65_535, vec![0x82, 126, 0xff, 0xff]),
            (65_536, vec![0x82, 127, 0, 0, 0, 0, 0, 1, 0, 0]),
        ] {
            let frame = AUTO.encode(&Message::binary(vec![7; len])).into_bytes();
            assert_eq!(frame[..header.len()], header, "{len}");
            assert_eq!(frame.len(), header.len() + len);
        }
    }

    #[test]
    fn framings_choose_between_text_and_binary() {
        let (text, utf8, bytes) =
            (Message::from("ä"), Message::binary("ä"), Message::new(MessageKind::Text, vec![0xff]));
        let opcodes = |framing: &Framing| [&text, &utf8, &bytes].map(|m| framing.encode(m).bytes()[0]);
        assert_eq!(opcodes(&AUTO), [TEXT_FRAME, BINARY_FRAME, BINARY_FRAME]);
        assert_eq!(opcodes(&TEXT), [TEXT_FRAME, TEXT_FRAME, BINARY_FRAME]);
        assert_eq!(opcodes(&BINARY), [BINARY_FRAME; 3]);
    }

    #[test]
    fn codes_that_must_not_be_sent_are_not() {
        assert_eq!(goodbye(CloseReason::Disconnected), None);
        assert_eq!(goodbye(CloseReason::Sso).as_deref(), Some(&b"\x88\x05\x0f\xa0sso"[..]));
        assert_eq!(close_answer(None).as_ref(), [0x88, 0]);
        assert_eq!(close_answer(Some(1005)).as_ref(), [0x88, 0]);
    }
}

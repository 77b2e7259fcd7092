//! What a server makes of a client's WebSocket frames, written down as plainly as RFC 6455 says it: what the engines are
//! held against.

use crate::drive::{Got, Wrong};

/// Empty fragments that tok takes in one message.
const MAX_EMPTY_FRAGMENTS: usize = 1024;

/// What a stream gives, up to its first error or close, and the payloads of the Pings in it.
pub(crate) fn events(mut stream: &[u8], limit: usize) -> (Vec<Got>, Vec<Vec<u8>>) {
    let (mut got, mut pings) = (Vec::new(), Vec::new());
    let mut open: Option<Message> = None;
    while !got.last().is_some_and(Got::is_last) {
        let frame = match Frame::read(stream, open.as_ref(), limit) {
            Ok(Some(frame)) => frame,
            Ok(None) => break,
            Err(wrong) => {
                got.push(Got::Error(wrong));
                break;
            }
        };
        stream = &stream[frame.bytes..];
        match frame.opcode {
            8 if str::from_utf8(frame.payload.get(2..).unwrap_or_default()).is_err() => {
                got.push(Got::Error(Wrong::BadText));
            }
            8 => got.push(Got::Close),
            9 => {
                got.push(Got::Alive);
                pings.push(frame.payload);
            }
            // No barrier was sent.
            10 => got.push(Got::Alive),
            opcode => {
                let mut message = open.take().unwrap_or(Message { text: opcode == 1, ..Message::default() });
                message.empty += usize::from(frame.payload.is_empty() && !frame.fin);
                message.data.extend(frame.payload);
                if message.text && is_bad_text(&message.data, frame.fin) {
                    got.push(Got::Error(Wrong::BadText));
                } else if !frame.fin {
                    open = Some(message);
                } else if message.text {
                    got.push(Got::Text(message.data));
                } else {
                    got.push(Got::Binary(message.data));
                }
            }
        }
    }
    (got, pings)
}

/// Whether no more bytes can make it text.
fn is_bad_text(data: &[u8], whole: bool) -> bool {
    str::from_utf8(data).is_err_and(|error| whole || error.error_len().is_some())
}

/// A message of which fragments have come.
#[derive(Default)]
struct Message {
    text: bool,
    data: Vec<u8>,
    empty: usize,
}

struct Frame {
    fin: bool,
    opcode: u8,
    payload: Vec<u8>,
    /// With its header.
    bytes: usize,
}

impl Frame {
    /// The first frame, or `None` where it is not complete; a wrong one is refused as soon as that shows.
    fn read(stream: &[u8], open: Option<&Message>, limit: usize) -> Result<Option<Self>, Wrong> {
        let Some(&head) = stream.first() else { return Ok(None) };
        let (fin, reserved, opcode) = (head & 0x80 != 0, head & 0x70, head & 15);
        let control = opcode >= 8;
        let fits = match opcode {
            0 => open.is_some(),
            1 | 2 => open.is_none(),
            8..=10 => fin,
            _ => false,
        };
        if reserved != 0 || !fits {
            return Err(Wrong::Protocol);
        }

        let Some(&second) = stream.get(1) else { return Ok(None) };
        let masked = second & 0x80 != 0;
        let short = usize::from(second & 0x7f);
        if !masked || control && short > 125 || opcode == 8 && short == 1 {
            return Err(Wrong::Protocol);
        }
        let (len, mut at) = match short {
            126 => match stream.get(2..4) {
                Some(len) => (number(len), 4),
                None => return Ok(None),
            },
            127 => match stream.get(2..10) {
                Some(len) => (number(len), 10),
                None => return Ok(None),
            },
            _ => (short as u64, 2),
        };
        let shortest = match short {
            126 => len >= 126,
            127 => len > 0xffff && len >> 63 == 0,
            _ => true,
        };
        if !shortest {
            return Err(Wrong::Protocol);
        }
        if !control {
            let before = open.map_or(0, |message| message.data.len());
            if len > limit as u64 || before + len as usize > limit {
                return Err(Wrong::TooBig);
            }
            if len == 0 && !fin && open.is_some_and(|message| message.empty == MAX_EMPTY_FRAGMENTS) {
                return Err(Wrong::Protocol);
            }
        }

        let Some(mask) = stream.get(at..at + 4) else { return Ok(None) };
        at += 4;
        let masked = &stream[at..stream.len().min(at + len as usize)];
        let payload: Vec<u8> = masked.iter().enumerate().map(|(at, byte)| byte ^ mask[at % 4]).collect();
        if opcode == 8 && payload.len() >= 2 && !may_be_sent(number(&payload[..2])) {
            return Err(Wrong::Protocol);
        }
        let whole = payload.len() as u64 == len;
        Ok(whole.then_some(Self { fin, opcode, bytes: at + payload.len(), payload }))
    }
}

fn number(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0, |number, byte| number << 8 | u64::from(*byte))
}

/// The close codes of section 7.4, and those registered since.
fn may_be_sent(code: u64) -> bool {
    matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_examples_of_the_rfc() {
        // Section 5.7, "Hello" masked; then a Ping with the same.
        let hello = [0x81, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58];
        let ping = [&[0x89], &hello[1..]].concat();
        let (got, pings) = events(&[&hello[..], &ping].concat(), 5);
        assert_eq!(got, [Got::Text(b"Hello".to_vec()), Got::Alive]);
        assert_eq!(pings, [b"Hello"]);
        assert_eq!(events(&hello, 4).0, [Got::Error(Wrong::TooBig)]);
        assert_eq!(events(&hello[..10], 5).0, []);
        // Unmasked.
        assert_eq!(events(&[0x81, 5], 5).0, [Got::Error(Wrong::Protocol)]);
    }
}

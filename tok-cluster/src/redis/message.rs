//! What is published: a letter that says what it is, what that needs, and a frame.

use bytes::{Buf, Bytes};

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Message {
    /// To a node, which answers to the bus of this address.
    Request { id: u64, address: u64, frame: Bytes },
    /// To a bus: the answer to its request of this number.
    Answer { id: u64, frame: Bytes },
    /// To everybody.
    Notice { frame: Bytes },
    /// To oneself, to see that it comes back.
    Echo { number: u64 },
}

/// The most bytes of a message that are not its frame.
pub(super) const OVERHEAD: usize = 1 + 2 * size_of::<u64>();

impl Message {
    pub(super) fn encode(&self) -> Vec<u8> {
        let (letter, numbers, frame): (u8, &[u64], &[u8]) = match self {
            Self::Request { id, address, frame } => (b'Q', &[*id, *address], frame),
            Self::Answer { id, frame } => (b'A', &[*id], frame),
            Self::Notice { frame } => (b'N', &[], frame),
            Self::Echo { number } => (b'E', &[*number], &[]),
        };
        let mut bytes = Vec::with_capacity(1 + numbers.len() * 8 + frame.len());
        bytes.push(letter);
        numbers.iter().for_each(|number| bytes.extend(number.to_be_bytes()));
        bytes.extend(frame);
        bytes
    }

    /// `None` for what a node of this version never publishes.
    pub(super) fn decode(mut bytes: Bytes) -> Option<Self> {
        Some(match bytes.try_get_u8().ok()? {
            b'Q' => Self::Request {
                id: bytes.try_get_u64().ok()?,
                address: bytes.try_get_u64().ok()?,
                frame: bytes,
            },
            b'A' => Self::Answer { id: bytes.try_get_u64().ok()?, frame: bytes },
            b'N' => Self::Notice { frame: bytes },
            b'E' => Self::Echo { number: bytes.try_get_u64().ok()? },
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_come_back_as_they_went() {
        for frame in [Bytes::new(), Bytes::from_static(b"Q\0\r\n")] {
            for message in [
                Message::Request { id: 1, address: u64::MAX, frame: frame.clone() },
                Message::Answer { id: u64::MAX, frame: frame.clone() },
                Message::Notice { frame: frame.clone() },
                Message::Echo { number: 7 },
            ] {
                assert_eq!(Message::decode(message.encode().into()), Some(message));
            }
        }
    }

    #[test]
    fn what_others_publish_is_no_message() {
        for wrong in [&b""[..], b"X", b"Q1234567", b"Q123456781234567", b"A1234567", b"E"] {
            assert_eq!(Message::decode(Bytes::copy_from_slice(wrong)), None, "{wrong:?}");
        }
    }
}

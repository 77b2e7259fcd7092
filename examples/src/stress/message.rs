//! What is in a message: who sent it, which it is, when, and content that shows whether it is whole.

use std::fmt::{self, Write as _};

/// What a message says about itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Tag {
    /// The session that sent it; sessions of a round are numbered as they log in.
    pub(super) session: u32,
    /// Its number among all that this session sends: any receiver sees some of them, in rising order.
    pub(super) number: u32,
    /// When it was sent, on the driver's clock (nanoseconds).
    pub(super) sent: u64,
}

impl fmt::Display for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.session, self.number)
    }
}

/// A message: an operation as far as its content, then the content.
pub(super) fn encode(operation: &str, tag: Tag, padding: usize) -> Vec<u8> {
    let mut text = String::with_capacity(operation.len() + padding + 48);
    let Tag { session, number, sent } = tag;
    // Writing to a string does not fail.
    let _ = write!(text, "{operation}#{session}.{number}.{sent}.{padding}#");
    text.extend(std::iter::repeat_n(filling(number), padding));
    text.into_bytes()
}

/// The operation of a message and what it says about itself; `None` if anything of it is not as it was sent.
pub(super) fn decode(message: &[u8]) -> Option<(&str, Tag)> {
    let mut parts = str::from_utf8(message).ok()?.splitn(3, '#');
    let (operation, tag, content) = (parts.next()?, parts.next()?, parts.next()?);
    let mut numbers = tag.split('.');
    let session = numbers.next()?.parse().ok()?;
    let number = numbers.next()?.parse().ok()?;
    let sent = numbers.next()?.parse().ok()?;
    let padding: usize = numbers.next()?.parse().ok()?;
    let whole = content.len() == padding && content.chars().all(|c| c == filling(number));
    (whole && numbers.next().is_none()).then_some((operation, Tag { session, number, sent }))
}

/// Neighbours are filled differently, so that a mix of two does not pass for one.
fn filling(number: u32) -> char {
    char::from(b'a' + (number % 26) as u8)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TAG: Tag = Tag { session: 3, number: 17, sent: 123_456_789 };

    #[test]
    fn what_was_sent_is_understood() {
        for padding in [0, 1, 300] {
            assert_eq!(decode(&encode("Q60|bob|", TAG, padding)), Some(("Q60|bob|", TAG)));
        }
    }

    #[test]
    fn what_is_not_whole_is_noticed() {
        let message = encode("Tbob|", TAG, 20);
        for cut in 1..message.len() {
            assert_eq!(decode(&message[..cut]), None, "cut at {cut}");
        }
        let mut mixed = message.clone();
        mixed[message.len() - 3] += 1;
        assert_eq!(decode(&mixed), None);
        assert_eq!(decode(&[message.as_slice(), b"r"].concat()), None);
        assert_eq!(decode(b"\xff#1.1.1.0#"), None);
    }
}

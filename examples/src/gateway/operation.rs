//! What a client can ask the gateway for: the first byte of a message says what.

use std::{str, time::Duration};

use tok_core::Uid;

/// One message of a client, understood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Operation {
    /// `E…`: to every session of the sender's own user.
    Echo,
    /// `TUID|…`: to every session of a user, if online.
    Tell(Uid),
    /// `QTTL|UID|…`: to a user now, or later within the time.
    Queue(Uid, Duration),
    /// `B…`: to everybody who is online.
    Broadcast,
    /// `JROOM`.
    Join(String),
    /// `LROOM`.
    Leave(String),
    /// `RROOM|…`: to every connection in a room.
    Room(String),
    /// `KUID`.
    Kick(Uid),
    /// `OUID`.
    IsOnline(Uid),
    /// `N`.
    CountUsers,
}

/// Ends a user's id, a time and a room's name, so that none of them can contain it.
pub(super) const SEPARATOR: char = '|';

impl Operation {
    /// Reads a message; the error is for the client to read.
    pub(super) fn parse(message: &[u8]) -> Result<Self, &'static str> {
        let (code, rest) = message.split_first().ok_or("the message is empty")?;
        match code {
            b'E' => Ok(Self::Echo),
            b'T' => uid(part(rest)?.0).map(Self::Tell),
            b'Q' => {
                let (ttl, rest) = part(rest)?;
                let ttl = seconds(ttl)?;
                Ok(Self::Queue(uid(part(rest)?.0)?, ttl))
            }
            b'B' => Ok(Self::Broadcast),
            b'J' => room(rest).map(Self::Join),
            b'L' => room(rest).map(Self::Leave),
            b'R' => room(part(rest)?.0).map(Self::Room),
            b'K' => uid(rest).map(Self::Kick),
            b'O' => uid(rest).map(Self::IsOnline),
            b'N' if rest.is_empty() => Ok(Self::CountUsers),
            _ => Err("there is no such operation"),
        }
    }
}

/// What stands before the next separator, and what behind.
fn part(bytes: &[u8]) -> Result<(&[u8], &[u8]), &'static str> {
    let at = bytes.iter().position(|byte| *byte == SEPARATOR as u8).ok_or("a part is missing")?;
    Ok((&bytes[..at], &bytes[at + 1..]))
}

fn seconds(ttl: &[u8]) -> Result<Duration, &'static str> {
    const RULE: &str = "the TTL is not a whole number of seconds from 1 to 4294967295";
    // Only digits: u32 would also take a plus sign.
    let digits = str::from_utf8(ttl).ok().filter(|ttl| ttl.bytes().all(|byte| byte.is_ascii_digit()));
    match digits.and_then(|digits| digits.parse::<u32>().ok()) {
        None | Some(0) => Err(RULE),
        Some(seconds) => Ok(Duration::from_secs(seconds.into())),
    }
}

fn uid(bytes: &[u8]) -> Result<Uid, &'static str> {
    name(bytes).map(Uid::from).ok_or("a uid has 1 to 255 bytes of UTF-8 and no |")
}

fn room(bytes: &[u8]) -> Result<String, &'static str> {
    name(bytes).map(str::to_owned).ok_or("a room's name has 1 to 255 bytes of UTF-8 and no |")
}

fn name(bytes: &[u8]) -> Option<&str> {
    let name = str::from_utf8(bytes).ok()?;
    ((1..=Uid::MAX_BYTES).contains(&name.len()) && !name.contains(SEPARATOR)).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn operations_are_understood() {
        let table: [(&[u8], Operation); 13] = [
            (b"E", Operation::Echo),
            (b"Ehello", Operation::Echo),
            (b"Tbob|hi", Operation::Tell("bob".into())),
            (b"Tbob|", Operation::Tell("bob".into())),
            (b"Tbob|a|b\xff", Operation::Tell("bob".into())),
            (b"Q1|bob|hi", Operation::Queue("bob".into(), Duration::from_secs(1))),
            (b"Q4294967295|bob|", Operation::Queue("bob".into(), Duration::from_secs(u32::MAX.into()))),
            (b"Ball", Operation::Broadcast),
            (b"Jtea", Operation::Join("tea".to_owned())),
            (b"Ltea", Operation::Leave("tea".to_owned())),
            (b"Rtea|x", Operation::Room("tea".to_owned())),
            (b"Kbob", Operation::Kick("bob".into())),
            (b"Obob", Operation::IsOnline("bob".into())),
        ];
        for (message, operation) in table {
            assert_eq!(Operation::parse(message), Ok(operation));
        }
        assert_eq!(Operation::parse(b"N"), Ok(Operation::CountUsers));
    }

    #[test]
    fn everything_else_is_an_error() {
        let long = [b"K".as_slice(), &[b'x'; 256]].concat();
        for message in [
            &b""[..],
            b"x",
            b"\0",
            b"e",
            b"Nx",
            b"T",
            b"Tbob",
            b"T|hi",
            b"T\xff|hi",
            b"Q",
            b"Q1",
            b"Q1|bob",
            b"Q1||hi",
            b"Q|bob|hi",
            b"Q0|bob|hi",
            b"Q-1|bob|hi",
            b"Q+1|bob|hi",
            b"Q1.5|bob|hi",
            b"Q 1|bob|hi",
            b"Q4294967296|bob|hi",
            b"Q99999999999999999999|bob|hi",
            b"J",
            b"Ja|b",
            b"J\xff",
            b"L",
            b"R",
            b"Rtea",
            b"R|x",
            b"K",
            b"Ka|b",
            b"O",
            b"O\xff",
            &long,
        ] {
            assert!(Operation::parse(message).is_err(), "{:?}", message.escape_ascii().to_string());
        }
    }
}

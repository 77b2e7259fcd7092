//! What the messages of the stream hold.

use std::time::Duration;

use bytes::{Buf, BufMut, Bytes};
use tok_core::{Epoch, Uid};

use super::failure::Failure;
use crate::{NodeId, SessionRow};

const VERSION: u8 = 1;

/// A row as it is stored. The epoch of the newest is not known when it is written: it is the message's own place in
/// the stream, unless `epoch` is higher.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Row {
    pub(super) node: NodeId,
    pub(super) class: Option<String>,
    pub(super) epoch: u64,
    pub(super) is_new: bool,
}

impl Row {
    pub(super) fn of(row: &SessionRow) -> Self {
        let (node, class, epoch) = (row.node.clone(), row.class.clone(), row.epoch.get());
        Self { node, class, epoch, is_new: false }
    }

    pub(super) fn named(&self, uid: &Uid) -> SessionRow {
        let (node, class, epoch) = (self.node.clone(), self.class.clone(), Epoch::new(self.epoch));
        SessionRow { uid: uid.clone(), node, class, epoch }
    }
}

/// A user without rows is one byte, which stays for a moment.
pub(super) fn encode(rows: &[Row]) -> Bytes {
    let mut bytes = vec![VERSION];
    for row in rows {
        bytes.put_u8(u8::from(row.is_new) | u8::from(row.class.is_some()) << 1);
        bytes.put_u64(row.epoch);
        let token = row.node.to_token();
        for text in [Some(token.as_str()), row.class.as_deref()].into_iter().flatten() {
            // No text of 4 GiB fits in a message: such a one is refused when it is sent.
            bytes.put_u32(u32::try_from(text.len()).unwrap_or(u32::MAX));
            bytes.put_slice(text.as_bytes());
        }
    }
    bytes.into()
}

/// The rows of the message at `seq`.
pub(super) fn decode(seq: u64, bytes: &[u8]) -> Result<Vec<Row>, Failure> {
    rows(seq, bytes).ok_or_else(|| damaged(seq))
}

fn rows(seq: u64, mut bytes: &[u8]) -> Option<Vec<Row>> {
    if bytes.try_get_u8().ok()? != VERSION {
        return None;
    }
    let mut rows = Vec::new();
    while bytes.has_remaining() {
        let flags = bytes.try_get_u8().ok()?;
        let (is_new, has_class) = (flags & 1 != 0, flags & 2 != 0);
        let epoch = bytes.try_get_u64().ok()?;
        let node = NodeId::from_token(text(&mut bytes)?)?;
        let class = if has_class { Some(text(&mut bytes)?.to_owned()) } else { None };
        let epoch = if is_new { epoch.max(seq) } else { epoch };
        rows.push(Row { node, class, epoch, is_new: false });
    }
    Some(rows)
}

fn text<'a>(bytes: &mut &'a [u8]) -> Option<&'a str> {
    let len = usize::try_from(bytes.try_get_u32().ok()?).ok()?;
    let (text, rest) = bytes.split_at_checked(len)?;
    *bytes = rest;
    std::str::from_utf8(text).ok()
}

/// How long a lease is; zero when it was given back. `None` is that of a node which was forgotten.
pub(super) fn encode_lease(lease: Option<Duration>) -> Bytes {
    let mut bytes = vec![VERSION];
    if let Some(lease) = lease {
        bytes.put_u64(u64::try_from(lease.as_nanos()).unwrap_or(u64::MAX));
    }
    bytes.into()
}

pub(super) fn decode_lease(seq: u64, bytes: &[u8]) -> Result<Option<Duration>, Failure> {
    match bytes {
        [VERSION] => Ok(None),
        [VERSION, nanos @ ..] if nanos.len() == 8 => Ok(Some(Duration::from_nanos((&mut &*nanos).get_u64()))),
        _ => Err(damaged(seq)),
    }
}

fn damaged(seq: u64) -> Failure {
    Failure::Answer(format!("what is stored at {seq} is newer or damaged").into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(name: &str, class: Option<&str>, epoch: u64, is_new: bool) -> Row {
        Row { node: NodeId::new(name, 7).unwrap(), class: class.map(str::to_owned), epoch, is_new }
    }

    #[test]
    fn rows_come_back_and_the_new_one_has_its_place() {
        let rows =
            [row("a", Some("x"), 5, false), row("b", None, 6, true), row("c", Some(""), u64::MAX, true)];
        let read = decode(100, &encode(&rows)).unwrap();
        let expected =
            [row("a", Some("x"), 5, false), row("b", None, 100, false), row("c", Some(""), u64::MAX, false)];
        assert_eq!(read, expected);
        assert_eq!(decode(1, &encode(&[])).unwrap(), []);
    }

    #[test]
    fn leases_come_back() {
        for lease in [
            None,
            Some(Duration::ZERO),
            Some(Duration::from_millis(1500)),
            Some(Duration::from_nanos(u64::MAX)),
        ] {
            assert_eq!(decode_lease(1, &encode_lease(lease)).unwrap(), lease);
        }
        let longest = decode_lease(1, &encode_lease(Some(Duration::MAX))).unwrap();
        assert_eq!(longest, Some(Duration::from_nanos(u64::MAX)));
    }

    #[test]
    fn what_is_cut_off_or_newer_is_an_error() {
        let whole = encode(&[row("a", Some("class"), 5, false), row("b", None, 6, false)]);
        let boundary = encode(&[row("a", Some("class"), 5, false)]).len();
        for len in (0..whole.len()).filter(|len| ![1, boundary].contains(len)) {
            assert!(decode(1, &whole[..len]).is_err(), "{len} bytes");
        }
        assert!(decode(1, &[2]).is_err());
        for bytes in [&[][..], &[2], &[1, 0], &[1, 0, 0, 0, 0, 0, 0, 0, 0, 0]] {
            assert!(decode_lease(1, bytes).is_err(), "{bytes:?}");
        }
    }
}

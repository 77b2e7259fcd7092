//! The operations as scripts: the server runs each as one step.

use redis::Script;
use tok_core::queue::Entry;

use crate::record;

/// Where a record says whether it expires (0 if not), and its time.
const FLAGS_AT: usize = 2;
const TIME_AT: usize = record::HEADER - 8;

/// Bytes of an item before its record: the position.
pub(super) const SEQ_BYTES: usize = 8;

#[derive(Debug)]
pub(super) struct Scripts {
    pub(super) append: Script,
    pub(super) page: Script,
    pub(super) ack: Script,
    pub(super) expire: Script,
}

impl Scripts {
    pub(super) fn new() -> Self {
        // What frees memory runs also where there is none left.
        Self {
            append: script("", include_str!("append.lua")),
            page: script("flags=no-writes", include_str!("page.lua")),
            ack: script("flags=allow-oom", include_str!("ack.lua")),
            expire: script("flags=allow-oom", include_str!("expire.lua")),
        }
    }
}

fn script(flags: &str, body: &str) -> Script {
    let overhead = Entry::OVERHEAD as i64 - (SEQ_BYTES + record::HEADER) as i64;
    // Lua counts from 1.
    let (expires, time) = (SEQ_BYTES + FLAGS_AT + 1, SEQ_BYTES + TIME_AT + 1);
    Script::new(&format!(
        "#!lua {flags}\nlocal OVERHEAD, EXPIRES, TIME = {overhead}, {expires}, {time}\n{}{body}",
        include_str!("common.lua")
    ))
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use tok_core::{MessageId, MessageKind};

    use super::*;

    #[test]
    fn the_scripts_know_where_records_have_their_time() {
        for time in [None, Some(0x0102_0304_0506_0708)] {
            let id = MessageId::from_u128(u128::MAX);
            let entry = Entry { id, kind: MessageKind::Binary, data: Bytes::from_static(b"x"), ttl: None };
            let record = record::encode(&entry, time);
            assert_eq!(record[FLAGS_AT] != 0, time.is_some());
            assert_eq!(record[TIME_AT..TIME_AT + 8], time.unwrap_or(0).to_be_bytes());
            assert_eq!(record.len(), record::HEADER + 1);
        }
    }
}

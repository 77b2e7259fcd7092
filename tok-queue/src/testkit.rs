//! What only tests need.

use std::time::Duration;

use bytes::Bytes;

use crate::record::{decode, encode, millis_up};

/// Decodes any bytes as a record, for a fuzzer.
///
/// # Panics
/// When what a record says does not come back after it is written again.
#[doc(hidden)]
pub fn fuzz_record(bytes: &[u8]) {
    let record = Bytes::copy_from_slice(bytes);
    let Ok(entry) = decode(&record, Duration::from_millis) else { return };
    let again = encode(&entry, entry.ttl.map(millis_up));
    assert_eq!(again.len(), bytes.len());
    // The time of an entry that does not expire says nothing, so it need not be the same.
    assert_eq!((&again[..19], &again[27..]), (&bytes[..19], &bytes[27..]));
    assert_eq!(decode(&Bytes::from(again), Duration::from_millis), Ok(entry));
}

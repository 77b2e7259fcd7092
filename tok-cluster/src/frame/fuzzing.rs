use bytes::Bytes;

use super::{Body, Fault, Reply, Request};

/// Decodes any bytes as a request and as a reply, for a fuzzer.
///
/// # Panics
/// When what a frame says does not come back after it is written again.
pub fn fuzz_frame(bytes: &[u8]) {
    let frame = Bytes::copy_from_slice(bytes);
    match Request::decode(&frame) {
        Ok(request) => {
            let again = request.encode();
            // Reasons that this version does not know become one that it does.
            assert!(again == frame || matches!(request.body, Body::Kick { .. }), "{request:?}");
            assert_eq!(Request::decode(&again), Ok(request));
        }
        Err(fault) => refuse(fault),
    }
    match Reply::decode(&frame) {
        Ok(reply) => {
            assert_eq!(reply.encode(), frame, "{reply:?}");
            assert!(Request::decode(&frame).is_err(), "a frame that is both");
        }
        Err(fault) => refuse(fault),
    }
}

/// What the sender of such a frame is told, it understands.
fn refuse(fault: Fault) {
    let reply = Reply::Refused(fault);
    assert_eq!(Reply::decode(&reply.encode()), Ok(reply));
}

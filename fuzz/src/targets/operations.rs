// The file itself: the package around it brings servers, TLS and a cluster.
#[allow(dead_code)]
#[path = "../../../examples/src/gateway/operation.rs"]
mod operation;

use self::operation::Operation;

/// What clients ask the gateway for.
pub(crate) fn operations(data: &[u8]) {
    let Ok(operation) = Operation::parse(data) else { return };
    // Spelled from what was understood, with the same message behind it, it is the same operation.
    let after = |separators: usize| {
        let parts = data.splitn(separators + 1, |byte| *byte == b'|');
        parts.last().expect("a slice has a part")
    };
    let spelled = match &operation {
        Operation::Echo => [b"E", &data[1..]].concat(),
        Operation::Tell(uid) => [b"T", uid.as_str().as_bytes(), b"|", after(1)].concat(),
        Operation::Queue(uid, ttl) => {
            assert!(ttl.subsec_nanos() == 0 && (1..=u64::from(u32::MAX)).contains(&ttl.as_secs()));
            [b"Q", ttl.as_secs().to_string().as_bytes(), b"|", uid.as_str().as_bytes(), b"|", after(2)]
                .concat()
        }
        Operation::Broadcast => [b"B", &data[1..]].concat(),
        Operation::Join(room) => [b"J", room.as_bytes()].concat(),
        Operation::Leave(room) => [b"L", room.as_bytes()].concat(),
        Operation::Room(room) => [b"R", room.as_bytes(), b"|", after(1)].concat(),
        Operation::Kick(uid) => [b"K", uid.as_str().as_bytes()].concat(),
        Operation::IsOnline(uid) => [b"O", uid.as_str().as_bytes()].concat(),
        Operation::CountUsers => b"N".to_vec(),
    };
    assert_eq!(Operation::parse(&spelled).as_ref(), Ok(&operation));
    // All that may be left out of a spelling are zeros before a number.
    assert!(spelled == data || matches!(operation, Operation::Queue(..)) && spelled.len() < data.len());

    let name = match &operation {
        Operation::Tell(uid) | Operation::Queue(uid, _) | Operation::Kick(uid) | Operation::IsOnline(uid) => {
            uid.check().expect("an unusable uid");
            uid.as_str()
        }
        Operation::Join(room) | Operation::Leave(room) | Operation::Room(room) => room,
        _ => return,
    };
    assert!((1..=255).contains(&name.len()) && !name.contains('|'));
}

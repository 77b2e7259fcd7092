use tok_core::{AppCode, MessageId, testkit::sim::Rng};

use super::*;

fn node() -> NodeId {
    NodeId::new("node-1", 0xfeed).unwrap()
}

fn message(data: &'static [u8]) -> Message {
    Message::binary(data).with_id(MessageId::from_u128(u128::MAX - 7))
}

fn now(message: Message, after: Option<Seq>) -> Delivery {
    Delivery::Now { message, after }
}

fn bodies() -> Vec<Body> {
    let odd = ["a", "a.b", "*", ">", "\u{1f980}", "a b\r\n", &"x".repeat(255)].map(Uid::from);
    let mut bodies = vec![Body::Probe, Body::Hello, Body::Bye];
    for uid in odd {
        bodies.push(Body::Deliver {
            uid: uid.clone(),
            delivery: now(message(b"\0\xffdata"), Some(Seq::new(7))),
        });
        bodies.push(Body::Deliver { uid: uid.clone(), delivery: now(Message::text(""), None) });
        bodies.push(Body::Deliver { uid: uid.clone(), delivery: Delivery::Stored(Seq::new(u64::MAX)) });
        bodies.push(Body::Claimed { uid: uid.clone(), class: None, epoch: Epoch::new(1) });
        bodies.push(Body::Claimed {
            uid: uid.clone(),
            class: Some(String::new()),
            epoch: Epoch::new(u64::MAX),
        });
        let (target, reason) = (Target::Device("d\u{e9}sk".into()), CloseReason::Sso);
        bodies.push(Body::Kick { uid: uid.clone(), target, reason });
        let reason = CloseReason::Application(AppCode::new(4100).unwrap());
        bodies.push(Body::Kick { uid: uid.clone(), target: Target::All, reason });
        bodies.push(Body::Online { uid });
    }
    bodies.push(Body::Publish { audience: Audience::Everyone, message: message(b"all") });
    bodies.push(Body::Publish { audience: Audience::Room("tea \u{2615}".into()), message: message(b"") });
    bodies
}

fn requests() -> impl Iterator<Item = Request> {
    bodies().into_iter().zip([0, 1, u64::MAX].into_iter().cycle()).map(|(body, id)| Request {
        from: node(),
        id,
        body,
    })
}

fn replies() -> Vec<Reply> {
    vec![
        Reply::Taken { sessions: 3, others: vec![] },
        Reply::Taken { sessions: u32::MAX, others: vec![node(), NodeId::new("b", 0).unwrap()] },
        Reply::NotHere,
        Reply::Busy,
        Reply::Ended(vec![]),
        Reply::Ended(vec![Epoch::new(7), Epoch::new(u64::MAX)]),
        Reply::Online(true),
        Reply::Online(false),
        Reply::Done,
        Reply::Refused(Fault::Malformed),
        Reply::Refused(Fault::Version { understood: 9 }),
    ]
}

#[test]
fn what_is_written_is_read() {
    for request in requests() {
        assert_eq!(Request::decode(&request.encode()), Ok(request));
    }
    for reply in replies() {
        assert_eq!(Reply::decode(&reply.encode()), Ok(reply));
    }
}

fn kick(reason: CloseReason) -> Request {
    let body = Body::Kick { uid: Uid::from("u"), target: Target::All, reason };
    Request { from: node(), id: 1, body }
}

#[test]
fn every_close_reason_crosses() {
    let application = CloseReason::Application(AppCode::new(4999).unwrap());
    for reason in CloseReason::ALL.iter().copied().chain([application]) {
        assert_eq!(Request::decode(&kick(reason).encode()), Ok(kick(reason)));
    }
}

/// Clients come back after a reason that tells them nothing; `kicked` would tell them not to.
#[test]
fn an_unknown_close_reason_is_read_as_disconnected() {
    let mut frame = kick(CloseReason::Kicked).encode().to_vec();
    let at = frame.windows(6).position(|name| name == b"kicked").unwrap();
    frame[at..at + 6].copy_from_slice(b"future");
    assert_eq!(Request::decode(&frame.into()), Ok(kick(CloseReason::Disconnected)));
}

/// The bytes of version 1, which other nodes run.
#[test]
fn the_bytes_do_not_change() {
    let body = Body::Deliver { uid: "bob".into(), delivery: now(Message::text("hi"), None) };
    let request = Request { from: NodeId::new("n", 2).unwrap(), id: 3, body };
    let expected: &[u8] = b"T\x01\x01\0\0\0\0\0\0\0\x03\0\0\0\0\0\0\0\x02\0\0\0\x01n\
        \0\0\0\x03bob\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0hi";
    assert_eq!(request.encode(), expected);
    assert_eq!(Reply::Taken { sessions: 1, others: vec![] }.encode(), &b"t\x01\0\0\0\0\x01\0\0\0\0"[..]);
}

#[test]
fn another_version_is_told_apart_from_nonsense() {
    let mut frame = Request { from: node(), id: 1, body: Body::Probe }.encode().to_vec();
    frame[1] = 2;
    // Whatever another version has after its first two bytes.
    for frame in [frame.clone(), vec![b'T', 2], vec![b'T', 0, 9, 9]] {
        assert_eq!(Request::decode(&frame.into()), Err(Fault::Version { understood: VERSION }));
    }
    for nonsense in [&b""[..], b"T", b"x\x01", b"{\"json\":1}", b"t\x01"] {
        assert_eq!(Request::decode(&Bytes::from_static(nonsense)), Err(Fault::Malformed));
    }
}

/// A frame that was cut short is never taken for a whole one, except where only its message's data were cut.
#[test]
fn truncated_frames_are_refused() {
    for request in requests() {
        let frame = request.encode();
        for len in 0..frame.len() {
            match Request::decode(&frame.slice(..len)) {
                Err(_) => {}
                Ok(short) => {
                    let data = match &short.body {
                        Body::Deliver { delivery: Delivery::Now { message, .. }, .. }
                        | Body::Publish { message, .. } => message.data(),
                        other => panic!("{len} of {} bytes read as {other:?}", frame.len()),
                    };
                    assert!(frame[..len].ends_with(data));
                }
            }
        }
    }
    for reply in replies() {
        let frame = reply.encode();
        for len in 0..frame.len() {
            assert!(Reply::decode(&frame.slice(..len)).is_err());
        }
        let mut longer = frame.to_vec();
        longer.push(0);
        assert!(Reply::decode(&longer.into()).is_err());
    }
}

/// Whatever bits flip, decoding neither panics nor makes more of a frame than it holds.
#[test]
fn flipped_bits_and_noise_are_survived() {
    let frames: Vec<Bytes> =
        requests().map(|request| request.encode()).chain(replies().iter().map(Reply::encode)).collect();
    let check = |frame: &Bytes| {
        if let Ok(request) = Request::decode(frame) {
            assert!(request.encode().len() <= frame.len() + 64);
        }
        if let Ok(Reply::Taken { others, .. }) = Reply::decode(frame) {
            assert!(others.len() <= frame.len());
        }
    };
    for frame in &frames {
        for bit in 0..frame.len() * 8 {
            let mut flipped = frame.to_vec();
            flipped[bit / 8] ^= 1 << (bit % 8);
            check(&flipped.into());
        }
    }
    let mut rng = Rng::new(1);
    for _ in 0..20_000 {
        let len = usize::try_from(rng.below(80)).unwrap();
        let mut noise: Vec<u8> = (0..len).map(|_| u8::try_from(rng.below(256)).unwrap()).collect();
        if noise.len() > 2 && rng.below(2) == 0 {
            (noise[0], noise[1], noise[2]) = (b'T', 1, u8::try_from(rng.below(9)).unwrap());
        }
        check(&noise.into());
    }
}

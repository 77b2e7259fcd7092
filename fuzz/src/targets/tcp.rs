use std::borrow::Cow;

use bytes::Bytes;
use tok_core::{
    Device, Message,
    testkit::byte_pair,
    transport::{PeerAddr, TransportError},
};
use tok_tcp::{Decoder, FRAMING, Login, TcpTransport};

use crate::{
    drive::{Got, Wrong, receive},
    input::{Input, portions},
};

/// The frame decoder, and a connection that reads through it.
pub(crate) fn frames(data: &[u8]) {
    let mut input = Input::new(data);
    let (limit, how, confirms) = (input.number(), input.byte(), input.byte() & 1 == 1);
    let stream = input.rest();

    let (frames, verdict) = decode(limit, [stream].into_iter());
    assert_eq!(decode(limit, portions(how, stream)), (frames.clone(), verdict), "in portions");

    // Encoded again they are the stream's beginning, and what follows says why there is no more.
    let again: Vec<u8> = frames.iter().flat_map(|frame| encode(frame)).collect();
    let rest = stream.strip_prefix(&*again).expect("frames that were not sent");
    let announced = rest.first_chunk::<4>().map(|head| u32::from_be_bytes(*head) as usize);
    match announced {
        Some(len) if len > limit => assert_eq!(verdict, Verdict::TooBig),
        Some(len) => assert!(verdict == Verdict::Inside && rest.len() < 4 + len, "a frame was left behind"),
        None if rest.is_empty() => assert_eq!(verdict, Verdict::Between),
        None => assert_eq!(verdict, Verdict::Inside),
    }
    assert!(frames.iter().all(|frame| frame.len() <= limit));

    let (near, far) = byte_pair(1);
    let mut transport = TcpTransport::new(near, limit, confirms);
    let mut got = Vec::new();
    for portion in portions(how, stream) {
        far.put(portion);
        receive(&mut transport, &mut got);
    }
    far.end();
    receive(&mut transport, &mut got);
    let mut expected: Vec<Got> = frames
        .into_iter()
        .map(|frame| if confirms && frame.is_empty() { Got::Alive } else { Got::Binary(frame) })
        .collect();
    expected.push(match verdict {
        Verdict::TooBig => Got::Error(Wrong::TooBig),
        Verdict::Inside => Got::Error(Wrong::Closed),
        Verdict::Between => Got::Close,
    });
    assert_eq!(got, expected);
}

/// How a stream of frames ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Between,
    Inside,
    TooBig,
}

fn decode<'a>(limit: usize, portions: impl Iterator<Item = &'a [u8]>) -> (Vec<Vec<u8>>, Verdict) {
    let mut decoder = Decoder::new(limit);
    let mut frames = Vec::new();
    for mut portion in portions {
        loop {
            match decoder.decode(&mut portion) {
                Ok(Some(frame)) => frames.push(frame.to_vec()),
                Ok(None) => break,
                Err(TransportError::TooBig { limit: said }) => {
                    assert_eq!(said, limit);
                    assert!(decoder.decode(&mut &b"\0\0\0\0"[..]).is_err(), "it went on after an error");
                    return (frames, Verdict::TooBig);
                }
                Err(other) => panic!("not an error of frames: {other}"),
            }
        }
        assert!(portion.is_empty(), "bytes were left");
    }
    (frames, if decoder.is_between_frames() { Verdict::Between } else { Verdict::Inside })
}

fn encode(payload: &[u8]) -> Bytes {
    FRAMING.encode(&Message::from(payload)).into_bytes()
}

/// The first frame of a connection.
pub(crate) fn login(data: &[u8]) {
    let login = Login::new(Bytes::copy_from_slice(data), PeerAddr::Unix);
    assert_eq!(login.frame(), data);
    let form: Vec<(Cow<'_, str>, Cow<'_, str>)> = form_urlencoded::parse(data).collect();
    let first = |key: &str| form.iter().find(|(name, _)| name == key).map(|(_, value)| value.as_ref());

    // As keys are written, and not as they may be spelled: a name that looks like an odd form is a name.
    let is_form = data.split(|byte| *byte == b'&').any(|part| {
        [&b"uid="[..], b"device=", b"token=", b"confirm="].iter().any(|key| part.starts_with(key))
    });
    if is_form {
        match login.uid() {
            Some(uid) => assert_eq!(Some(uid.as_ref()), first("uid")),
            // It stands where bytes are not UTF-8.
            None => assert!(first("uid").is_none_or(|uid| uid.contains('\u{fffd}'))),
        }
        for (key, value) in [("device", login.device_id()), ("token", login.token())] {
            assert_eq!(value.as_deref(), first(key));
        }
        assert_eq!(login.confirm(), first("confirm") == Some("1"));
    } else {
        assert_eq!(login.uid().as_deref(), str::from_utf8(data).ok());
        assert!(!login.confirm() && login.token().is_none() && login.device_id().is_none());
    }

    let Ok(device) = login.device() else {
        let unusable_uid = login.uid().is_none_or(|uid| uid.is_empty() || uid.len() > 255);
        let id = login.field_bytes("device").unwrap_or_default();
        let unusable_id = id.len() > Device::MAX_ID_BYTES || str::from_utf8(&id).is_err();
        assert!(unusable_uid || unusable_id, "refused without a reason");
        return;
    };
    device.uid().check().expect("a device with an unusable uid");
    // Written as a form, it is the same login.
    let mut form = form_urlencoded::Serializer::new(String::new());
    form.append_pair("uid", device.uid().as_str()).append_pair("device", device.id());
    let again = Login::new(form.finish().into(), PeerAddr::Unix).device().expect("the same login");
    assert_eq!((again.uid(), again.id()), (device.uid(), device.id()));
}

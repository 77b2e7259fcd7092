use std::{
    future::pending,
    io,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use tok_core::{
    Actor, Device, Hub, Message, Refusal, Session, async_trait,
    rt::Runtime,
    testkit::{
        ByteEnd, byte_pair,
        sim::{Sim, SimRuntime},
    },
    transport::{Accept, PeerAddr},
};
use tok_ws::{UpgradeHead, WsHandler};

use crate::{
    drive::read,
    input::{Input, portions},
};

/// A connection to a WebSocket server from its first byte, answered by [`tok_ws::serve`] in the simulator.
pub(crate) fn upgrade(data: &[u8]) {
    let mut input = Input::new(data);
    let how = input.byte();
    let stream = input.rest();
    let answer = converse(stream, 0);
    let in_portions = converse(stream, how);
    // hyper looks at a head again when it is complete: one that is wrong and never ends is refused, or waited for. Empty
    // lines before it do not count.
    let head = stream.trim_ascii_start();
    let waits = in_portions.is_empty() && !contains(head, b"\n\n") && !contains(head, b"\r\n\r\n");
    assert!(waits || in_portions == answer, "in portions {how}: {}", in_portions.escape_ascii());
    if answer.is_empty() {
        return;
    }

    // Whoever asks in HTTP/1.0 is answered in it.
    let rest = answer.strip_prefix(b"HTTP/1.1 ").or_else(|| answer.strip_prefix(b"HTTP/1.0 "));
    let status = rest.and_then(|rest| str::from_utf8(rest.get(..3)?).ok());
    match status.expect("an answer is HTTP") {
        "101" => check_upgrade(stream, &answer),
        "400" | "401" | "403" | "404" | "405" | "414" | "426" | "431" | "503" | "505" => {
            assert!(!contains(&answer, b"sec-websocket-accept"), "a refusal that accepts");
        }
        other => panic!("answered with {other}"),
    }
}

/// A client that got a 101 has asked for it in all the words of RFC 6455 section 4.1.
fn check_upgrade(stream: &[u8], answer: &[u8]) {
    let request = stream.to_ascii_lowercase();
    assert!(contains(stream, b"GET "));
    for word in
        [&b"upgrade"[..], b"websocket", b"connection", b"sec-websocket-key", b"sec-websocket-version", b"13"]
    {
        assert!(contains(&request, word), "{}", word.escape_ascii());
    }
    let answer = answer.to_ascii_lowercase();
    for word in
        [&b"\r\nconnection: upgrade\r\n"[..], b"\r\nupgrade: websocket\r\n", b"\r\nsec-websocket-accept: "]
    {
        assert!(contains(&answer, word), "{}", word.escape_ascii());
    }
}

fn contains(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}

/// What the server answers to these bytes, without the line that tells the time.
fn converse(stream: &[u8], how: u8) -> Vec<u8> {
    let sim = Sim::new(1);
    let rt = sim.runtime();
    let answer = sim.run(client(rt, stream, how)).expect("a server that goes on");
    match answer.windows(6).position(|window| window == b"date: ") {
        Some(at) => {
            let end =
                answer[at..].iter().position(|byte| *byte == b'\n').map_or(answer.len(), |end| at + end);
            [&answer[..at], &answer[end..]].concat()
        }
        None => answer,
    }
}

async fn client(rt: SimRuntime, stream: &[u8], how: u8) -> Vec<u8> {
    let hub = Hub::builder(Echo).runtime(rt.clone()).build().expect("the defaults work");
    let handler = WsHandler::builder(hub, authenticate)
        .subprotocols(["v1", "v2"].map(|name| name.parse().expect("a header's value")))
        .path("/ws")
        .build()
        .expect("a handler that works");
    let (near, mut far) = byte_pair(1 << 20);
    let listener = One(Mutex::new(Some(near)));
    rt.spawn("server", Box::pin(tok_ws::serve(listener, handler)));
    for portion in portions(how, stream) {
        far.put(portion);
        // Everything else runs until it waits.
        rt.sleep(Duration::from_micros(1)).await;
    }
    far.end();
    rt.sleep(Duration::from_secs(1)).await;
    read(&mut far)
}

/// Looks at everything that a request says.
async fn authenticate(head: UpgradeHead) -> Result<Device, Refusal> {
    assert_eq!(head.path(), "/ws");
    assert_eq!(head.remote_addr(), Some(PeerAddr::Unix));
    let chosen = head.subprotocol();
    assert!(chosen.is_none_or(|chosen| head.subprotocols().any(|offered| offered == chosen)));
    let pairs: Vec<_> = head.query_pairs().collect();
    for (name, _) in &pairs {
        let first = pairs.iter().find(|(other, _)| other == name).map(|(_, value)| value);
        assert_eq!(head.query(name).as_ref(), first);
    }
    assert!(!format!("{head:?}").contains("secret"));
    let uid = head.query("uid").ok_or_else(|| Refusal::unauthorized("no uid"))?;
    Ok(Device::new(uid.as_ref()))
}

/// A listener with one connection.
struct One(Mutex<Option<ByteEnd>>);

impl Accept for One {
    type Stream = ByteEnd;

    async fn accept(&self) -> io::Result<(ByteEnd, PeerAddr)> {
        let next = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        match next {
            Some(stream) => Ok((stream, PeerAddr::Unix)),
            None => pending().await,
        }
    }
}

struct Echo;

#[async_trait]
impl Actor for Echo {
    async fn on_receive(&self, session: &Session, message: Message) {
        let _ = session.send(message);
    }
}

//! A WebSocket on a stream of HTTP/2 (RFC 8441), under a server of somebody else's.
use bytes::Bytes;
use http::{Method, Request, Response};
use http_body_util::Empty;
use hyper::{body::Incoming, client::conn::http2::SendRequest, ext::Protocol};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::server::{builder, hub, within};

/// A client of a server in the same process.
async fn connect() -> SendRequest<Empty<Bytes>> {
    let (ours, theirs) = tokio::io::duplex(64 * 1024);
    let handler = builder(hub()).path("/ws").build().unwrap();
    tokio::spawn(
        hyper::server::conn::http2::Builder::new(TokioExecutor::new())
            .enable_connect_protocol()
            .serve_connection(TokioIo::new(theirs), handler),
    );
    let io = TokioIo::new(ours);
    let (mut client, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), io).await.unwrap();
    tokio::spawn(connection);
    // An answer to something else shows that the server's settings are here, without which the client may not ask.
    let plain = Request::get("http://chat.example/ws").body(Empty::new()).unwrap();
    assert_eq!(client.send_request(plain).await.unwrap().status(), 505);
    client
}

async fn ask(
    client: &mut SendRequest<Empty<Bytes>>,
    uri: &str,
    protocol: &'static str,
    headers: &[(&str, &str)],
) -> Response<Incoming> {
    let mut request = Request::builder().method(Method::CONNECT).uri(uri);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let mut request = request.body(Empty::new()).unwrap();
    request.extensions_mut().insert(Protocol::from_static(protocol));
    within(client.send_request(request)).await.unwrap()
}

#[tokio::test]
async fn extended_connect_is_served() {
    let mut client = connect().await;
    let headers = [("sec-websocket-version", "13"), ("origin", "http://chat.example")];
    let response = ask(&mut client, "http://chat.example/ws?uid=alice", "websocket", &headers).await;
    assert_eq!(response.status(), 200);
    assert!(!response.headers().contains_key("sec-websocket-accept"));
    let mut socket = TokioIo::new(hyper::upgrade::on(response).await.unwrap());
    socket.write_all(&[0x81, 0x82, 0, 0, 0, 0, b'h', b'i']).await.unwrap();
    let mut echo = [0; 4];
    within(socket.read_exact(&mut echo)).await.unwrap();
    assert_eq!(&echo, b"\x81\x02hi");
    socket.write_all(&[0x88, 0x80, 0, 0, 0, 0]).await.unwrap();
    let mut close = Vec::new();
    within(socket.read_to_end(&mut close)).await.unwrap();
    assert_eq!(close, b"\x88\x00");
}

#[tokio::test]
async fn defects_have_the_same_status_as_on_http1() {
    let mut client = connect().await;
    let good = "http://chat.example/ws?uid=alice";
    let thirteen = ("sec-websocket-version", "13");
    type Row<'a> = (&'a str, &'static str, &'a [(&'a str, &'a str)], u16);
    let table: &[Row<'_>] = &[
        ("http://chat.example/", "websocket", &[thirteen], 404),
        (good, "websocket", &[], 400),
        (good, "websocket", &[("sec-websocket-version", "8")], 426),
        (good, "connect-udp", &[thirteen], 405),
        (good, "websocket", &[thirteen, ("origin", "http://evil.example")], 403),
        ("http://chat.example/ws?uid=mallory", "websocket", &[thirteen], 401),
    ];
    for (uri, protocol, headers, status) in table {
        assert_eq!(
            ask(&mut client, uri, protocol, headers).await.status(),
            *status,
            "{uri} {protocol} {headers:?}"
        );
    }
}

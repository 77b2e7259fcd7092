//! Over HTTP/2 (RFC 8441), on the same port and in the same router as over HTTP/1.1: axum does it with its feature
//! `http2`, tok-ws with the feature of the same name.

use axum::Router;
use bytes::Bytes;
use http::{Method, Request, Version};
use http_body_util::Empty;
use hyper::{client::conn::http2, ext::Protocol};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tok_ws::WsHandler;
use tokio::net::TcpStream;
use tokio_tungstenite::{WebSocketStream, tungstenite::protocol::Role};

use super::support::{ask, by_query, connect, hub, listener, patiently};

#[tokio::test]
async fn one_connection_of_http2_carries_several_websockets() {
    let listener = listener().await;
    let addr = listener.local_addr().unwrap();
    let handler = WsHandler::builder(hub(), by_query).build().unwrap();
    // Over HTTP/1.1 it is a GET, over HTTP/2 a CONNECT: `route_service` takes every method.
    let router = Router::new().route_service("/ws", handler);
    tokio::spawn(async move { axum::serve(listener, router).await });

    let io = TokioIo::new(TcpStream::connect(addr).await.unwrap());
    let (mut http, connection) = http2::handshake(TokioExecutor::new(), io).await.unwrap();
    tokio::spawn(connection);
    // A client may ask once it has the server's settings, as it has when it has any answer.
    let other = Request::get(format!("http://{addr}/nothing")).body(Empty::<Bytes>::new()).unwrap();
    let other = patiently("an answer", http.send_request(other)).await.unwrap();
    assert_eq!((other.status().as_u16(), other.version()), (404, Version::HTTP_2));

    let mut clients = Vec::new();
    for name in ["alice", "bob"] {
        let request = Request::builder()
            .method(Method::CONNECT)
            .uri(format!("http://{addr}/ws?uid={name}"))
            .extension(Protocol::from_static("websocket"))
            .header("sec-websocket-version", "13")
            .body(Empty::new())
            .unwrap();
        let response = patiently("an answer", http.send_request(request)).await.unwrap();
        assert_eq!(response.status(), 200);
        let stream = TokioIo::new(hyper::upgrade::on(response).await.unwrap());
        clients.push(WebSocketStream::from_raw_socket(stream, Role::Client, None).await);
    }
    let large = "x".repeat(40_000);
    assert_eq!(ask(&mut clients[0], &large).await, format!("alice: {large}"));
    assert_eq!(ask(&mut clients[1], "hi").await, "bob: hi");

    let mut over_http1 = connect(format!("ws://{addr}/ws?uid=carol")).await;
    assert_eq!(ask(&mut over_http1, "hi").await, "carol: hi");
}

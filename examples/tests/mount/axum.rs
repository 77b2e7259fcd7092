//! In a router of axum, next to other routes. With tok-ws's feature `axum` the authenticator sees the client's address,
//! if the router is served with it.

use std::net::SocketAddr;

use axum::{Router, routing::get};
use tok_core::{Device, Hub, Refusal, transport::PeerAddr};
use tok_ws::{UpgradeHead, WsConfigError, WsHandler};
use tokio_tungstenite::connect_async;

use super::support::{ask, connect, hub, listener, status};

fn router(hub: Hub) -> Result<Router, WsConfigError> {
    let handler = WsHandler::builder(hub, by_address).build()?;
    Ok(Router::new().route_service("/chat/{room}", handler).route("/health", get(|| async { "fine" })))
}

/// Names everybody after the room in the path and the address.
async fn by_address(head: UpgradeHead) -> Result<Device, Refusal> {
    let room = head.path().rsplit('/').next().unwrap_or_default();
    match head.remote_addr() {
        Some(PeerAddr::Ip(addr)) => Ok(Device::new(format!("{} in {room}", addr.ip()))),
        _ => Err(Refusal::unauthorized("who are you?")),
    }
}

#[tokio::test]
async fn a_router_serves_websockets_and_other_routes() {
    let listener = listener().await;
    let addr = listener.local_addr().unwrap();
    let app = router(hub()).unwrap().into_make_service_with_connect_info::<SocketAddr>();
    tokio::spawn(async move { axum::serve(listener, app).await });

    let mut client = connect(format!("ws://{addr}/chat/tea")).await;
    assert_eq!(ask(&mut client, "hi").await, "127.0.0.1 in tea: hi");
    // No WebSocket is there, which a client of WebSockets can tell from the status.
    assert_eq!(status(connect_async(format!("ws://{addr}/health")).await), 200);
    assert_eq!(status(connect_async(format!("ws://{addr}/nothing")).await), 404);
}

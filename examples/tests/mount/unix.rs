//! On a Unix socket, for a proxy on the same machine, with no router at all: `tok_ws::serve` takes any listener.

use tok_ws::WsHandler;
use tokio::net::{UnixListener, UnixStream};
use tokio_tungstenite::client_async;

use super::support::{ask, by_query, hub, patiently};

#[tokio::test]
async fn a_unix_socket_is_served_without_a_router() {
    let folder = std::env::temp_dir().join(format!("tok-mount-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let path = folder.join("ws.sock");
    let handler = WsHandler::builder(hub(), by_query).path("/ws").build().unwrap();
    tokio::spawn(tok_ws::serve(UnixListener::bind(&path).unwrap(), handler));

    let stream = UnixStream::connect(&path).await.unwrap();
    let handshake = client_async("ws://chat.example/ws?uid=alice", stream);
    let (mut client, _) = patiently("the handshake", handshake).await.unwrap();
    assert_eq!(ask(&mut client, "hi").await, "alice: hi");
    std::fs::remove_dir_all(&folder).unwrap();
}

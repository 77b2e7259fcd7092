//! In plain hyper, whose connections have to be served `with_upgrades`.

use std::convert::Infallible;

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::Full;
use hyper::{
    body::Incoming,
    server::conn::http1,
    service::{Service, service_fn},
};
use hyper_util::rt::TokioIo;
use tok_ws::WsHandler;
use tokio::net::TcpListener;
use tokio_tungstenite::connect_async;

use super::support::{ask, by_query, connect, hub, listener, status};

async fn serve(listener: TcpListener, handler: WsHandler) -> std::io::Result<()> {
    loop {
        let (stream, _) = listener.accept().await?;
        let handler = handler.clone();
        let service = service_fn(move |request| route(request, handler.clone()));
        let connection =
            http1::Builder::new().serve_connection(TokioIo::new(stream), service).with_upgrades();
        // A connection that breaks ends its session, and there is nothing to add to that.
        tokio::spawn(async move { drop(connection.await) });
    }
}

async fn route(request: Request<Incoming>, handler: WsHandler) -> Result<Response<Full<Bytes>>, Infallible> {
    match request.uri().path() {
        "/ws" => handler.call(request).await,
        "/" => Ok(Response::new(Full::from("hello"))),
        _ => {
            let mut response = Response::new(Full::default());
            *response.status_mut() = StatusCode::NOT_FOUND;
            Ok(response)
        }
    }
}

#[tokio::test]
async fn a_service_of_ones_own_serves_websockets_and_the_rest() {
    let listener = listener().await;
    let addr = listener.local_addr().unwrap();
    let handler = WsHandler::builder(hub(), by_query).build().unwrap();
    tokio::spawn(serve(listener, handler));

    let mut client = connect(format!("ws://{addr}/ws?uid=alice")).await;
    assert_eq!(ask(&mut client, "hi").await, "alice: hi");
    assert_eq!(status(connect_async(format!("ws://{addr}/ws")).await), 400);
    assert_eq!(status(connect_async(format!("ws://{addr}/")).await), 200);
    assert_eq!(status(connect_async(format!("ws://{addr}/nothing")).await), 404);
}

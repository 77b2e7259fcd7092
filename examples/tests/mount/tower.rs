//! Behind middleware of tower, which sees the handshake before the handler does and the answer after it.

use std::{
    convert::Infallible,
    future::{Ready, ready},
    task::{Context, Poll},
};

use ::tower::{Layer, Service, ServiceBuilder};
use axum::Router;
use bytes::Bytes;
use futures_util::future::Either;
use http::{HeaderValue, Request, Response, StatusCode, header};
use http_body_util::Full;
use tok_core::{Device, Hub, Refusal};
use tok_ws::{UpgradeHead, WsConfigError, WsHandler};
use tokio_tungstenite::{connect_async, tungstenite::client::IntoClientRequest};

use super::support::{ask, hub, listener, status};

/// What the middleware adds to a request, where the authenticator finds it.
#[derive(Clone)]
struct User(&'static str);

fn router(hub: Hub) -> Result<Router, WsConfigError> {
    let handler = WsHandler::builder(hub, by_middleware).build()?;
    let service = ServiceBuilder::new()
        .map_response(|mut response: Response<Full<Bytes>>| {
            response.headers_mut().insert("x-served-by", HeaderValue::from_static("tok"));
            response
        })
        .layer(CheckToken)
        .service(handler);
    Ok(Router::new().route_service("/ws", service))
}

/// Nobody comes here whom the middleware did not let through.
async fn by_middleware(head: UpgradeHead) -> Result<Device, Refusal> {
    match head.extensions().get() {
        Some(User(name)) => Ok(Device::new(*name)),
        None => Err(Refusal::unauthorized("no user")),
    }
}

/// Refuses requests without a good token, for WebSockets as for everything else, and says whose the token is.
#[derive(Clone)]
struct CheckToken;

impl<S> Layer<S> for CheckToken {
    type Service = TokenChecked<S>;

    fn layer(&self, inner: S) -> TokenChecked<S> {
        TokenChecked(inner)
    }
}

#[derive(Clone)]
struct TokenChecked<S>(S);

impl<S, B> Service<Request<B>> for TokenChecked<S>
where
    S: Service<Request<B>, Response = Response<Full<Bytes>>, Error = Infallible>,
{
    type Response = S::Response;
    type Error = Infallible;
    type Future = Either<S::Future, Ready<Result<S::Response, Infallible>>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        let token = request.headers().get(header::AUTHORIZATION).map(HeaderValue::as_bytes);
        let user = match token {
            Some(b"Bearer of-alice") => User("alice"),
            _ => {
                let mut refusal = Response::new(Full::from("no good token"));
                *refusal.status_mut() = StatusCode::UNAUTHORIZED;
                return Either::Right(ready(Ok(refusal)));
            }
        };
        request.extensions_mut().insert(user);
        Either::Left(self.0.call(request))
    }
}

#[tokio::test]
async fn middleware_stands_before_the_handshake_and_behind_it() {
    let listener = listener().await;
    let addr = listener.local_addr().unwrap();
    let router = router(hub()).unwrap();
    tokio::spawn(async move { axum::serve(listener, router).await });

    let request = |token: Option<&'static str>| {
        let mut request = format!("ws://{addr}/ws").into_client_request().unwrap();
        if let Some(token) = token {
            request.headers_mut().insert(header::AUTHORIZATION, HeaderValue::from_static(token));
        }
        request
    };
    let (mut client, response) = connect_async(request(Some("Bearer of-alice"))).await.unwrap();
    assert_eq!(response.headers()["x-served-by"], "tok");
    assert_eq!(ask(&mut client, "hi").await, "alice: hi");
    assert_eq!(status(connect_async(request(Some("Bearer of-mallory"))).await), 401);
    assert_eq!(status(connect_async(request(None)).await), 401);
}

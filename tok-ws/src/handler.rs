use std::{
    convert::Infallible,
    fmt,
    future::poll_fn,
    pin::pin,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;
use http::{HeaderValue, Request, Response, StatusCode, request::Parts};
use http_body_util::Full;
use hyper::upgrade::OnUpgrade;
use tok_core::{
    Authenticate, Device, Hub, Refusal,
    rt::{BoxFuture, Instant, Runtime},
    transport::{Framing, PeerAddr},
};

use crate::{
    AUTO, Hosts, HyperStream, Origins, UpgradeHead, WsConfig, WsEngine, WsTransport,
    engine::{Engine, EngineUnavailable},
    upgrade::{self, Rejection},
};

/// Answers requests for a WebSocket: checks the handshake, the origin and the login, then runs a session on the hub.
///
/// It is a [`hyper::service::Service`] and a [`tower_service::Service`] for any body, so it mounts into routers: on
/// axum with `Router::route_service("/ws", handler)`. Without a router, [`serve`](crate::serve) runs it on a listener.
///
/// Under another server than `serve` the time for authentication counts from when the handler gets the request. To cut slow
/// requests before that, to limit unfinished logins and to set `TCP_NODELAY` is then that server's task.
///
/// # Answers
/// All before the 101, in this order (with the feature `http2`, extended CONNECT over HTTP/2 is answered alike and
/// with a 200 in place of the 101): 404 another path; 405 not GET; 505 not HTTP/1.1; 426 no upgrade asked for, or
/// another version than 13; 400 a malformed handshake; 421 a host that is not served; 403 an origin that may not connect; then the status of the
/// authenticator's refusal or of the hub's; 503 when authentication takes longer than the hub's time for it.
///
/// ```
/// use tok_core::{Device, Hub, Refusal};
/// use tok_ws::{UpgradeHead, WsConfigError, WsHandler};
///
/// fn handler(hub: Hub) -> Result<WsHandler, WsConfigError> {
///     let authenticate = |head: UpgradeHead| async move {
///         let uid = head.query("uid").ok_or_else(|| Refusal::bad_request("no uid"))?;
///         Ok(Device::new(uid.as_ref()))
///     };
///     WsHandler::builder(hub, authenticate).path("/ws").build()
/// }
/// ```
#[derive(Clone)]
pub struct WsHandler(Arc<Inner>);

struct Inner {
    hub: Hub,
    authenticator: Box<dyn Authenticate<UpgradeHead>>,
    config: Arc<WsConfig>,
    path: Option<Box<str>>,
    hosts: Hosts,
    origins: Origins,
    subprotocols: Vec<HeaderValue>,
    max_handshakes: usize,
}

/// A login that succeeded, and whose connection is still to be switched over.
pub(crate) struct Accepted {
    pub(crate) device: Device,
    pub(crate) config: Arc<WsConfig>,
}

impl WsHandler {
    /// Starts a handler for `hub`, whose devices `authenticator` makes of request heads.
    pub fn builder(hub: Hub, authenticator: impl Authenticate<UpgradeHead>) -> WsHandlerBuilder {
        WsHandlerBuilder {
            hub,
            authenticator: Box::new(authenticator),
            engine: Choice::Named(WsEngine::default()),
            framing: &AUTO,
            max_message: None,
            path: None,
            hosts: Hosts::any(),
            origins: Origins::same_host(),
            subprotocols: Vec::new(),
            max_handshakes: 1024,
        }
    }

    /// The hub.
    #[must_use]
    pub fn hub(&self) -> &Hub {
        &self.0.hub
    }

    pub(crate) fn max_handshakes(&self) -> usize {
        self.0.max_handshakes
    }

    /// Decides about a request, on a server that can switch protocols or cannot.
    pub(crate) async fn decide(
        &self,
        parts: Parts,
        peer: Option<PeerAddr>,
        can_switch: bool,
    ) -> Result<(Response<Full<Bytes>>, Accepted), Rejection> {
        let inner = &*self.0;
        if inner.path.as_deref().is_some_and(|path| path != parts.uri.path()) {
            return Err(Rejection::new(StatusCode::NOT_FOUND, "there is nothing here"));
        }
        let handshake = upgrade::validate(&parts)?;
        if !can_switch {
            return Err(Rejection::new(
                StatusCode::INTERNAL_SERVER_ERROR,
                "this server cannot switch protocols",
            ));
        }
        if !inner.hosts.allow(&parts.uri, &parts.headers) {
            return Err(Rejection::new(StatusCode::MISDIRECTED_REQUEST, "this host is not served here"));
        }
        if !inner.origins.allow(&parts.uri, &parts.headers) {
            return Err(Rejection::new(StatusCode::FORBIDDEN, "this origin may not connect"));
        }
        let head = UpgradeHead::new(parts, peer, &inner.subprotocols);
        let response = upgrade::switching(&handshake, &head);
        let login = async {
            let device = inner.authenticator.authenticate(head).await?;
            inner.hub.admit(&device)?;
            Ok(device)
        };
        let late = || Err(Refusal::unavailable("the login took too long"));
        let device = before(self.deadline(), &**inner.hub.runtime(), login).await.unwrap_or_else(late)?;
        Ok((response, Accepted { device, config: Arc::clone(&inner.config) }))
    }

    /// When what begins now has to have logged in; `None`: whenever it likes.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        let timeout = self.0.hub.auth_timeout();
        (!timeout.is_zero()).then(|| self.0.hub.runtime().now().saturating_add(timeout))
    }

    /// Answers a request under a server of somebody else's.
    fn answer<B>(
        &self,
        mut request: Request<B>,
    ) -> BoxFuture<'static, Result<Response<Full<Bytes>>, Infallible>> {
        let can_switch = request.extensions().get::<OnUpgrade>().is_some();
        let on_upgrade = hyper::upgrade::on(&mut request);
        // The body goes here: it need not be able to move between threads.
        let (parts, _) = request.into_parts();
        let handler = self.clone();
        Box::pin(async move {
            Ok(match handler.decide(parts, None, can_switch).await {
                Ok((response, accepted)) => {
                    let runtime = Arc::clone(handler.hub().runtime());
                    runtime.spawn("websocket", Box::pin(handler.run(on_upgrade, accepted)));
                    response
                }
                Err(rejection) => rejection.response(),
            })
        })
    }

    async fn run(self, on_upgrade: OnUpgrade, accepted: Accepted) {
        let hub = self.hub().clone();
        let upgraded = before(self.deadline(), &**hub.runtime(), on_upgrade).await;
        drop(self);
        let Some(Ok(upgraded)) = upgraded else {
            return;
        };
        // Boxed: what came before leaves its room in this task, and takes no more with it.
        Box::pin(hub.serve(accepted.device, WsTransport::new(HyperStream::new(upgraded), accepted.config)))
            .await;
    }
}

impl<B> hyper::service::Service<Request<B>> for WsHandler {
    type Response = Response<Full<Bytes>>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Self::Response, Infallible>>;

    fn call(&self, request: Request<B>) -> Self::Future {
        self.answer(request)
    }
}

impl<B> tower_service::Service<Request<B>> for WsHandler {
    type Response = Response<Full<Bytes>>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        self.answer(request)
    }
}

impl fmt::Debug for WsHandler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WsHandler")
            .field("engine", self.0.config.engine())
            .field("path", &self.0.path)
            .field("hosts", &self.0.hosts)
            .field("origins", &self.0.origins)
            .finish_non_exhaustive()
    }
}

impl From<Refusal> for Rejection {
    fn from(refusal: Refusal) -> Self {
        // Refusals have statuses that exist.
        let status = StatusCode::from_u16(refusal.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        Self { status, reason: refusal.reason().to_owned().into() }
    }
}

/// Runs a future until the deadline; `None` when it did not make it.
pub(crate) async fn before<F: Future>(
    deadline: Option<Instant>,
    runtime: &dyn Runtime,
    future: F,
) -> Option<F::Output> {
    let mut future = pin!(future);
    let mut timer = deadline.map(|deadline| runtime.sleep_until(deadline));
    poll_fn(|cx| {
        if let Poll::Ready(output) = future.as_mut().poll(cx) {
            return Poll::Ready(Some(output));
        }
        match &mut timer {
            Some(timer) => timer.as_mut().poll(cx).map(|()| None),
            None => Poll::Pending,
        }
    })
    .await
}

/// Builds a [`WsHandler`]; see [`WsHandler::builder`].
#[must_use]
pub struct WsHandlerBuilder {
    hub: Hub,
    authenticator: Box<dyn Authenticate<UpgradeHead>>,
    engine: Choice,
    framing: &'static Framing,
    max_message: Option<usize>,
    path: Option<Box<str>>,
    hosts: Hosts,
    origins: Origins,
    subprotocols: Vec<HeaderValue>,
    max_handshakes: usize,
}

enum Choice {
    Named(WsEngine),
    Given(Arc<dyn Engine>),
}

impl WsHandlerBuilder {
    /// The engine, in place of the first one compiled in.
    pub fn engine(mut self, engine: WsEngine) -> Self {
        self.engine = Choice::Named(engine);
        self
    }

    /// An engine that this crate does not know.
    pub fn custom_engine(mut self, engine: Arc<dyn Engine>) -> Self {
        self.engine = Choice::Given(engine);
        self
    }

    /// How messages are sent: [`AUTO`] (the default), [`TEXT`](crate::TEXT) or [`BINARY`](crate::BINARY).
    pub fn framing(mut self, framing: &'static Framing) -> Self {
        self.framing = framing;
        self
    }

    /// The most bytes that one incoming message may have, in place of the hub's limit.
    pub fn max_message(mut self, bytes: usize) -> Self {
        self.max_message = Some(bytes);
        self
    }

    /// The one path that is served; others are answered with 404. By default every path is.
    pub fn path(mut self, path: impl Into<String>) -> Self {
        self.path = Some(path.into().into());
        self
    }

    /// Which `Host` values are served; others are answered with 421. By default every host is.
    pub fn hosts(mut self, hosts: Hosts) -> Self {
        self.hosts = hosts;
        self
    }

    /// Which web pages may connect: those of the same host, by default.
    pub fn origins(mut self, origins: Origins) -> Self {
        self.origins = origins;
        self
    }

    /// The subprotocols spoken, the best first. A client that offers none of them is still served, without one.
    pub fn subprotocols(mut self, names: impl IntoIterator<Item = HeaderValue>) -> Self {
        self.subprotocols = names.into_iter().collect();
        self
    }

    /// How many connections of [`serve`](crate::serve) may be between accept and login, 1024 by default. Each holds
    /// at most some 20 KiB; further ones wait in the operating system's backlog.
    pub fn max_handshakes(mut self, max: usize) -> Self {
        self.max_handshakes = max;
        self
    }

    /// The handler.
    ///
    /// # Errors
    /// The engine is not compiled in, or a setting cannot work.
    pub fn build(self) -> Result<WsHandler, WsConfigError> {
        let engine = match self.engine {
            Choice::Named(engine) => engine.engine()?,
            Choice::Given(engine) => engine,
        };
        if let Some(path) = self.path.as_deref().filter(|path| !path.starts_with('/')) {
            return Err(WsConfigError::Path(path.into()));
        }
        if let Some(name) = self.subprotocols.iter().find(|name| !is_token(name.as_bytes())) {
            return Err(WsConfigError::Subprotocol(name.clone()));
        }
        if self.max_handshakes == 0 {
            return Err(WsConfigError::MaxHandshakes);
        }
        let max_message = self.max_message.unwrap_or_else(|| self.hub.max_message());
        Ok(WsHandler(Arc::new(Inner {
            config: Arc::new(WsConfig::new(engine, max_message).with_framing(self.framing)),
            hub: self.hub,
            authenticator: self.authenticator,
            path: self.path,
            hosts: self.hosts,
            origins: self.origins,
            subprotocols: self.subprotocols,
            max_handshakes: self.max_handshakes,
        })))
    }
}

impl fmt::Debug for WsHandlerBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WsHandlerBuilder").field("path", &self.path).finish_non_exhaustive()
    }
}

/// [`WsHandlerBuilder::build`] refused the configuration.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WsConfigError {
    /// The engine is not compiled in.
    #[error(transparent)]
    Engine(#[from] EngineUnavailable),
    /// A path without a leading slash matches nothing.
    #[error("the path {0:?} does not begin with a slash")]
    Path(Box<str>),
    /// A name that is no token (RFC 9110 section 5.6.2) cannot be offered.
    #[error("{0:?} cannot be the name of a subprotocol")]
    Subprotocol(HeaderValue),
    /// With room for no handshake there is no login.
    #[error("max_handshakes is 0")]
    MaxHandshakes,
}

fn is_token(name: &[u8]) -> bool {
    !name.is_empty()
        && name.iter().all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte))
}

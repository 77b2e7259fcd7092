use std::{
    convert::Infallible,
    fmt,
    future::poll_fn,
    io,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderValue, Request, Response, header};
use http_body_util::Full;
use hyper::{body::Incoming, server::conn::http1, service::Service};
use tok_core::{
    rt::BoxFuture,
    transport::{Accept, ByteStream, Handshake, PeerAddr, listen},
};

use crate::{
    WsHandler, WsTransport,
    handler::{Accepted, before},
    stream::HyperIo,
};

/// The request line and all headers together, in bytes; what hyper buffers is the limit.
const MAX_HEADER_SIZE: usize = 16 * 1024;
const MAX_HEADERS: usize = 64;

/// How long a refused client's last bytes are read and discarded, so that no reset eats the answer.
const LINGER: Duration = Duration::from_secs(1);
const READS_BETWEEN_YIELDS: usize = 64;

/// Serves WebSockets, and nothing else, on a listener, for as long as it is polled.
///
/// Everything from accepting a connection to the 101 has to happen within the hub's time for authentication; a
/// connection that does not make it is cut. Request heads may have 16 KiB and 64 headers, more is answered with 431. A
/// request that is refused gets its answer and the connection closes. Sessions run in tasks of their own and outlive
/// this future: [`Hub::shutdown`](tok_core::Hub::shutdown) ends them.
///
/// ```
/// use tok_core::transport::Accept;
/// use tok_ws::WsHandler;
///
/// async fn run(listener: impl Accept, handler: WsHandler) {
///     tok_ws::serve(listener, handler).await;
/// }
/// ```
pub async fn serve<A: Accept>(listener: A, handler: WsHandler) {
    let runtime = Arc::clone(handler.hub().runtime());
    let max_handshakes = handler.max_handshakes();
    let write_timeout = handler.hub().write_timeout();
    listen(runtime, listener, max_handshakes, write_timeout, move |stream, addr, handshake| {
        Box::pin(connection(stream, addr, handshake, handler.clone()))
    })
    .await;
}

async fn connection<S: ByteStream>(stream: S, addr: PeerAddr, handshake: Handshake, handler: WsHandler) {
    let hub = handler.hub().clone();
    let runtime = Arc::clone(hub.runtime());
    let deadline = handler.deadline();
    let Some(outcome) = before(deadline, &*runtime, shake_hands(stream, addr, handler)).await else {
        return;
    };
    match outcome {
        Outcome::Accepted(accepted, stream, leftover) => {
            drop(handshake);
            let transport = WsTransport::new(stream, accepted.config).with_leftover(&leftover);
            // A task of its own, because this one is as big as the HTTP connection that it was; and boxed, because an
            // `async` block would keep room for it twice.
            let mut session = Box::pin(hub.serve(accepted.device, transport));
            runtime.spawn("websocket", Box::pin(async move { _ = session.as_mut().await }));
        }
        Outcome::Refused(mut io) => {
            let end = runtime.now().saturating_add(LINGER);
            let end = deadline.map_or(end, |deadline| deadline.min(end));
            before(Some(end), &*runtime, poll_fn(|cx| poll_linger(&mut io, cx))).await;
        }
    }
}

enum Outcome<S> {
    Accepted(Accepted, S, Bytes),
    Refused(HyperIo<S>),
}

/// Speaks HTTP for one request.
async fn shake_hands<S: ByteStream>(stream: S, addr: PeerAddr, handler: WsHandler) -> Outcome<S> {
    let slot = Slot::default();
    let service = Once { handler, addr, slot: slot.clone() };
    let mut http = http1::Builder::new()
        .header_read_timeout(None)
        .max_headers(MAX_HEADERS)
        .max_buf_size(MAX_HEADER_SIZE)
        .serve_connection(HyperIo::new(stream), service);
    // An error has been answered by hyper where it can be, and a connection that broke shows when it is drained.
    let _ = poll_fn(|cx| http.poll_without_shutdown(cx)).await;
    let parts = http.into_parts();
    let mut io = parts.io;
    let drained = poll_fn(|cx| io.poll_drain(cx)).await;
    match slot.take() {
        Some(accepted) if drained.is_ok() => Outcome::Accepted(accepted, io.into_inner(), parts.read_buf),
        _ => Outcome::Refused(io),
    }
}

fn poll_linger<S: ByteStream>(io: &mut HyperIo<S>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
    ready!(hyper::rt::Write::poll_shutdown(std::pin::Pin::new(&mut *io), cx))?;
    let mut chunk = [0; 4096];
    // Not every runtime makes busy tasks yield by itself, and who sends without a pause is to be cut in time, too.
    for _ in 0..READS_BETWEEN_YIELDS {
        if ready!(io.stream().poll_read(cx, &mut chunk))? == 0 {
            return Poll::Ready(Ok(()));
        }
    }
    cx.waker().wake_by_ref();
    Poll::Pending
}

/// Where the service leaves a login for [`shake_hands`] to find.
#[derive(Clone, Default)]
struct Slot(Arc<Mutex<Option<Accepted>>>);

impl Slot {
    fn put(&self, accepted: Accepted) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(accepted);
    }

    fn take(&self) -> Option<Accepted> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// The service of one connection.
struct Once {
    handler: WsHandler,
    addr: PeerAddr,
    slot: Slot,
}

impl Service<Request<Incoming>> for Once {
    type Response = Response<Full<Bytes>>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Self::Response, Infallible>>;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        let (handler, addr, slot) = (self.handler.clone(), self.addr, self.slot.clone());
        let (parts, _) = request.into_parts();
        Box::pin(async move {
            Ok(match handler.decide(parts, Some(addr), true).await {
                Ok((response, accepted)) => {
                    slot.put(accepted);
                    response
                }
                Err(rejection) => last(rejection.response()),
            })
        })
    }
}

/// Says that the connection closes behind the response, which makes hyper end it.
///
/// `Builder::keep_alive(false)` would do so on every response, and on the 101 it replaces `Connection: Upgrade`.
fn last(mut response: Response<Full<Bytes>>) -> Response<Full<Bytes>> {
    let headers = response.headers_mut();
    let upgrade = headers.contains_key(header::UPGRADE);
    let value = HeaderValue::from_static(if upgrade { "upgrade, close" } else { "close" });
    headers.insert(header::CONNECTION, value);
    response
}

impl fmt::Debug for Once {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Once").field("addr", &self.addr).finish_non_exhaustive()
    }
}

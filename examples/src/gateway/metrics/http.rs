//! HTTP for those who ask how the gateway is: one request a connection, on any runtime.

use std::{
    convert::Infallible,
    io::{self, IoSlice},
    pin::{Pin, pin},
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use futures_util::future::{Either, select};
use http_body_util::Full;
use hyper::{
    Method, Request, Response, StatusCode,
    body::Incoming,
    header::{ALLOW, CONTENT_TYPE},
    rt::{Read, ReadBufCursor, Write},
    server::conn::http1,
    service::service_fn,
};
use tok_core::{
    rt::Runtime,
    transport::{Accept, ByteStream, listen},
};

use super::{Answer, Metrics};

/// Those who ask are few.
const MAX_CONNECTIONS: usize = 64;

/// From accept to the end of the answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// Answers for as long as it is polled.
pub(super) async fn serve<A: Accept>(listener: A, runtime: Arc<dyn Runtime>, metrics: Arc<Metrics>) {
    let timers = Arc::clone(&runtime);
    listen(runtime, listener, MAX_CONNECTIONS, Duration::ZERO, move |stream, _, place| {
        let (timers, metrics) = (Arc::clone(&timers), Arc::clone(&metrics));
        Box::pin(async move {
            let _place = place;
            let answer = service_fn(move |request: Request<Incoming>| {
                let answer = respond(&metrics, &request);
                async move { Ok::<_, Infallible>(answer) }
            });
            let mut http = http1::Builder::new();
            let http = http.keep_alive(false).header_read_timeout(None).max_buf_size(16 * 1024);
            let serving = http.serve_connection(Io(stream), answer);
            let patience = timers.sleep_until(timers.now().saturating_add(PATIENCE));
            // However it ends, there is nobody to tell.
            match select(pin!(serving), patience).await {
                Either::Left(_) | Either::Right(_) => {}
            }
        })
    })
    .await;
}

fn respond(metrics: &Metrics, request: &Request<Incoming>) -> Response<Full<Bytes>> {
    let is_read = [Method::GET, Method::HEAD].contains(request.method());
    let Answer { is_well, text } = match request.uri().path() {
        "/metrics" if is_read => metrics.page(),
        "/healthz" if is_read => metrics.health(),
        "/metrics" | "/healthz" => return plain(StatusCode::METHOD_NOT_ALLOWED, "read it with GET\n".into()),
        _ => return plain(StatusCode::NOT_FOUND, "there are /metrics and /healthz\n".into()),
    };
    plain(if is_well { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }, text)
}

fn plain(status: StatusCode, text: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::from(text));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(
        CONTENT_TYPE,
        hyper::header::HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8"),
    );
    if status == StatusCode::METHOD_NOT_ALLOWED {
        headers.insert(ALLOW, hyper::header::HeaderValue::from_static("GET, HEAD"));
    }
    response
}

/// A stream of tok's for hyper.
struct Io<S>(S);

impl<S: ByteStream> Read for Io<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        mut buf: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        let mut chunk = [0; 2048];
        let max = chunk.len().min(buf.remaining());
        let count = ready!(self.0.poll_read(cx, &mut chunk[..max]))?;
        buf.put_slice(&chunk[..count]);
        Poll::Ready(Ok(()))
    }
}

impl<S: ByteStream> Write for Io<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.0.poll_write_vectored(cx, &[IoSlice::new(bytes)])
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.poll_shutdown(cx)
    }
}

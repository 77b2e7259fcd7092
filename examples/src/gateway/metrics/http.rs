//! HTTP for those who ask how the gateway is: one request a connection, on any runtime.

use std::{
    collections::VecDeque,
    convert::Infallible,
    io::{self, IoSlice},
    pin::{Pin, pin},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use futures_channel::oneshot;
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

/// The most connections at once. One more cuts the oldest, whose request has long been answered.
const MAX_CONNECTIONS: usize = 64;

/// From accept to the end of the request's head.
const PATIENCE: Duration = Duration::from_secs(2);

/// For the answer.
const MAX_ANSWER_TIME: Duration = Duration::from_secs(8);

/// Answers for as long as it is polled.
pub(super) async fn serve<A: Accept>(listener: A, runtime: Arc<dyn Runtime>, metrics: Arc<Metrics>) {
    let (timers, open) = (Arc::clone(&runtime), Connections::default());
    // What is open is bounded here, and accepting never stops.
    listen(runtime, listener, usize::MAX, Duration::ZERO, move |stream, _, _| {
        let (timers, metrics, cut) = (Arc::clone(&timers), Arc::clone(&metrics), open.add());
        Box::pin(async move {
            // However it ends, there is nobody to tell.
            let _ = select(pin!(answer(stream, &*timers, metrics)), cut).await;
        })
    })
    .await;
}

/// The connections that are open, the oldest first.
#[derive(Default)]
struct Connections(Mutex<VecDeque<oneshot::Sender<()>>>);

impl Connections {
    /// One more connection: it lives until what is returned is ready.
    fn add(&self) -> oneshot::Receiver<()> {
        let (live, cut) = oneshot::channel();
        let mut open = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        open.retain(|connection| !connection.is_canceled());
        if open.len() >= MAX_CONNECTIONS {
            // Dropping it cuts the connection.
            open.pop_front();
        }
        open.push_back(live);
        cut
    }
}

/// One request and its answer.
async fn answer<S: ByteStream>(stream: S, timers: &dyn Runtime, metrics: Arc<Metrics>) {
    let is_asked = Arc::new(AtomicBool::new(false));
    let asked = Arc::clone(&is_asked);
    let service = service_fn(move |request: Request<Incoming>| {
        asked.store(true, Ordering::Relaxed);
        let response = respond(&metrics, &request);
        async move { Ok::<_, Infallible>(response) }
    });
    let mut http = http1::Builder::new();
    let http = http.keep_alive(false).header_read_timeout(None).max_buf_size(16 * 1024);
    let mut serving = pin!(http.serve_connection(Io(stream), service));
    let patience = timers.sleep_until(timers.now().saturating_add(PATIENCE));
    if let Either::Left(_) = select(serving.as_mut(), patience).await {
        return;
    }
    if is_asked.load(Ordering::Relaxed) {
        select(serving, timers.sleep_until(timers.now().saturating_add(MAX_ANSWER_TIME))).await;
    }
}

fn respond(metrics: &Metrics, request: &Request<Incoming>) -> Response<Full<Bytes>> {
    let is_read = [Method::GET, Method::HEAD].contains(request.method());
    let Answer { is_well, text } = match request.uri().path() {
        "/metrics" if is_read => metrics.page(),
        "/healthz" if is_read => metrics.health(),
        "/livez" if is_read => Answer { is_well: true, text: "ok\n".to_owned() },
        "/metrics" | "/healthz" | "/livez" => {
            return plain(StatusCode::METHOD_NOT_ALLOWED, "read it with GET\n".into());
        }
        _ => return plain(StatusCode::NOT_FOUND, "there are /metrics, /healthz and /livez\n".into()),
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

#[cfg(test)]
mod tests {
    use tok_core::{rt, transport::TokioStream};
    use tokio::io::AsyncWriteExt;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_connection_without_a_whole_request_is_cut_after_two_seconds() {
        for sent in [&b""[..], b"G", b"GET /healthz HTTP/1.1\r\nHost: a\r\n"] {
            let (mut client, server) = tokio::io::duplex(1024);
            client.write_all(sent).await.unwrap();
            let start = tokio::time::Instant::now();
            answer(TokioStream::new(server), &rt::Tokio, Arc::default()).await;
            assert_eq!(start.elapsed(), PATIENCE); // paused time
        }
    }

    #[tokio::test]
    async fn past_the_bound_the_oldest_connection_is_cut() {
        let connections = Connections::default();
        let mut open: VecDeque<_> = (0..MAX_CONNECTIONS).map(|_| connections.add()).collect();
        assert!(open.iter_mut().all(|cut| matches!(cut.try_recv(), Ok(None))));
        // One that has ended makes room.
        open.remove(1);
        open.push_back(connections.add());
        assert!(open.iter_mut().all(|cut| matches!(cut.try_recv(), Ok(None))));
        open.push_back(connections.add());
        assert!(open.pop_front().unwrap().try_recv().is_err());
        assert!(open.iter_mut().all(|cut| matches!(cut.try_recv(), Ok(None))));
    }
}

//! The hub, and the listeners on it, from ready to drained.

use std::{
    future::{Future, pending},
    pin::pin,
    sync::Arc,
    time::Duration,
};

use futures_util::future::{Either, join, join3, select};
use tok_cluster::Cluster;
use tok_core::{Hub, ShutdownReport, rt::Runtime, transport::Accept};
use tok_tls::{TlsConfig, TlsListener};
use tok_ws::{WsConfigError, WsHandler};

use super::{
    Error, Flags, Frames,
    actor::{Echo, Operations},
    cluster,
    goodbye::goodbye,
    login::Door,
    metrics::Metrics,
    queue::with_queue,
};

/// Listeners of one runtime.
#[derive(Debug)]
pub(super) struct Listeners<T, U> {
    pub(super) ws: Option<T>,
    pub(super) tcp: Option<T>,
    pub(super) unix: Option<U>,
    pub(super) metrics: Option<T>,
}

/// Serves until `stop` is ready, then drains.
pub(super) async fn serve<T: Accept, U: Accept>(
    flags: &Flags,
    runtime: impl Runtime + Clone,
    tls: Option<TlsConfig>,
    listeners: Listeners<T, U>,
    ready: impl FnOnce(),
    stop: impl Future<Output = ()>,
) -> Result<ShutdownReport, Error> {
    let Listeners { ws, tcp, unix, metrics: questions } = listeners;
    let cluster = cluster::connect(flags, runtime.clone()).await?;
    let metrics = questions.is_some().then(|| Metrics::new(cluster.clone()));
    let hub = hub(flags, runtime, cluster.as_ref(), metrics.as_ref()).await?;
    let door = Door::new(flags.token.as_deref(), flags.echo);
    let frames = tok_tcp::Server::new(hub.clone(), door.clone());
    let ws = match ws {
        Some(listener) => Some((listener, websocket(flags, &hub, door)?)),
        None => None,
    };
    if let Some(cluster) = &cluster {
        cluster::join(cluster).await?;
    }
    ready();
    let clients = async {
        match tls {
            None => listen(&frames, ws, tcp, unix).await,
            Some(tls) => {
                let ws = ws.map(|(listener, handler)| (TlsListener::new(listener, tls.clone()), handler));
                let tcp = tcp.map(|listener| TlsListener::new(listener, tls));
                listen(&frames, ws, tcp, unix).await;
            }
        }
    };
    let operators = async {
        match (&metrics, questions) {
            (Some(metrics), Some(questions)) => Arc::clone(metrics).serve(hub.clone(), questions).await,
            _ => pending().await,
        }
    };
    let draining = async {
        stop.await;
        if let Some(metrics) = &metrics {
            metrics.drains();
        }
        drain(flags.drain_timeout, &hub, cluster.as_ref()).await
    };
    // While it drains the listeners answer logins with a refusal.
    match select(pin!(draining), pin!(join(clients, operators))).await {
        Either::Left((report, _)) => Ok(report),
        // Listeners never end by themselves.
        Either::Right((_, draining)) => Ok(draining.await),
    }
}

async fn listen<T: Accept, U: Accept>(
    frames: &tok_tcp::Server,
    ws: Option<(T, WsHandler)>,
    tcp: Option<T>,
    unix: Option<U>,
) {
    let websockets = async {
        match ws {
            Some((listener, handler)) => tok_ws::serve(listener, handler).await,
            None => pending().await,
        }
    };
    join3(websockets, accept(frames, tcp), accept(frames, unix)).await;
}

async fn accept<L: Accept>(server: &tok_tcp::Server, listener: Option<L>) {
    match listener {
        Some(listener) => server.clone().serve(listener).await,
        None => pending().await,
    }
}

fn websocket(flags: &Flags, hub: &Hub, door: Door) -> Result<WsHandler, WsConfigError> {
    let handler = WsHandler::builder(hub.clone(), door)
        .engine(flags.engine)
        .origins(flags.origins.clone())
        .framing(match flags.frames {
            Frames::Auto => &tok_ws::AUTO,
            Frames::Text => &tok_ws::TEXT,
            Frames::Binary => &tok_ws::BINARY,
        });
    if flags.echo { handler.build() } else { handler.path("/ws").build() }
}

async fn hub(
    flags: &Flags,
    runtime: impl Runtime,
    cluster: Option<&Cluster>,
    metrics: Option<&Arc<Metrics>>,
) -> Result<Hub, Error> {
    const GIB: usize = 1 << 30;

    let max_message = flags.max_message;
    let builder = match (flags.echo, metrics.cloned()) {
        (true, metrics) => Hub::builder(Echo { metrics }),
        (false, metrics) => Hub::builder(Operations { metrics }),
    };
    let builder = builder
        .runtime(runtime)
        .sso(flags.sso.clone())
        .auth_timeout(flags.auth_timeout)
        .read_timeout(flags.read_timeout)
        .write_timeout(flags.write_timeout)
        .ping_interval(flags.ping_interval)
        .max_message(max_message)
        // What a client may send it may be sent, and the server's own lines fit whatever the flag says.
        .max_outgoing(max_message.max(4096))
        .max_memory(GIB.max(max_message.saturating_mul(2)))
        .max_sessions(flags.max_connections)
        .max_sessions_per_user(flags.max_per_user)
        .max_backlog(flags.max_backlog)
        .bye(move |session, reason| goodbye(session, reason, max_message));
    let builder = match metrics {
        Some(metrics) => metrics.count(builder),
        None => builder,
    };
    let builder = match cluster {
        Some(cluster) => builder.relay(cluster.clone()),
        None => builder,
    };
    Ok(with_queue(builder, flags).await?.build()?)
}

/// Ends the sessions, then this node's place in the cluster.
async fn drain(timeout: Duration, hub: &Hub, cluster: Option<&Cluster>) -> ShutdownReport {
    let runtime = hub.runtime();
    let end = runtime.sleep_until(runtime.now().saturating_add(timeout));
    let report = hub.shutdown(drain_time(timeout)).await;
    if let Some(cluster) = cluster {
        // A broker that does not answer is not waited for: the lease ends by itself.
        select(pin!(cluster.leave()), end).await;
    }
    report
}

/// What the hub is given of the time to drain: it may take a moment more to store what the deadline cut off.
fn drain_time(timeout: Duration) -> Duration {
    timeout - (timeout / 4).min(Duration::from_millis(500))
}

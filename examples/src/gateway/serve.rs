//! The hub, and the listeners on it, from ready to drained.

use std::{future::pending, pin::pin, sync::Arc, time::Duration};

use futures_util::future::{Either, join3, join4, select};
use tok_cluster::Cluster;
use tok_core::{Hub, ShutdownReport, queue::Queue, rt::Runtime, transport::Accept};
use tok_tls::TlsListener;
use tok_ws::{WsConfigError, WsHandler};

use super::{
    Error, Flags, Frames, Signals,
    actor::{Echo, Operations},
    cluster,
    goodbye::goodbye,
    health::Health,
    listeners::Listeners,
    login::Door,
    metrics::Metrics,
    queue::with_queue,
    reload::Replaceable,
};

/// Serves until the signals stop it, then drains.
pub(super) async fn serve<T: Accept, U: Accept>(
    flags: &Flags,
    runtime: impl Runtime + Clone,
    files: Replaceable,
    listeners: Listeners<T, U>,
    ready: impl FnOnce(),
    signals: Signals,
) -> Result<ShutdownReport, Error> {
    let Listeners { ws, tcp, unix, metrics: questions } = listeners;
    let cluster = cluster::connect(flags, runtime.clone()).await?;
    let health = Health::new(cluster.clone());
    let metrics = questions.is_some().then(|| Metrics::new(Arc::clone(&health)));
    let (hub, queue) = hub(flags, runtime, &health, metrics.as_ref()).await?;
    let door = Door::new(files.token.clone(), flags.echo);
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
        match &files.tls {
            None => listen(&frames, ws, tcp, unix).await,
            Some(tls) => {
                let ws = ws.map(|(listener, handler)| (TlsListener::new(listener, tls.clone()), handler));
                let tcp = tcp.map(|listener| TlsListener::new(listener, tls.clone()));
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
    let Signals { stop, reload } = signals;
    let (reloading, watching) =
        (files.reload_at(flags, reload), health.keep(&**hub.runtime(), queue.as_deref()));
    let draining = async {
        stop.await;
        health.drains();
        tracing::info!(target: "gateway", "draining");
        let report = drain(flags.drain_timeout, &hub, cluster.as_ref()).await;
        let (sessions, forced, unstored) = (report.sessions, report.forced, report.unstored);
        tracing::info!(target: "gateway", sessions, cut_off = forced, unstored, "drained");
        report
    };
    // While it drains the listeners answer logins with a refusal.
    let serving = join4(clients, operators, reloading, watching);
    match select(pin!(draining), pin!(serving)).await {
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
        .hosts(flags.hosts())
        .origins(flags.origins())
        .subprotocols(flags.subprotocols.iter().cloned())
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
    health: &Arc<Health>,
    metrics: Option<&Arc<Metrics>>,
) -> Result<(Hub, Option<Arc<dyn Queue>>), Error> {
    const GIB: usize = 1 << 30;

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
        .max_memory(GIB.max(flags.max_message.unwrap_or_default().saturating_mul(2)))
        .max_sessions(flags.max_connections)
        .max_sessions_per_user(flags.max_per_user)
        .max_backlog(flags.max_backlog)
        .bye(goodbye);
    let builder = match flags.max_message {
        // What a client may send it may be sent, and the server's own lines fit whatever the flag says.
        Some(bytes) => builder.max_message(bytes).max_outgoing(bytes.max(4096)),
        None => builder,
    };
    let builder = match metrics {
        Some(metrics) => metrics.count(builder),
        None => builder,
    };
    let builder = match health.cluster() {
        Some(cluster) => builder.relay(cluster.clone()),
        None => builder,
    };
    let (builder, queue) = with_queue(builder, flags, health).await?;
    Ok((builder.build()?, queue))
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

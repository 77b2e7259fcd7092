//! The hub, and the listeners on it, from ready to drained.

use std::{
    future::{Future, pending},
    pin::pin,
    time::Duration,
};

use futures_util::future::{Either, join3, select};
use tok_core::{Hub, ShutdownReport, rt::Runtime, transport::Accept};
use tok_ws::{WsConfigError, WsHandler};

use super::{
    Error, Flags, Frames,
    actor::{Echo, Operations},
    goodbye::goodbye,
    login::Door,
    queue::with_queue,
};

/// Listeners of one runtime.
#[derive(Debug)]
pub(super) struct Listeners<T, U> {
    pub(super) ws: Option<T>,
    pub(super) tcp: Option<T>,
    pub(super) unix: Option<U>,
}

/// Serves until `stop` is ready, then drains.
pub(super) async fn serve<T: Accept, U: Accept>(
    flags: &Flags,
    runtime: impl Runtime,
    listeners: Listeners<T, U>,
    ready: impl FnOnce(),
    stop: impl Future<Output = ()>,
) -> Result<ShutdownReport, Error> {
    let hub = hub(flags, runtime).await?;
    let door = Door::new(flags.token.as_deref(), flags.echo);
    let frames = tok_tcp::Server::new(hub.clone(), door.clone());
    let ws = match listeners.ws {
        Some(listener) => Some((listener, websocket(flags, &hub, door)?)),
        None => None,
    };
    ready();
    let listening = join3(
        async {
            match ws {
                Some((listener, handler)) => tok_ws::serve(listener, handler).await,
                None => pending().await,
            }
        },
        accept(&frames, listeners.tcp),
        accept(&frames, listeners.unix),
    );
    let draining = async {
        stop.await;
        hub.shutdown(drain_time(flags.drain_timeout)).await
    };
    // While it drains the listeners answer logins with a refusal.
    match select(pin!(draining), pin!(listening)).await {
        Either::Left((report, _)) => Ok(report),
        // Listeners never end by themselves.
        Either::Right((_, draining)) => Ok(draining.await),
    }
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

async fn hub(flags: &Flags, runtime: impl Runtime) -> Result<Hub, Error> {
    const GIB: usize = 1 << 30;

    let max_message = flags.max_message;
    let builder = if flags.echo { Hub::builder(Echo) } else { Hub::builder(Operations) };
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
    Ok(with_queue(builder, flags).await?.build()?)
}

/// What the hub is given of the time to drain: it may take a moment more to store what the deadline cut off.
fn drain_time(timeout: Duration) -> Duration {
    timeout - (timeout / 4).min(Duration::from_millis(500))
}

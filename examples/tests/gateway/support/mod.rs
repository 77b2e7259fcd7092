//! A gateway, and clients for it. Every wait ends: with what was waited for, or with a panic that says what was not
//! there in time.

#[cfg(any(feature = "nats", feature = "redb", feature = "redis"))]
mod flow;
mod folder;
mod http;
mod process;
mod raw;
mod tcp;
mod tls;
mod ws;

use std::{ffi::OsString, future::Future, net::SocketAddr, path::PathBuf, thread, time::Duration};

use examples::gateway::{self, Addresses, Command, Flags, Signals};
use tok_core::ShutdownReport;
use tokio::sync::oneshot;

#[cfg(any(feature = "nats", feature = "redb", feature = "redis"))]
pub(crate) use self::flow::{Portion, Seen, Sent};
pub(crate) use self::{
    folder::Folder,
    http::{get, sample},
    process::Process,
    raw::{RawWs, frame, frame_head, request, status},
    tcp::Tcp,
    tls::Certificate,
    ws::Ws,
};

/// Much longer than anything takes: only what will never come takes this long.
const GUARD: Duration = Duration::from_secs(30);

/// Waits for what has to come.
pub(crate) async fn within<F: Future>(what: &str, future: F) -> F::Output {
    match tokio::time::timeout(GUARD, future).await {
        Ok(output) => output,
        Err(_) => panic!("waited in vain for {what}"),
    }
}

/// A gateway in this process. Dropping it begins its drain.
pub(crate) struct Gateway {
    addresses: Addresses,
    stop: Option<oneshot::Sender<()>>,
    ended: oneshot::Receiver<ShutdownReport>,
}

/// Flags that every gateway of a run is started with: the matrix runs these tests on each engine and runtime.
pub(crate) fn under() -> String {
    std::env::var("TOK_GATEWAY").unwrap_or_default()
}

impl Gateway {
    /// Both listeners, and these flags.
    pub(crate) async fn start(flags: &str) -> Self {
        Self::with(&format!("--ws 127.0.0.1:0 --tcp 127.0.0.1:0 {flags}")).await
    }

    /// These flags alone.
    pub(crate) async fn with(flags: &str) -> Self {
        // Two workers: the test has other processors to think of.
        let args = format!("--workers 2 {} {flags}", under());
        let flags = match Flags::parse(args.split_whitespace().map(OsString::from)) {
            Ok(Command::Serve(flags)) => flags,
            other => panic!("{other:?}"),
        };
        let (stop, stopped) = oneshot::channel::<()>();
        let (ready, is_ready) = oneshot::channel();
        let (end, ended) = oneshot::channel();
        thread::spawn(move || {
            let ready = |addresses: &Addresses| ready.send(addresses.clone()).unwrap();
            let stop = || {
                Ok(Signals::stop_when(async {
                    // A sender that was dropped stops it, too.
                    let _ = stopped.await;
                }))
            };
            let report = gateway::run(&flags, ready, stop).unwrap();
            // A test that does not ask has ended.
            let _ = end.send(report);
        });
        let addresses = within("the gateway", is_ready).await.unwrap();
        Self { addresses, stop: Some(stop), ended }
    }

    pub(crate) fn ws(&self) -> SocketAddr {
        self.addresses.ws.unwrap()
    }

    pub(crate) fn tcp(&self) -> SocketAddr {
        self.addresses.tcp.unwrap()
    }

    pub(crate) fn metrics(&self) -> SocketAddr {
        self.addresses.metrics.unwrap()
    }

    pub(crate) fn unix(&self) -> PathBuf {
        self.addresses.unix.clone().unwrap()
    }

    /// Begins to drain.
    pub(crate) fn drain(&mut self) {
        self.stop.take();
    }

    /// Waits for the end of the drain.
    pub(crate) async fn ended(mut self) -> ShutdownReport {
        self.drain();
        within("the end of the drain", self.ended).await.unwrap()
    }
}

/// The numbers behind the last `|` of messages.
pub(crate) fn number(message: &str) -> usize {
    let (_, number) = message.rsplit_once('|').unwrap_or_else(|| panic!("unexpected: {message}"));
    number.parse().unwrap_or_else(|_| panic!("unexpected: {message}"))
}

//! The gateway on one runtime or the other.

use std::io;

use tok_core::ShutdownReport;

use super::{
    Error, Flags, Signals,
    listeners::{Listeners, Together},
    reload::Replaceable,
    serve::serve,
    sockets::Sockets,
};

/// Serves on tokio's threads.
pub(super) fn on_tokio(
    flags: &Flags,
    files: Replaceable,
    sockets: Sockets,
    ready: impl FnOnce(),
    signals: impl FnOnce() -> io::Result<Signals>,
) -> Result<ShutdownReport, Error> {
    use tokio::net::{TcpListener, UnixListener};

    // One worker needs no work stealing: the plain scheduler wakes tasks at less cost and in the order of events.
    let mut builder = match flags.workers {
        1 => tokio::runtime::Builder::new_current_thread(),
        _ => tokio::runtime::Builder::new_multi_thread(),
    };
    if flags.workers > 1 {
        builder.worker_threads(flags.workers);
    }
    let runtime = builder.enable_all().build().map_err(Error::Runtime)?;
    runtime.block_on(async {
        let signals = signals().map_err(Error::Signals)?;
        let listen = |sockets| Together::new(sockets, TcpListener::from_std).map_err(Error::Runtime);
        let listeners = Listeners {
            ws: listen(sockets.ws)?,
            tcp: listen(sockets.tcp)?,
            unix: sockets.unix.map(UnixListener::from_std).transpose().map_err(Error::Runtime)?,
            metrics: listen(sockets.metrics)?,
        };
        serve(flags, tok_core::rt::Tokio, files, listeners, ready, signals).await
    })
}

#[cfg(feature = "smol")]
pub(super) use self::smol_workers::on_smol;

#[cfg(feature = "smol")]
mod smol_workers {
    use std::{
        io,
        panic::{AssertUnwindSafe, catch_unwind},
        sync::Arc,
        thread,
    };

    use smol::{
        Executor,
        net::{TcpListener, unix::UnixListener},
    };
    use tok_core::{
        ShutdownReport,
        rt::{BoxFuture, Instant, Runtime, Smol},
    };

    use super::{Error, Flags, Listeners, Replaceable, Signals, Sockets, Together, serve};

    /// Serves on threads of an executor of its own: the size of smol's global one is an environment variable's to set.
    pub(in crate::gateway) fn on_smol(
        flags: &Flags,
        files: Replaceable,
        sockets: Sockets,
        ready: impl FnOnce(),
        signals: impl FnOnce() -> io::Result<Signals>,
    ) -> Result<ShutdownReport, Error> {
        let signals = signals().map_err(Error::Signals)?;
        let workers = Workers(Arc::new(Executor::new()));
        // Dropping the sender ends the workers.
        let (running, ended) = smol::channel::bounded::<()>(1);
        thread::scope(|scope| {
            for _ in 0..flags.workers {
                let (executor, ended) = (&workers.0, &ended);
                let work = move || {
                    // A task that panics takes its thread's loop along, and no other task.
                    while catch_unwind(AssertUnwindSafe(|| smol::block_on(executor.run(ended.recv()))))
                        .is_err()
                    {}
                };
                thread::Builder::new().spawn_scoped(scope, work).map_err(Error::Runtime)?;
            }
            let running = running;
            let result = smol::block_on(async {
                let listen = |sockets| Together::new(sockets, TcpListener::try_from).map_err(Error::Runtime);
                let listeners = Listeners {
                    ws: listen(sockets.ws)?,
                    tcp: listen(sockets.tcp)?,
                    unix: sockets.unix.map(UnixListener::try_from).transpose().map_err(Error::Runtime)?,
                    metrics: listen(sockets.metrics)?,
                };
                serve(flags, workers.clone(), files, listeners, ready, signals).await
            });
            drop(running);
            result
        })
    }

    #[derive(Clone)]
    struct Workers(Arc<Executor<'static>>);

    impl Runtime for Workers {
        fn now(&self) -> Instant {
            Smol.now()
        }

        fn unix_time(&self) -> u64 {
            Smol.unix_time()
        }

        fn random(&self) -> u64 {
            Smol.random()
        }

        fn sleep_until(&self, deadline: Instant) -> BoxFuture<'static, ()> {
            Smol.sleep_until(deadline)
        }

        fn spawn(&self, _name: &'static str, future: BoxFuture<'static, ()>) {
            self.0.spawn(future).detach();
        }
    }
}

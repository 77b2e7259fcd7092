//! The signals that the gateway obeys: SIGTERM and SIGINT end it, and further ones change nothing, because the drain's
//! deadline stands. SIGHUP has it read its files again.

use std::{
    fmt,
    future::Future,
    io,
    pin::{Pin, pin},
};

use futures_util::{
    future::select,
    stream::{self, Stream},
};

use super::RuntimeName;

/// What tells a gateway to stop, and to read its files again.
pub struct Signals {
    pub(super) stop: Pin<Box<dyn Future<Output = ()>>>,
    pub(super) reload: Pin<Box<dyn Stream<Item = ()>>>,
}

impl Signals {
    /// Stops the gateway when `stop` is ready, and never has it read its files again.
    #[must_use]
    pub fn stop_when(stop: impl Future<Output = ()> + 'static) -> Self {
        Self { stop: Box::pin(stop), reload: Box::pin(stream::pending()) }
    }

    /// The process's signals from this call on, which has to be made on the runtime.
    ///
    /// # Errors
    /// The operating system does not let the process hear of them.
    pub fn of_the_process(runtime: RuntimeName) -> io::Result<Self> {
        match runtime {
            #[cfg(feature = "smol")]
            RuntimeName::Smol => on_smol(),
            _ => on_tokio(),
        }
    }
}

impl fmt::Debug for Signals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Signals")
    }
}

fn on_tokio() -> io::Result<Signals> {
    use tokio::signal::unix::{SignalKind, signal};

    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let hangup = signal(SignalKind::hangup())?;
    Ok(Signals {
        stop: Box::pin(async move {
            select(pin!(terminate.recv()), pin!(interrupt.recv())).await;
        }),
        reload: Box::pin(stream::unfold(hangup, |mut hangup| async {
            hangup.recv().await.map(|()| ((), hangup))
        })),
    })
}

/// smol has no signals of its own: a thread waits for them.
#[cfg(feature = "smol")]
fn on_smol() -> io::Result<Signals> {
    use signal_hook::{
        consts::{SIGHUP, SIGINT, SIGTERM},
        iterator::Signals as Incoming,
    };

    let mut signals = Incoming::new([SIGTERM, SIGINT, SIGHUP])?;
    let (stop, stopped) = smol::channel::bounded::<()>(1);
    let (hangup, reload) = smol::channel::bounded::<()>(1);
    std::thread::Builder::new().name("signals".to_owned()).spawn(move || {
        for signal in signals.forever() {
            // A channel that is full holds the same news already.
            let _ = if signal == SIGHUP { hangup.try_send(()) } else { stop.try_send(()) };
        }
    })?;
    Ok(Signals {
        stop: Box::pin(async move {
            let _ = stopped.recv().await;
        }),
        reload: Box::pin(reload),
    })
}

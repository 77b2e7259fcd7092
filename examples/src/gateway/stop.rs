//! The signals that end the gateway: SIGTERM and SIGINT. Further ones change nothing: the drain's deadline stands.

use std::{
    future::Future,
    io,
    pin::{Pin, pin},
};

use futures_util::future::select;

use super::RuntimeName;

type Signal = Pin<Box<dyn Future<Output = ()>>>;

/// Ready at the first signal after this call, which has to be made on the runtime.
///
/// # Errors
/// The operating system does not let the process hear of them.
pub fn stop_signal(runtime: RuntimeName) -> io::Result<Signal> {
    match runtime {
        #[cfg(feature = "smol")]
        RuntimeName::Smol => on_smol(),
        _ => on_tokio(),
    }
}

fn on_tokio() -> io::Result<Signal> {
    use tokio::signal::unix::{SignalKind, signal};

    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    Ok(Box::pin(async move {
        select(pin!(terminate.recv()), pin!(interrupt.recv())).await;
    }))
}

/// smol has no signals of its own: a thread waits for them.
#[cfg(feature = "smol")]
fn on_smol() -> io::Result<Signal> {
    use signal_hook::{
        consts::{SIGINT, SIGTERM},
        iterator::Signals,
    };

    let mut signals = Signals::new([SIGTERM, SIGINT])?;
    let (sender, receiver) = smol::channel::bounded::<()>(1);
    std::thread::Builder::new().name("signals".to_owned()).spawn(move || {
        signals.forever().next();
        // Closes the channel.
        drop(sender);
    })?;
    Ok(Box::pin(async move {
        let _ = receiver.recv().await;
    }))
}

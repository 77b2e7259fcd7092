//! The gateway program; see `examples::gateway`.

use std::{
    env,
    io::{self, Write},
    process::ExitCode,
    thread,
};

use examples::gateway::{self, Addresses, Command, Flags, HELP, QueueName};
use signal_hook::{
    consts::{SIGINT, SIGTERM},
    iterator::Signals,
};
use tokio::sync::oneshot;

fn main() -> ExitCode {
    match Flags::parse(env::args_os().skip(1)) {
        Ok(Command::Serve(flags)) => serve(&flags),
        Ok(_) => {
            println!("{HELP}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("gateway: {error}");
            ExitCode::from(2)
        }
    }
}

fn serve(flags: &Flags) -> ExitCode {
    let stop = match stop_signal() {
        Ok(stop) => stop,
        Err(error) => {
            eprintln!("gateway: cannot listen for signals: {error}");
            return ExitCode::FAILURE;
        }
    };
    match gateway::run(flags, say_ready, stop) {
        Ok(report) => {
            eprintln!("gateway: drained {} sessions, cut off {}", report.sessions, report.forced);
            // The memory queue ends with the process, as everybody knows who chose it.
            if report.unstored > 0 && flags.queue != QueueName::Memory {
                eprintln!("gateway: {} kept messages could not be stored and are lost", report.unstored);
                return ExitCode::FAILURE;
            }
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("gateway: {error}");
            ExitCode::from(if error.is_usage() { 2 } else { 1 })
        }
    }
}

/// The one line on stdout. Whoever started the gateway may have closed it, which is no reason to stop.
fn say_ready(addresses: &Addresses) {
    let mut stdout = io::stdout().lock();
    let _ = writeln!(stdout, "{addresses}").and_then(|()| stdout.flush());
}

/// Ready at the first SIGTERM or SIGINT, whatever the runtime. Further ones change nothing: the deadline stands.
fn stop_signal() -> io::Result<impl Future<Output = ()>> {
    let mut signals = Signals::new([SIGTERM, SIGINT])?;
    let (sender, receiver) = oneshot::channel();
    thread::Builder::new().name("signals".to_owned()).spawn(move || {
        if signals.forever().next().is_some() {
            eprintln!("gateway: draining");
            // Nobody waits any more: the gateway could not start and is about to say so.
            let _ = sender.send(());
        }
    })?;
    Ok(async move {
        // The thread sends before it ends.
        let _ = receiver.await;
    })
}

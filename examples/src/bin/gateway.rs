//! The gateway program; see `examples::gateway`. It runs on Unix systems.

use std::process::ExitCode;
#[cfg(unix)]
use std::{
    env,
    io::{self, Write},
};

#[cfg(unix)]
use examples::gateway::{self, Addresses, Command, Flags, HELP, QueueName};

#[cfg(not(unix))]
fn main() -> ExitCode {
    eprintln!("gateway: it listens on Unix sockets and obeys Unix signals; this system has neither");
    ExitCode::from(2)
}

#[cfg(unix)]
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

#[cfg(unix)]
fn serve(flags: &Flags) -> ExitCode {
    let stop = || {
        let signal = gateway::stop_signal(flags.runtime)?;
        Ok(async move {
            signal.await;
            eprintln!("gateway: draining");
        })
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
#[cfg(unix)]
fn say_ready(addresses: &Addresses) {
    let mut stdout = io::stdout().lock();
    let _ = writeln!(stdout, "{addresses}").and_then(|()| stdout.flush());
}

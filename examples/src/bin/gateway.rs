//! The gateway program; see `examples::gateway`. It runs on Unix systems.

use std::process::ExitCode;
#[cfg(unix)]
use std::{
    env,
    fmt::Display,
    io::{self, Write},
};

#[cfg(unix)]
use examples::gateway::{self, Addresses, Command, Flags, HELP, QueueName, Signals};

/// Gives memory back to the system within some ten seconds after a burst, also where what is freed lies between what
/// lives; glibc's allocator keeps much of it. `_RJEM_MALLOC_CONF` in the environment configures it.
#[cfg(target_os = "linux")]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

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
            // The reader may have closed it.
            let _ = writeln!(io::stdout(), "{HELP}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            complain(&error);
            ExitCode::from(2)
        }
    }
}

#[cfg(unix)]
fn serve(flags: &Flags) -> ExitCode {
    let log = gateway::log_to_stderr(flags.log);
    let result = gateway::run(flags, say_ready, || Signals::of_the_process(flags.runtime));
    // All lines of the log come before the last word.
    drop(log);
    match result {
        // The memory queue ends with the process, as everybody knows who chose it.
        Ok(report) if report.unstored > 0 && flags.queue != QueueName::Memory => {
            let lost = report.unstored;
            complain(&format_args!("{lost} kept messages could not be stored and are lost"));
            ExitCode::FAILURE
        }
        Ok(_) => ExitCode::SUCCESS,
        Err(error) => {
            complain(&error);
            ExitCode::from(if error.is_usage() { 2 } else { 1 })
        }
    }
}

/// One line on stderr, whatever `--log` says.
#[cfg(unix)]
fn complain(what: &dyn Display) {
    let _ = writeln!(io::stderr(), "gateway: {what}");
}

/// The one line on stdout. Whoever started the gateway may have closed it, which is no reason to stop.
#[cfg(unix)]
fn say_ready(addresses: &Addresses) {
    let mut stdout = io::stdout().lock();
    let _ = writeln!(stdout, "{addresses}").and_then(|()| stdout.flush());
}

//! What connections cost by being there: memory, and CPU time to get in.

use std::{
    io,
    time::{Duration, Instant},
};

use tokio::time::sleep;

use super::{Config, Report, frame, log_in, process::Process};

/// The server is looked at so often.
const STEP: Duration = Duration::from_millis(250);
/// It has settled when so many looks in a row saw no change.
const STILL: usize = 4;
/// A server that never rests is taken as it is after so many looks.
const MAX_LOOKS: usize = 60;

/// Memory per connection.
pub(super) async fn run(config: &Config) -> io::Result<Report> {
    let server = config.server().ok_or_else(|| io::Error::other("idle needs --pid"))?;
    let begin = Instant::now();
    let before = settled(|| server.resident()).await?;
    let mut clients = log_in(config, false).await?;
    let idle = settled(|| server.resident()).await?;

    let payload = vec![b'E'; config.size];
    let mut message = Vec::new();
    frame::push_masked(&mut message, frame::TEXT, &payload);
    for client in &mut clients {
        client.send(&message)?;
        client.expect(b'E', 1).await?;
    }
    let after = settled(|| server.resident()).await?;
    let each = |now: u64| Some(now.saturating_sub(before) as f64 / 1024.0 / config.connections as f64);
    Ok(Report {
        delivered: config.connections as u64,
        per_second: config.connections as f64 / begin.elapsed().as_secs_f64(),
        idle_kib: each(idle),
        idle_after_kib: each(after),
        ..Report::default()
    })
}

/// CPU time per login.
pub(super) async fn connect(config: &Config) -> io::Result<Report> {
    let cpu = |process: Option<Process>| process.map(Process::cpu).transpose();
    let (begin, before, own_before) = (Instant::now(), cpu(config.server())?, Process::this().cpu()?);
    let clients = log_in(config, false).await?;
    let elapsed = begin.elapsed();
    let own = Process::this().cpu()?.saturating_sub(own_before);
    // The server's part of a login goes on behind its 101.
    let spent = match (config.server(), before) {
        (Some(server), Some(before)) => {
            // A look at an idle server may find it some microseconds on.
            let at_rest = settled(|| Ok(server.cpu()?.as_millis() as u64)).await?;
            Some(Duration::from_millis(at_rest).saturating_sub(before))
        }
        _ => None,
    };
    let logins = clients.len();
    Ok(Report {
        delivered: logins as u64,
        per_second: logins as f64 / elapsed.as_secs_f64(),
        cpu_us: spent.map(|spent| spent.as_secs_f64() * 1e6 / logins as f64),
        tool_load: own.as_secs_f64() / elapsed.as_secs_f64(),
        ..Report::default()
    })
}

/// Looks until the value rests.
async fn settled(look: impl Fn() -> io::Result<u64>) -> io::Result<u64> {
    let mut value = look()?;
    let mut still = 0;
    for _ in 0..MAX_LOOKS {
        sleep(STEP).await;
        let now = look()?;
        still = if now == value { still + 1 } else { 0 };
        value = now;
        if still == STILL {
            break;
        }
    }
    Ok(value)
}

//! How often something can be done, and what it costs this process and the server.

use std::{
    fs,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use crate::Broker;

const TIME: Duration = Duration::from_secs(3);

impl Broker {
    /// Bytes in memory: this process's and the server's, where the system tells.
    pub(crate) fn memory(&self) -> [f64; 2] {
        ["self", &self.pid].map(|pid| {
            let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
            let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
            let kilobytes = line.and_then(|line| line.split_whitespace().next()?.parse().ok());
            kilobytes.unwrap_or(0.0) / 1024.0
        })
    }

    pub(crate) fn grown(&self, before: [f64; 2]) {
        let now = self.memory();
        println!("  memory: client +{:.1} MiB, server +{:.1} MiB", now[0] - before[0], now[1] - before[1]);
    }

    /// Microseconds of processor time: this process's and the server's.
    fn cpu(&self) -> [f64; 2] {
        ["self", &self.pid].map(|pid| {
            let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            // Fields 14 and 15, in ticks of 10 ms; the name is in brackets and may hold spaces.
            let fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace().skip(11).take(2);
            fields.filter_map(|ticks| ticks.parse::<f64>().ok()).sum::<f64>() * 10_000.0
        })
    }
}

/// Has tasks do something again and again for a while; it is given a number that rises.
pub(crate) async fn rate<F, R>(name: &str, tasks: usize, on: &Broker, work: F)
where
    F: Fn(u64) -> R + Clone + Send + 'static,
    R: Future<Output = ()> + Send + 'static,
{
    let (stop, next) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let (start, before) = (Instant::now(), on.cpu());
    let tasks: Vec<_> = (0..tasks)
        .map(|_| {
            let (stop, next, work) = (Arc::clone(&stop), Arc::clone(&next), work.clone());
            tokio::spawn(async move {
                let mut times = Vec::new();
                while !stop.load(Ordering::Relaxed) {
                    let start = Instant::now();
                    work(next.fetch_add(1, Ordering::Relaxed)).await;
                    times.push(start.elapsed());
                    // Where nothing ever waits the others have to get their turn, too.
                    tokio::task::consume_budget().await;
                }
                times
            })
        })
        .collect();
    tokio::time::sleep(TIME).await;
    stop.store(true, Ordering::Relaxed);
    let mut times = Vec::new();
    for task in tasks {
        times.extend(task.await.expect("a task"));
    }
    let (took, after) = (start.elapsed(), on.cpu());
    let (count, each) =
        (times.len() as f64, |at: usize| (after[at] - before[at]) / times.len().max(1) as f64);
    let (here, server) = (each(0), each(1));
    times.sort_unstable();
    let at = |part: usize| times.get(times.len() * part / 100).copied().unwrap_or_default();
    println!(
        "  {name}: {:7.0} a second; median {:7.1?}, 99th {:7.1?}; CPU {here:5.1} µs here, {server:5.1} µs in the server",
        count / took.as_secs_f64(),
        at(50),
        at(99),
    );
}

//! Messages on their way: fan-out, rooms, echo, relay and pipelined.

use std::{
    future::poll_fn,
    io,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    task::Poll,
    time::Instant,
};

use tokio::{sync::Notify, task::JoinSet, time::sleep};

use super::{
    Config, Histogram, Report, Scenario,
    client::{Client, unexpected},
    frame::{TEXT, push_masked},
    log_in,
    process::Process,
    uid,
};

/// What the connections count together.
#[derive(Debug, Default)]
struct Tally {
    delivered: AtomicU64,
    out_of_order: AtomicU64,
    latency: Mutex<Histogram>,
}

/// Those who get one sender's messages.
#[derive(Debug)]
struct Audience {
    operation: u8,
    size: u64,
    /// Receivers that the current message has yet to reach.
    missing: AtomicU64,
    reached_all: Notify,
}

impl Audience {
    fn new(operation: u8, size: usize) -> Arc<Self> {
        let (missing, reached_all) = (AtomicU64::new(0), Notify::new());
        Arc::new(Self { operation, size: size as u64, missing, reached_all })
    }

    fn reached(&self) {
        if self.missing.fetch_sub(1, Relaxed) == 1 {
            self.reached_all.notify_one();
        }
    }
}

/// Members of a room.
const ROOM: usize = 10;

impl Tally {
    fn latency(&self) -> std::sync::MutexGuard<'_, Histogram> {
        // A poisoned histogram is still a histogram.
        self.latency.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn deliver(&self, count: u64) {
        self.delivered.fetch_add(count, Relaxed);
    }
}

/// A moment of the run: the clock, the server's CPU time, the tool's, and the messages so far.
struct Moment {
    at: Instant,
    server: Option<std::time::Duration>,
    own: std::time::Duration,
    delivered: u64,
}

impl Moment {
    fn now(config: &Config, tally: &Tally) -> io::Result<Self> {
        Ok(Self {
            server: config.server().map(Process::cpu).transpose()?,
            own: Process::this().cpu()?,
            delivered: tally.delivered.load(Relaxed),
            at: Instant::now(),
        })
    }
}

pub(super) async fn run(config: &Config) -> io::Result<Report> {
    let mut clients = log_in(config, true).await?;
    if config.scenario == Scenario::Rooms {
        for (index, client) in clients.iter_mut().enumerate() {
            join(client, index / ROOM).await?;
        }
    }
    let tally = Arc::new(Tally::default());
    let everybody = Audience::new(b'B', config.connections);
    let mut room = Audience::new(b'R', ROOM.min(config.connections));
    let mut tasks = JoinSet::new();
    for (index, client) in clients.into_iter().enumerate() {
        let tally = Arc::clone(&tally);
        let message = |head: &str| message(config.size, head);
        match config.scenario {
            Scenario::FanOut if index == 0 => {
                tasks.spawn(publish(client, message("B"), Arc::clone(&everybody), tally));
            }
            Scenario::FanOut => drop(tasks.spawn(receive(client, Arc::clone(&everybody), tally))),
            Scenario::Rooms => {
                let first = index / ROOM * ROOM;
                if index == first {
                    room = Audience::new(b'R', ROOM.min(config.connections - first));
                    let message = message(&format!("R{}|", index / ROOM));
                    tasks.spawn(publish(client, message, Arc::clone(&room), tally));
                } else {
                    tasks.spawn(receive(client, Arc::clone(&room), tally));
                }
            }
            Scenario::Relay => {
                // Partners are neighbours; who has none, in an odd number, is left out.
                let partner = index ^ 1;
                if partner < config.connections {
                    tasks.spawn(one_at_a_time(client, message(&format!("T{}|", uid(partner))), b'T', tally));
                }
            }
            Scenario::Pipelined => {
                let burst = burst(config.size, config.messages);
                tasks.spawn(pipeline(client, burst, config.messages as u64, tally));
            }
            _ => drop(tasks.spawn(one_at_a_time(client, message("E"), b'E', tally))),
        }
    }

    let measure = async {
        sleep(config.warmup).await;
        tally.latency().clear();
        let begin = Moment::now(config, &tally)?;
        sleep(config.window).await;
        io::Result::Ok((begin, Moment::now(config, &tally)?))
    };
    let (begin, end) = tokio::select! {
        biased;
        moments = measure => moments?,
        ended = tasks.join_next() => return Err(match ended {
            Some(Ok(Err(error))) => error,
            Some(Err(error)) => io::Error::other(error),
            Some(Ok(Ok(()))) | None => io::Error::other("a connection ended before its time"),
        }),
    };

    let seconds = (end.at - begin.at).as_secs_f64();
    let delivered = end.delivered - begin.delivered;
    if delivered == 0 {
        return Err(io::Error::other("nothing was delivered in the time of the measurement"));
    }
    let latency = tally.latency().clone();
    let millis = |duration: std::time::Duration| duration.as_secs_f64() * 1e3;
    Ok(Report {
        delivered,
        per_second: delivered as f64 / seconds,
        out_of_order: tally.out_of_order.load(Relaxed),
        cpu_us: begin
            .server
            .zip(end.server)
            .map(|(begin, end)| (end - begin).as_secs_f64() * 1e6 / delivered as f64),
        tool_load: (end.own - begin.own).as_secs_f64() / seconds,
        p50_ms: millis(latency.quantile(0.5)),
        p99_ms: millis(latency.quantile(0.99)),
        max_ms: millis(latency.max()),
        ..Report::default()
    })
}

/// A frame of `size` payload bytes that begins with `head`.
fn message(size: usize, head: &str) -> Vec<u8> {
    let mut payload = head.as_bytes().to_vec();
    payload.resize(size.max(payload.len()), b'.');
    let mut frame = Vec::new();
    push_masked(&mut frame, TEXT, &payload);
    frame
}

/// Numbered messages, in one piece.
fn burst(size: usize, count: usize) -> Vec<u8> {
    (0..count).flat_map(|number| message(size, &format!("E{number:08}"))).collect()
}

/// Sends the next message when the answer, or the partner's message, is there.
async fn one_at_a_time(
    mut client: Client,
    message: Vec<u8>,
    operation: u8,
    tally: Arc<Tally>,
) -> io::Result<()> {
    loop {
        let sent = Instant::now();
        client.send(&message)?;
        client.expect(operation, 1).await?;
        tally.deliver(1);
        tally.latency().record(sent.elapsed());
    }
}

async fn join(client: &mut Client, room: usize) -> io::Result<()> {
    let mut frame = Vec::new();
    push_masked(&mut frame, TEXT, format!("J{room}").as_bytes());
    client.send(&frame)?;
    client.expect(b'+', 1).await
}

/// Sends the next message when the last has reached everybody.
async fn publish(
    mut client: Client,
    message: Vec<u8>,
    audience: Arc<Audience>,
    tally: Arc<Tally>,
) -> io::Result<()> {
    loop {
        audience.missing.store(audience.size, Relaxed);
        let sent = Instant::now();
        client.send(&message)?;
        client.expect(audience.operation, 1).await?;
        tally.deliver(1);
        audience.reached();
        audience.reached_all.notified().await;
        tally.latency().record(sent.elapsed());
    }
}

async fn receive(mut client: Client, audience: Arc<Audience>, tally: Arc<Tally>) -> io::Result<()> {
    loop {
        client.expect(audience.operation, 1).await?;
        tally.deliver(1);
        audience.reached();
    }
}

/// Sends a burst when all of the last one is back, and looks at the order of what comes.
async fn pipeline(mut client: Client, burst: Vec<u8>, count: u64, tally: Arc<Tally>) -> io::Result<()> {
    loop {
        let sent = Instant::now();
        client.send(&burst)?;
        let mut expected = 0;
        let mut refused = None;
        poll_fn(|cx| {
            while expected < count {
                let before = expected;
                let polled = client.poll_messages(cx, |message| {
                    refused = refused.take().or_else(|| unexpected(message, b'E'));
                    if number(message) != Some(expected) {
                        tally.out_of_order.fetch_add(1, Relaxed);
                    }
                    expected += 1;
                });
                tally.deliver(expected - before);
                match polled {
                    Poll::Ready(Ok(())) => {}
                    other => return other,
                }
            }
            Poll::Ready(Ok(()))
        })
        .await?;
        if let Some(error) = refused {
            return Err(error);
        }
        tally.latency().record(sent.elapsed());
    }
}

/// The eight digits behind the operation.
fn number(message: &[u8]) -> Option<u64> {
    message
        .get(1..9)?
        .iter()
        .try_fold(0, |sum, digit| digit.is_ascii_digit().then(|| sum * 10 + u64::from(digit - b'0')))
}

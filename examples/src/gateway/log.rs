//! What the gateway writes to stderr: one line an event.

use std::{
    collections::HashMap,
    fmt, io,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use tracing::{Event, Subscriber, callsite::Identifier};
use tracing_appender::non_blocking::{NonBlocking, WorkerGuard};
use tracing_subscriber::{
    filter::{LevelFilter, Targets},
    fmt::{
        FmtContext, FormatEvent, FormatFields, format,
        format::{Compact, Format, Writer},
    },
    layer::{Layer, SubscriberExt},
    registry::LookupSpan,
};

/// `--log`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, clippy::exhaustive_enums)]
pub enum LogLevel {
    Error,
    Warn,
    Info,
    Debug,
    Trace,
}

/// Whose events are written. Those of other crates can name a broker with its password.
const TARGETS: [&str; 2] = ["gateway", "tok"];

/// Lines that wait for stderr. Further ones are left out: nobody waits for a terminal that is stopped.
const MAX_WAITING: usize = 1024;

/// Events that each place in the code may log in one window. Clients can cause most of them.
const MAX_ALIKE: u32 = 20;
const WINDOW: Duration = Duration::from_secs(10);

/// Writes events to stderr from now on, until the process ends. Dropping the value waits a moment for lines that are not
/// written yet. `None` if the process has a log already, or no thread for it.
pub fn log_to_stderr(level: LogLevel) -> Option<impl Sized> {
    let (lines, guard): (NonBlocking, WorkerGuard) =
        tracing_appender::non_blocking::NonBlockingBuilder::default()
            .buffered_lines_limit(MAX_WAITING)
            .lossy(true)
            .thread_name("log")
            .finish(io::stderr());
    let subscriber = subscriber(level, move || lines.clone());
    tracing::subscriber::set_global_default(subscriber).ok().map(|()| guard)
}

fn subscriber<W>(level: LogLevel, writer: W) -> impl Subscriber + Send + Sync
where
    W: for<'a> tracing_subscriber::fmt::MakeWriter<'a> + Send + Sync + 'static,
{
    let level = match level {
        LogLevel::Error => LevelFilter::ERROR,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Debug => LevelFilter::DEBUG,
        LogLevel::Trace => LevelFilter::TRACE,
    };
    let lines = tracing_subscriber::fmt::layer()
        .with_ansi(false)
        .log_internal_errors(false)
        .event_format(Lines::new())
        .with_writer(writer)
        .with_filter(Targets::new().with_targets(TARGETS.map(|target| (target, level))));
    tracing_subscriber::registry().with(lines)
}

/// Writes an event as one line, or not at all if there were too many alike.
struct Lines {
    format: Format<Compact>,
    seen: Mutex<HashMap<Identifier, Seen>>,
}

/// Events of one place in the code.
#[derive(Debug)]
struct Seen {
    since: Instant,
    written: u32,
    left_out: u64,
}

impl Seen {
    /// How many events alike were left out before this one; `None` if this one is left out too.
    fn admit(&mut self, now: Instant) -> Option<u64> {
        if now.saturating_duration_since(self.since) >= WINDOW {
            (self.since, self.written) = (now, 0);
        }
        if self.written >= MAX_ALIKE {
            self.left_out += 1;
            return None;
        }
        self.written += 1;
        Some(std::mem::take(&mut self.left_out))
    }
}

impl Lines {
    fn new() -> Self {
        Self { format: format().compact(), seen: Mutex::default() }
    }

    fn admit(&self, place: Identifier) -> Option<u64> {
        let now = Instant::now();
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.entry(place).or_insert(Seen { since: now, written: 0, left_out: 0 }).admit(now)
    }
}

impl<S, N> FormatEvent<S, N> for Lines
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let Some(left_out) = self.admit(event.metadata().callsite()) else {
            return Ok(());
        };
        let mut text = String::new();
        self.format.format_event(context, Writer::new(&mut text), event)?;
        for char in text.trim_end().chars() {
            // Names and errors can hold anything.
            match char {
                char if char.is_control() => write!(writer, "{}", char.escape_default())?,
                char => writer.write_char(char)?,
            }
        }
        if left_out > 0 {
            write!(writer, " ({left_out} more like this were not written)")?;
        }
        writeln!(writer)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[derive(Clone, Default)]
    struct Memory(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Memory {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn written(level: LogLevel, run: impl FnOnce()) -> String {
        let memory = Memory::default();
        let writer = memory.clone();
        tracing::subscriber::with_default(subscriber(level, move || writer.clone()), run);
        let bytes = memory.0.lock().unwrap().clone();
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn an_event_is_one_line_whatever_it_holds() {
        let text = written(LogLevel::Info, || {
            tracing::info!(target: "gateway", user = "a\nb\u{1b}[31m\r", "two\nlines");
        });
        assert_eq!(text.lines().count(), 1, "{text}");
        assert!(text.ends_with('\n') && text.contains("INFO"), "{text}");
        assert!(!text.trim_end().contains(char::is_control), "{text:?}");
    }

    #[test]
    fn events_below_the_level_and_of_other_crates_are_not_written() {
        let run = || {
            tracing::warn!(target: "gateway", "first");
            tracing::info!(target: "tok", "second");
            tracing::debug!(target: "tok", "third");
            tracing::error!(target: "async_nats", "nats://user:password@host");
        };
        for (level, expected) in
            [(LogLevel::Error, 0), (LogLevel::Warn, 1), (LogLevel::Info, 2), (LogLevel::Trace, 3)]
        {
            let text = written(level, run);
            assert_eq!(text.lines().count(), expected, "{text}");
            assert!(!text.contains("password"), "{text}");
        }
    }

    #[test]
    fn events_alike_are_bounded_and_counted() {
        let text = written(LogLevel::Info, || {
            for number in 0..1000 {
                tracing::info!(target: "gateway", number, "a client caused this");
                if number == 500 {
                    tracing::info!(target: "gateway", "another");
                }
            }
        });
        assert_eq!(text.matches("a client caused this").count(), MAX_ALIKE as usize, "{text}");
        assert_eq!(text.matches("another").count(), 1, "{text}");

        let start = Instant::now();
        let mut seen = Seen { since: start, written: 0, left_out: 0 };
        for _ in 0..MAX_ALIKE {
            assert_eq!(seen.admit(start), Some(0));
        }
        for _ in 0..7 {
            assert_eq!(seen.admit(start), None);
        }
        assert_eq!(seen.admit(start + WINDOW), Some(7));
        assert_eq!(seen.admit(start + WINDOW), Some(0));
    }
}

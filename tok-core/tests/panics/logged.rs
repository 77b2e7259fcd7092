//! What the log says of a panic.

use std::{
    cell::RefCell,
    fmt::{Debug, Write as _},
    sync::Once,
};

use tok_core::{Device, Hub, HubBuilder, Message, Received, Sending, Session, Sso};
use tracing::{
    Event, Metadata, Subscriber,
    field::{Field, Visit},
    span::{Attributes, Id, Record},
};

use super::common::*;

thread_local! {
    /// Where the events of this thread's test are noted.
    static JOURNAL: RefCell<Option<Journal>> = const { RefCell::new(None) };
}

/// Notes each event's level and fields for the test whose thread it is. It is the process's subscriber: where each test
/// sets one of its own, tests that run at the same time can switch off each other's events.
struct Log;

impl Log {
    /// Begins to note the events of this thread, until the guard is dropped.
    fn begin() -> (Journal, Noting) {
        static SET: Once = Once::new();
        SET.call_once(|| tracing::subscriber::set_global_default(Self).unwrap());
        let journal = Journal::default();
        JOURNAL.set(Some(journal.clone()));
        (journal, Noting)
    }
}

struct Noting;

impl Drop for Noting {
    fn drop(&mut self) {
        JOURNAL.set(None);
    }
}

impl Subscriber for Log {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }
    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }
    fn record(&self, _: &Id, _: &Record<'_>) {}
    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn event(&self, event: &Event<'_>) {
        let mut line = Line(event.metadata().level().to_string());
        event.record(&mut line);
        if event.metadata().target() == "tok" {
            JOURNAL.with_borrow(|journal| {
                if let Some(journal) = journal {
                    journal.note(line.0);
                }
            });
        }
    }
    fn enter(&self, _: &Id) {}
    fn exit(&self, _: &Id) {}
}

struct Line(String);

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        let _ = write!(self.0, " {}={value:?}", field.name());
    }
}

fn told(_: &Session) -> ! {
    panic!("told to panic")
}

/// A session in which the hook of this name panics, brought to call it.
async fn log_of(name: &str) -> Vec<String> {
    let echo = Act(|session: Session, message: Message| async move { drop(session.send(message)) });
    let builder = builder_of(echo).ping_interval(secs(10));
    let builder: HubBuilder = match name {
        "on_receive" => builder_of(Act(|session: Session, _| async move { told(&session) })),
        "before_receive" => builder.before_receive(|session, _| -> Received { told(session) }),
        "before_send" => builder.before_send(|session, _| -> Sending { told(session) }),
        "after_send" => builder.after_send(|session, _| told(session)),
        "open" => builder.open(|session| told(session)),
        "close" => builder.close(|session, _| told(session)),
        "ping" => builder.ping(|session| -> Message { told(session) }),
        "bye" => builder.bye(|session, _| -> Option<Message> { told(session) }),
        "undelivered" => builder.undelivered(|_, _, _| panic!("told to panic")),
        "Sso::by_class" => builder.sso(Sso::by_class(|_| -> String { panic!("told to panic") })),
        other => panic!("no such hook: {other}"),
    };
    let hub = builder.build().unwrap();
    let (log, _guard) = Log::begin();
    drive(&hub).await;
    log.lines()
}

/// Makes a hub call each of its hooks.
async fn drive(hub: &Hub) {
    let _ = hub.send("nobody", "secret").await.unwrap();
    let mut client = login_with(hub, Device::new("alice"), BUFFER).await;
    client.peer.answers(false);
    client.send("secret");
    client.drain().await;
    pass(secs(11)).await;
    let _ = hub.kick("alice").await.unwrap();
    client.drain().await;
    client.peer.close();
    client.session.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_panic_is_logged_with_the_hooks_name_and_the_payloads_text() {
    for hook in [
        "on_receive",
        "before_receive",
        "before_send",
        "after_send",
        "open",
        "close",
        "ping",
        "bye",
        "undelivered",
        "Sso::by_class",
    ] {
        let line = format!("ERROR message=a hook or handler panicked hook={hook} panic=\"told to panic\"");
        let lines = log_of(hook).await;
        let errors: Vec<&String> = lines.iter().filter(|line| line.starts_with("ERROR")).collect();
        assert_eq!(errors, [&line], "{hook}");
        assert!(lines.iter().all(|line| !line.contains("secret")), "{hook}: {lines:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_long_payload_is_cut_and_one_that_is_no_text_is_named_so() {
    let logged = async |payload: fn()| {
        let hub = builder().undelivered(move |_, _, _| payload()).build().unwrap();
        let (log, _guard) = Log::begin();
        let _ = hub.send("nobody", "secret").await.unwrap();
        log.lines().pop().unwrap()
    };
    let line = logged(|| panic!("{}", "é".repeat(10_000))).await;
    assert!(line.contains(&"é".repeat(100)) && line.len() < 400, "{line}");
    // One line, whatever the text holds.
    let line = logged(|| panic!("two\nlines")).await;
    assert!(line.ends_with("panic=\"two\\nlines\""), "{line}");
    let line = logged(|| std::panic::panic_any(7)).await;
    assert!(line.ends_with("panic=\"(no text)\""), "{line}");
}

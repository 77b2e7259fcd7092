//! A configuration that cannot work is an error from `build()`, which names what is wrong.

use std::time::Duration;

use tok_core::{
    Actor, ConfigError, Durability, Hub, HubBuilder, Message, Queue, SendError, Session, async_trait,
    queue::Caps,
    testkit::{queue::ReferenceQueue, sim::Sim},
};

struct Silent;

#[async_trait]
impl Actor for Silent {
    async fn on_receive(&self, _: &Session, _: Message) {}
}

fn builder() -> HubBuilder {
    Hub::builder(Silent).runtime(Sim::new(0).runtime())
}

fn durable() -> ReferenceQueue {
    ReferenceQueue::with_caps(Caps {
        durable: true,
        shared: false,
        max_messages: 10,
        max_bytes: 10_000,
        max_message: None,
    })
}

#[test]
fn the_defaults_work() {
    builder().build().unwrap();
}

#[test]
fn a_runtime_has_to_be_given() {
    let error = Hub::builder(Silent).build().unwrap_err();
    assert!(matches!(error, ConfigError::NoRuntime), "{error:?}");
    assert!(error.to_string().contains(".runtime("), "{error}");
}

#[cfg(feature = "tokio")]
#[test]
fn tokio_has_to_run_on_the_thread_that_builds() {
    let build = || Hub::builder(Silent).runtime(tok_core::rt::Tokio).build();
    let error = build().unwrap_err();
    assert!(matches!(error, ConfigError::RuntimeNotRunning(_)), "{error:?}");
    assert!(std::error::Error::source(&error).is_some());
    let tokio = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let _entered = tokio.enter();
    build().unwrap();
}

type Set = fn(HubBuilder) -> HubBuilder;

#[test]
fn zero_is_refused_where_nothing_could_work() {
    let settings: [(&str, Set); 6] = [
        ("max_message", |builder| builder.max_message(0)),
        ("max_outgoing", |builder| builder.max_outgoing(0)),
        ("max_inbound", |builder| builder.max_inbound(0)),
        ("max_backlog", |builder| builder.max_backlog(0)),
        ("max_memory", |builder| builder.max_memory(0)),
        ("close_timeout", |builder| builder.close_timeout(Duration::ZERO)),
    ];
    for (name, set) in settings {
        match set(builder()).build() {
            Err(ConfigError::Invalid { setting, .. }) => assert_eq!(setting, name),
            other => panic!("{name}: {other:?}"),
        }
    }
}

#[test]
fn zero_is_no_limit_where_the_docs_say_so() {
    let settings: [(&str, Set); 7] = [
        ("auth_timeout", |builder| builder.auth_timeout(Duration::ZERO)),
        ("read_timeout", |builder| builder.read_timeout(Duration::ZERO)),
        ("write_timeout", |builder| builder.write_timeout(Duration::ZERO)),
        ("ping_interval", |builder| builder.ping_interval(Duration::ZERO)),
        ("max_sessions", |builder| builder.max_sessions(0)),
        ("max_sessions_per_user", |builder| builder.max_sessions_per_user(0)),
        ("max_rooms_per_session", |builder| builder.max_rooms_per_session(0)),
    ];
    for (name, set) in settings {
        assert!(set(builder()).build().is_ok(), "{name}");
    }
}

#[test]
fn the_largest_values_work() {
    builder()
        .max_message(usize::MAX)
        .max_outgoing(usize::MAX)
        .max_inbound(usize::MAX)
        .max_backlog(usize::MAX)
        .max_memory(usize::MAX)
        .max_sessions(usize::MAX)
        .max_sessions_per_user(usize::MAX)
        .max_rooms_per_session(usize::MAX)
        .auth_timeout(Duration::MAX)
        .read_timeout(Duration::MAX)
        .write_timeout(Duration::MAX)
        .ping_interval(Duration::MAX)
        .close_timeout(Duration::MAX)
        .build()
        .unwrap();
}

#[test]
fn the_memory_has_to_hold_one_message() {
    let error = builder().max_message(1000).max_memory(999).build().unwrap_err();
    assert!(matches!(error, ConfigError::Conflict(_)), "{error:?}");
    builder().max_message(1000).max_memory(1000).build().unwrap();
}

#[test]
fn writing_ahead_needs_a_queue_that_survives() {
    let memory = builder().queue(tok_queue::MemoryQueue::default()).durability(Durability::WriteAhead);
    let error = memory.build().unwrap_err();
    assert!(matches!(error, ConfigError::Conflict(_)), "{error:?}");
    let none = builder().durability(Durability::WriteAhead).build().unwrap_err();
    assert!(matches!(none, ConfigError::Conflict(_)), "{none:?}");
    for durability in [Durability::WriteAhead, Durability::WriteBack] {
        builder().queue(durable()).durability(durability).build().unwrap();
    }
    builder().queue(tok_queue::MemoryQueue::default()).durability(Durability::WriteBack).build().unwrap();
}

#[test]
fn sizes_that_the_queue_cannot_store_are_refused_by_both_numbers() {
    let small = || ReferenceQueue::with_caps(Caps { max_message: Some(5000), ..durable().caps() });
    let settings: [(&str, Set); 2] = [
        ("max_message", |builder| builder.max_message(5001)),
        ("max_outgoing", |builder| builder.max_outgoing(5001)),
    ];
    for (name, set) in settings {
        let error = set(builder().queue(small())).build().unwrap_err();
        let text = error.to_string();
        assert!(matches!(error, ConfigError::TooLarge { setting, .. } if setting == name), "{error:?}");
        assert!(text.contains(name) && text.contains("5001") && text.contains("5000"), "{text}");
    }
    builder().queue(small()).max_message(5000).max_outgoing(5000).build().unwrap();
}

#[test]
fn default_sizes_give_way_to_what_the_queue_can_store() {
    let queue = ReferenceQueue::with_caps(Caps { max_message: Some(5000), ..durable().caps() });
    let sim = Sim::new(0);
    let hub = Hub::builder(Silent).runtime(sim.runtime()).queue(queue).build().unwrap();
    assert_eq!(hub.max_message(), 5000);
    let sent = sim.run(async { hub.send("alice", "x".repeat(5001)).ttl(Duration::from_secs(60)).await });
    assert!(matches!(sent, Ok(Err(SendError::TooBig { bytes: 5001, limit: 5000 }))), "{sent:?}");
}

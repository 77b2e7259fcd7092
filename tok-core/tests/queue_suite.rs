//! The conformance suite of `Queue` itself: the reference passes it, every wrong queue fails it where it should, and
//! no rule is there that nothing can break.

use std::{
    collections::BTreeSet,
    panic::{self, AssertUnwindSafe},
    sync::Arc,
};

use tok_core::{
    Queue,
    queue::Caps,
    testkit::queue::{
        CLOCK_RULES, RULES, ReferenceQueue, Rule, SWEEP_RULES, block_on,
        wrong::{Fault, WrongQueue},
    },
};

mod reference {
    use super::*;
    tok_core::queue_conformance!(async || ReferenceQueue::new());
}

mod shared_reference {
    use super::*;
    tok_core::queue_conformance!(async || {
        ReferenceQueue::with_caps(Caps {
            durable: true,
            shared: true,
            max_messages: 16,
            max_bytes: 4096,
            max_message: Some(4097),
        })
    });
}

mod in_an_arc {
    use super::*;

    async fn make() -> Arc<dyn Queue> {
        Arc::new(ReferenceQueue::new())
    }

    tok_core::queue_conformance!(make);
}

mod in_a_box {
    use super::*;

    async fn make() -> Box<dyn Queue> {
        Box::new(ReferenceQueue::new())
    }

    tok_core::queue_conformance!(make);
}

mod on_tokio {
    use super::*;

    fn on_tokio(rule: impl Future<Output = ()>) {
        tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(rule);
    }

    tok_core::queue_conformance!(async || ReferenceQueue::new(), block_on = on_tokio, expiry = server);
}

mod with_the_clock_of_a_server {
    use super::*;
    tok_core::queue_conformance!(async || ReferenceQueue::new(), clock = server);
}

mod with_closures {
    use super::*;
    tok_core::queue_conformance!(
        || std::future::ready(ReferenceQueue::new()),
        block_on = |rule| tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(rule),
    );
}

fn rules() -> impl Iterator<Item = &'static Rule> {
    RULES.iter().chain(SWEEP_RULES).chain(CLOCK_RULES)
}

/// Whether the queue with this fault passes the rule, or what the rule says against it.
fn verdict(fault: Fault, rule: &Rule) -> Result<(), String> {
    let queue = WrongQueue::new(fault);
    panic::catch_unwind(AssertUnwindSafe(|| block_on(rule.check(&queue)))).map_err(|panic| {
        match panic.downcast::<String>() {
            Ok(message) => *message,
            Err(panic) => panic.downcast_ref::<&str>().copied().unwrap_or_default().to_owned(),
        }
    })
}

/// Panics are expected by the dozen here: only those of other threads, which run other tests, are printed.
fn silence_panics_of_this_thread() {
    let here = std::thread::current().id();
    let print = panic::take_hook();
    panic::set_hook(Box::new(move |info| {
        if std::thread::current().id() != here {
            print(info);
        }
    }));
}

#[test]
fn every_wrong_queue_fails_its_rule_and_every_rule_fails_a_wrong_queue() {
    silence_panics_of_this_thread();
    let mut escaped = Vec::new();
    let mut idle: BTreeSet<_> = rules().map(Rule::name).collect();
    for &fault in Fault::ALL {
        let failed: Vec<_> = rules().filter(|rule| verdict(fault, rule).is_err()).map(Rule::name).collect();
        if !failed.contains(&fault.caught_by()) {
            escaped.push(format!("{fault:?} passes {}, fails {failed:?}", fault.caught_by()));
        }
        idle.remove(fault.caught_by());
    }
    // This thread's panics are silenced: its verdict has to be printed.
    if !escaped.is_empty() || !idle.is_empty() {
        eprintln!("not caught: {escaped:#?}\nrules that no fault names: {idle:#?}");
        panic!();
    }
}

#[test]
fn rules_say_what_is_wrong() {
    silence_panics_of_this_thread();
    let rule = rules().find(|rule| rule.name() == "peek_pages").unwrap();
    let message = verdict(Fault::HidesMore, rule).unwrap_err();
    if !message.contains("entries read") {
        eprintln!("the rule said: {message}");
        panic!();
    }
}

/// A rule that is written but not listed would never run.
#[test]
fn every_rule_is_listed_once() {
    let files = [
        include_str!("../src/testkit/queue/rules/clock.rs"),
        include_str!("../src/testkit/queue/rules/confirming.rs"),
        include_str!("../src/testkit/queue/rules/expiry.rs"),
        include_str!("../src/testkit/queue/rules/limits.rs"),
        include_str!("../src/testkit/queue/rules/reading.rs"),
        include_str!("../src/testkit/queue/rules/storing.rs"),
        include_str!("../src/testkit/queue/rules/users.rs"),
    ];
    let mut written: Vec<_> = files
        .iter()
        .flat_map(|file| file.lines())
        .filter_map(|line| line.strip_prefix("pub async fn ")?.split('(').next())
        .collect();
    let mut listed: Vec<_> = rules().map(Rule::name).collect();
    written.sort_unstable();
    listed.sort_unstable();
    assert_eq!(listed, written);
}

//! The conformance suite of `Transport` itself: the reference and `from_framed` pass it, every wrong transport fails it
//! where it should, and no rule is there that nothing can break.

use std::{
    collections::BTreeSet,
    future::poll_fn,
    panic::{self, AssertUnwindSafe},
};

use futures_util::SinkExt;
use tok_core::{
    Message, Transport,
    error::BoxError,
    testkit::{
        memory_pair,
        transport::{
            OPTIONAL_RULES, Pair, RULES, ReferenceTransport, Rule, block_on, reference_pair,
            wrong::{Fault, wrong_pair},
        },
    },
    transport::{Incoming, from_framed},
};

mod reference {
    use super::*;

    tok_core::transport_conformance!(
        async || reference_pair(true),
        confirms,
        kinds,
        empty,
        reasons,
        limit = ReferenceTransport::LIMIT,
    );
}

mod framed_mount {
    tok_core::transport_conformance!(async || super::framed::pair(), kinds, empty);
}

mod without_confirmation {
    use super::*;
    tok_core::transport_conformance!(async || reference_pair(false), kinds, empty);
}

mod on_tokio {
    use super::*;

    fn on_tokio(rule: impl Future<Output = ()>) {
        tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(rule);
    }

    tok_core::transport_conformance!(
        async || reference_pair(true),
        block_on = on_tokio,
        limit = ReferenceTransport::LIMIT,
        confirms
    );
}

/// `from_framed`, over a stream and a sink that are as simple as can be.
mod framed {
    #![allow(clippy::disallowed_types)] // std's mutex: tok-core's own is not public.

    use std::{
        collections::VecDeque,
        pin::Pin,
        sync::{Arc, Mutex, MutexGuard},
        task::{Context, Poll, Waker},
    };

    use bytes::Bytes;
    use futures_core::Stream;
    use futures_sink::Sink;
    use tok_core::{
        Message,
        error::BoxError,
        testkit::transport::{Peer, PeerEvent},
        transport::{Framed, from_framed},
    };

    #[derive(Default)]
    struct Link {
        to_server: VecDeque<Message>,
        to_client: VecDeque<Message>,
        client_ended: bool,
        stream_ended: bool,
        server_ended: bool,
        broken: bool,
        wakers: [Option<Waker>; 2],
    }

    const READER: usize = 0;
    const WRITER: usize = 1;

    #[derive(Clone, Default)]
    pub(super) struct End(Arc<Mutex<Link>>);

    impl End {
        fn link(&self) -> MutexGuard<'_, Link> {
            self.0.lock().unwrap()
        }

        fn change(&self, change: impl FnOnce(&mut Link)) {
            let mut link = self.link();
            change(&mut link);
            for waker in link.wakers.iter_mut().filter_map(Option::take) {
                waker.wake();
            }
        }

        fn check(&self) -> Result<(), BoxError> {
            if self.link().broken { Err("broken".into()) } else { Ok(()) }
        }
    }

    impl Stream for End {
        type Item = Result<Message, BoxError>;

        fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
            self.check()?;
            let mut link = self.link();
            if link.to_server.is_empty() && !link.client_ended {
                link.wakers[READER] = Some(cx.waker().clone());
                return Poll::Pending;
            }
            assert!(!link.stream_ended, "the stream was polled after its end");
            link.stream_ended = link.to_server.is_empty();
            Poll::Ready(link.to_server.pop_front().map(Ok))
        }
    }

    impl Sink<Message> for End {
        type Error = BoxError;

        fn poll_ready(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
            self.check()?;
            let mut link = self.link();
            if link.to_client.len() < 4 {
                return Poll::Ready(Ok(()));
            }
            link.wakers[WRITER] = Some(cx.waker().clone());
            Poll::Pending
        }

        fn start_send(self: Pin<&mut Self>, message: Message) -> Result<(), BoxError> {
            self.link().to_client.push_back(message);
            Ok(())
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
            Poll::Ready(self.check())
        }

        fn poll_close(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
            self.link().server_ended = true;
            Poll::Ready(self.check())
        }
    }

    impl Peer for End {
        /// Large messages are slices of a read buffer, as codecs give them.
        fn send(&mut self, message: &Message) {
            let (data, end) = (message.data(), if message.data().len() > 4096 { 64 * 1024 } else { 0 });
            let buffer = Bytes::from([data, &vec![0; end][..]].concat());
            let message = Message::new(message.kind(), buffer.slice(..data.len()));
            self.change(|link| link.to_server.push_back(message));
        }

        fn poll_recv(&mut self, _: &mut Context<'_>) -> Poll<PeerEvent> {
            let message = self.link().to_client.pop_front();
            self.change(|_| {});
            match message {
                Some(message) => Poll::Ready(PeerEvent::Message(message)),
                None if self.link().server_ended => Poll::Ready(PeerEvent::End),
                None => Poll::Pending,
            }
        }

        fn close(&mut self) {
            self.change(|link| link.client_ended = true);
        }

        fn abort(&mut self) {
            self.change(|link| link.broken = true);
        }

        fn answer(&mut self, _: u64) {}

        fn trickle(&mut self, _: usize) {}

        fn flood(&mut self) {
            (0..20_000).for_each(|_| self.send(&Message::from("flood")));
        }
    }

    pub(super) fn pair() -> (Framed<End, End>, End) {
        let end = End::default();
        (from_framed(end.clone(), end.clone()), end)
    }
}

/// A stream that panics when it is polled after its end, as generators and `unfold` do.
#[test]
fn a_stream_is_not_polled_after_its_end() {
    let left = futures_util::stream::unfold(1, |left: usize| async move {
        let left = left.checked_sub(1)?;
        Some((Ok::<_, BoxError>(Message::from("last")), left))
    });
    let sink = futures_util::sink::drain().sink_map_err(|never: std::convert::Infallible| match never {});
    let mut transport = from_framed(Box::pin(left), sink);
    block_on(Box::pin(async move {
        assert!(matches!(poll_fn(|cx| transport.poll_recv(cx)).await, Ok(Incoming::Message(_))));
        for _ in 0..2 {
            assert!(matches!(poll_fn(|cx| transport.poll_recv(cx)).await, Ok(Incoming::Close)));
        }
        for _ in 0..2 {
            poll_fn(|cx| transport.poll_close(cx)).await.unwrap();
        }
    }));
}

/// An end that a close finds by itself counts as one too.
#[test]
fn a_stream_that_ends_while_its_transport_closes_is_not_polled_again() {
    let messages = futures_util::stream::unfold(3, |left: usize| async move {
        let left = left.checked_sub(1)?;
        Some((Ok::<_, BoxError>(Message::from("discarded")), left))
    });
    let sink = futures_util::sink::drain().sink_map_err(|never: std::convert::Infallible| match never {});
    let mut transport = from_framed(Box::pin(messages), sink);
    block_on(Box::pin(async move {
        poll_fn(|cx| transport.poll_close(cx)).await.unwrap();
        assert!(matches!(poll_fn(|cx| transport.poll_recv(cx)).await, Ok(Incoming::Close)));
        poll_fn(|cx| transport.poll_close(cx)).await.unwrap();
    }));
}

fn rules() -> impl Iterator<Item = &'static Rule> {
    RULES.iter().chain(OPTIONAL_RULES.iter().flat_map(|(_, rules)| *rules))
}

/// Whether the connection passes the rule, or what the rule says against it.
fn verdict(mut pair: Pair, rule: &Rule) -> Result<(), String> {
    panic::catch_unwind(AssertUnwindSafe(|| block_on(rule.check(&mut pair)))).map_err(|panic| {
        match panic.downcast::<String>() {
            Ok(message) => *message,
            Err(panic) => panic.downcast_ref::<&str>().copied().unwrap_or_default().to_owned(),
        }
    })
}

fn wrong(fault: Fault) -> Pair {
    let (transport, peer) = wrong_pair(fault);
    Pair::new(transport, peer, Some(ReferenceTransport::LIMIT))
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

/// The rules that a connection fails, and what they say.
fn failures(make: impl Fn() -> Pair) -> Vec<(&'static str, String)> {
    rules().filter_map(|rule| Some((rule.name(), verdict(make(), rule).err()?))).collect()
}

#[test]
fn every_wrong_transport_fails_its_rule_and_every_rule_fails_a_wrong_transport() {
    silence_panics_of_this_thread();
    let mut escaped = Vec::new();
    let mut idle: BTreeSet<_> = rules().map(Rule::name).collect();
    for &fault in Fault::ALL {
        let failed = failures(|| wrong(fault));
        if !failed.iter().any(|(name, _)| *name == fault.caught_by()) {
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
    let rule = rules().find(|rule| rule.name() == "close_flushes_what_was_sent").unwrap();
    let message = verdict(wrong(Fault::CloseDropsTheUnwritten), rule).unwrap_err();
    if !message.contains("some are missing") {
        eprintln!("the rule said: {message}");
        panic!();
    }
}

/// The hub's own defences have to be tested too, so this one passes on what it is told.
#[test]
fn the_memory_transport_leaves_some_rules_to_the_hub() {
    silence_panics_of_this_thread();
    let failed: BTreeSet<_> = failures(|| {
        let (transport, peer) = memory_pair(64 * 1024, true);
        Pair::new(transport, peer, Some(ReferenceTransport::LIMIT))
    })
    .into_iter()
    .map(|(name, _)| name)
    .collect();
    let left = BTreeSet::from([
        "a_flooding_peer_does_not_hold_the_task_that_closes",
        "nothing_is_sent_after_close",
        "too_big_is_refused_with_the_limit_inclusive",
        "unsent_barrier_numbers_never_come_back",
    ]);
    if failed != left {
        eprintln!("fails {failed:#?}, left to the hub are {left:#?}");
        panic!();
    }
}

/// A rule that is written but not listed would never run.
#[test]
fn every_rule_is_listed_once() {
    let files = [
        include_str!("../src/testkit/transport/rules/closing.rs"),
        include_str!("../src/testkit/transport/rules/confirming.rs"),
        include_str!("../src/testkit/transport/rules/receiving.rs"),
        include_str!("../src/testkit/transport/rules/sending.rs"),
        include_str!("../src/testkit/transport/rules/waking.rs"),
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

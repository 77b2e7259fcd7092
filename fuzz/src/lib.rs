#![doc = include_str!("../README.md")]

mod drive;
mod input;
mod reference;
mod targets;

/// A function that any bytes can be given to.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Target {
    /// The target's name, and its folder's in the corpus.
    pub name: &'static str,
    /// Panics where a promise is broken.
    pub run: fn(&[u8]),
}

/// Every target.
pub const TARGETS: &[Target] = &[
    Target { name: "tcp-frames", run: targets::tcp::frames },
    Target { name: "tcp-login", run: targets::tcp::login },
    Target { name: "ws-upgrade", run: targets::upgrade::upgrade },
    Target { name: "ws-tokio-tungstenite", run: targets::engine::tokio_tungstenite },
    Target { name: "ws-async-tungstenite", run: targets::engine::async_tungstenite },
    Target { name: "ws-tokio-websockets", run: targets::engine::tokio_websockets },
    Target { name: "cluster-frames", run: tok_cluster::testkit::fuzz_frame },
    Target { name: "tokens", run: targets::tokens::tokens },
    Target { name: "records", run: tok_queue::testkit::fuzz_record },
    Target { name: "operations", run: targets::operations::operations },
];

/// The target of this name.
#[must_use]
pub fn target(name: &str) -> Option<Target> {
    TARGETS.iter().find(|target| target.name == name).copied()
}

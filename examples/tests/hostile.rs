//! Byte scripts that no honest client sends, against the gateway as a process of its own, on every engine. They must
//! cost little memory, whatever they send, and nobody else anything. What each costs is printed with `--nocapture`.

// Memory is read from /proc.
#![cfg(target_os = "linux")]

#[path = "gateway/support/mod.rs"]
#[allow(dead_code, unused_imports)] // The gateway's own tests use more of it.
mod support;

#[path = "hostile/floods.rs"]
mod floods;
#[path = "hostile/frames.rs"]
mod frames;
#[path = "hostile/garbage.rs"]
mod garbage;
#[path = "hostile/handshakes.rs"]
mod handshakes;
#[path = "hostile/target.rs"]
mod target;

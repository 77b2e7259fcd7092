//! `RedbQueue` keeps the contract of `Queue`, on every runtime, over restarts and kills; and refuses what it cannot open.

mod conformance;
mod files;
mod kill;
mod queue;
mod support;

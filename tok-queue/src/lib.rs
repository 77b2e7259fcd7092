#![doc = include_str!("../README.md")]

mod memory;

pub use self::memory::{MemoryQueue, MemoryQueueBuilder, Usage};

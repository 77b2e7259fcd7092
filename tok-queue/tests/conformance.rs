//! `MemoryQueue` keeps the contract of `Queue`, also behind pointers.

use std::sync::Arc;

use tok_core::Queue;
use tok_queue::MemoryQueue;

mod memory {
    tok_core::queue_conformance!(async || super::MemoryQueue::new());
}

mod memory_with_small_limits {
    tok_core::queue_conformance!(async || {
        super::MemoryQueue::builder().max_messages(16).max_bytes(4096).build().unwrap()
    });
}

mod memory_in_an_arc {
    async fn make() -> super::Arc<dyn super::Queue> {
        super::Arc::new(super::MemoryQueue::new())
    }

    tok_core::queue_conformance!(make);
}

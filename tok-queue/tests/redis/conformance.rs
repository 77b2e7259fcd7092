//! `RedisQueue` keeps the contract of `Queue` on a real server, also behind pointers.

use std::sync::Arc;

use tok_core::Queue;

use super::{builder, support::block_on};

mod direct {
    tok_core::queue_conformance!(
        async || super::builder().connect().await.unwrap(),
        block_on = super::block_on,
        clock = server
    );
}

mod with_small_limits {
    tok_core::queue_conformance!(
        async || super::builder().max_messages(16).max_bytes(4096).connect().await.unwrap(),
        block_on = super::block_on,
        clock = server
    );
}

mod in_an_arc {
    async fn make() -> super::Arc<dyn super::Queue> {
        super::Arc::new(super::builder().connect().await.unwrap())
    }

    tok_core::queue_conformance!(make, block_on = super::block_on, clock = server);
}

//! The engines: one function each makes an empty queue without limits.

use std::{any::Any, pin::Pin, sync::Arc};

use tok_core::Queue;
use tok_queue::MemoryQueue;

/// An engine by name.
pub(crate) struct Engine {
    pub(crate) name: &'static str,
    pub(crate) make: fn() -> Making,
}

type Making = Pin<Box<dyn Future<Output = Made>>>;

/// A queue, and what must outlive it: its folder, its server.
pub(crate) struct Made {
    pub(crate) queue: Arc<dyn Queue>,
    pub(crate) _keep: Box<dyn Any>,
}

/// Every engine that is compiled in.
pub(crate) const ALL: &[Engine] = &[
    Engine { name: "memory", make: || Box::pin(memory()) },
    #[cfg(feature = "redb")]
    Engine { name: "redb", make: || Box::pin(redb(false)) },
    #[cfg(feature = "redb")]
    Engine { name: "redb, fast recovery", make: || Box::pin(redb(true)) },
    #[cfg(feature = "redis")]
    Engine { name: "redis", make: || Box::pin(redis(false)) },
    #[cfg(feature = "redis")]
    Engine { name: "redis, synced", make: || Box::pin(redis(true)) },
    #[cfg(feature = "nats")]
    Engine { name: "nats", make: || Box::pin(nats(false)) },
    #[cfg(feature = "nats")]
    Engine { name: "nats, synced", make: || Box::pin(nats(true)) },
];

async fn memory() -> Made {
    let queue = MemoryQueue::builder().max_messages(u64::MAX).max_total_bytes(u64::MAX).build();
    Made { queue: Arc::new(queue.expect("a queue")), _keep: Box::new(()) }
}

#[cfg(feature = "redb")]
async fn redb(fast_recovery: bool) -> Made {
    let folder = folder::Folder::new();
    let builder = tok_queue::RedbQueue::builder().max_messages(u64::MAX).max_total_bytes(u64::MAX);
    let queue = builder.fast_recovery(fast_recovery).open(folder.file("queue.redb")).expect("a queue");
    Made { queue: Arc::new(queue), _keep: Box::new(folder) }
}

/// With the server's own settings (what it keeps ends with it), or with an append-only file synced before each answer.
#[cfg(feature = "redis")]
async fn redis(synced: bool) -> Made {
    use brokers::RedisServer;
    let server = if synced { RedisServer::synced() } else { RedisServer::start() }.expect("a server");
    let queue = tok_queue::RedisQueue::builder(server.url()).max_messages(u64::MAX).max_bytes(u64::MAX);
    Made { queue: Arc::new(queue.connect().await.expect("a queue")), _keep: Box::new(server) }
}

/// With the server's own settings (synced every two minutes), or synced before each answer.
#[cfg(feature = "nats")]
async fn nats(synced: bool) -> Made {
    use brokers::NatsServer;
    let server = if synced { NatsServer::synced() } else { NatsServer::start() }.expect("a server");
    let queue = tok_queue::NatsQueue::builder(server.url()).max_messages(u64::MAX).max_bytes(u64::MAX);
    Made { queue: Arc::new(queue.connect().await.expect("a queue")), _keep: Box::new(server) }
}

pub(crate) mod folder {
    use std::{
        env, fs,
        path::PathBuf,
        process,
        sync::atomic::{AtomicU32, Ordering},
    };

    /// A folder that is removed with its contents.
    pub(crate) struct Folder(PathBuf);

    impl Folder {
        pub(crate) fn new() -> Self {
            static NEXT: AtomicU32 = AtomicU32::new(0);
            let number = NEXT.fetch_add(1, Ordering::Relaxed);
            let path = env::temp_dir().join(format!("tok-queue-bench-{}-{number}", process::id()));
            fs::create_dir(&path).expect("a folder");
            Self(path)
        }

        pub(crate) fn file(&self, name: &str) -> PathBuf {
            self.0.join(name)
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }
}

//! The nodes' leases. Each is a message that its node stores again with every beat.

use std::time::Duration;

use futures_util::future::{join_all, try_join};
use tokio::time::Instant;

use super::{ATTEMPTS, MOMENT};
use crate::{
    Lease, NodeId,
    collections::{HashMap, hash_map},
    nats::{
        failure::Failure,
        record::{decode_lease, encode_lease},
        stream::{Info, Stored, Stream},
    },
    sync::Mutex,
};

/// Leases that are read at once.
const BATCH: usize = 64;

/// What this process has seen of leases. How old one is when it is first seen, the server's clock says; from then on the
/// time that passes here counts, so that a server's clock which is set ends nobody's lease.
#[derive(Debug)]
pub(super) struct Leases {
    seen: Mutex<HashMap<NodeId, Seen>>,
}

#[derive(Clone, Copy, Debug)]
struct Seen {
    seq: u64,
    until: Instant,
}

/// A lease as it was read.
struct Read {
    seq: u64,
    left: Duration,
}

impl Default for Leases {
    fn default() -> Self {
        Self { seen: Mutex::new(hash_map(0)) }
    }
}

impl Leases {
    /// Whether the one before was not over.
    pub(super) async fn beat(
        &self,
        stream: &Stream,
        node: &NodeId,
        lease: Duration,
    ) -> Result<bool, Failure> {
        for _ in 0..ATTEMPTS {
            let before = self.read(stream, node).await?;
            let (last, held) = before.map_or((0, false), |read| (read.seq, !read.left.is_zero()));
            let until = after(lease);
            if let Some(seq) = stream.put(stream.lease(node), last, encode_lease(Some(lease)), None).await? {
                self.seen.lock().insert(node.clone(), Seen { seq, until });
                return Ok(held);
            }
        }
        Err(Failure::Contended)
    }

    pub(super) async fn leave(&self, stream: &Stream, node: &NodeId) -> Result<(), Failure> {
        self.end(stream, node, Some(Duration::ZERO), None).await
    }

    /// Removes the lease of a node, which is over.
    pub(super) async fn forget(&self, stream: &Stream, node: &NodeId) -> Result<(), Failure> {
        self.seen.lock().remove(node);
        let subject = stream.lease(node);
        let Some(stored) = stream.last(&subject).await? else { return Ok(()) };
        // A node that is back has stored another one meanwhile.
        stream.put(subject, stored.seq, encode_lease(None), Some(MOMENT)).await.map(drop)
    }

    /// Whether the lease of a node is not over.
    pub(super) async fn holds(&self, stream: &Stream, node: &NodeId) -> Result<bool, Failure> {
        Ok(self.read(stream, node).await?.is_some_and(|read| !read.left.is_zero()))
    }

    pub(super) async fn nodes(&self, stream: &Stream) -> Result<Vec<Lease>, Failure> {
        let asked = Instant::now();
        let info = stream.info(&stream.all_leases()).await?;
        let mut leases = Vec::new();
        for batch in info.subjects.chunks(BATCH) {
            for stored in join_all(batch.iter().map(|subject| stream.last(subject))).await {
                let Some(stored) = stored? else { continue };
                let node = stored.subject.rsplit('.').next().and_then(NodeId::from_token);
                let Some(node) = node else { continue };
                if let Some(Read { left, .. }) = self.look(&node, &stored, &info, asked)? {
                    leases.push(Lease { node, left });
                }
            }
        }
        self.seen.lock().retain(|node, _| leases.iter().any(|lease| lease.node == *node));
        Ok(leases)
    }

    async fn end(
        &self,
        stream: &Stream,
        node: &NodeId,
        lease: Option<Duration>,
        seconds: Option<u64>,
    ) -> Result<(), Failure> {
        for _ in 0..ATTEMPTS {
            let Some(read) = self.read(stream, node).await? else { return Ok(()) };
            let subject = stream.lease(node);
            if stream.put(subject, read.seq, encode_lease(lease), seconds).await?.is_some() {
                return Ok(());
            }
        }
        Err(Failure::Contended)
    }

    async fn read(&self, stream: &Stream, node: &NodeId) -> Result<Option<Read>, Failure> {
        let asked = Instant::now();
        let subject = stream.lease(node);
        let (info, stored) = try_join(stream.info(""), stream.last(&subject)).await?;
        stored.map_or(Ok(None), |stored| self.look(node, &stored, &info, asked))
    }

    /// What a message, read after `asked`, says of the node's lease. `info` is of the same moment.
    fn look(
        &self,
        node: &NodeId,
        stored: &Stored,
        info: &Info,
        asked: Instant,
    ) -> Result<Option<Read>, Failure> {
        let Some(lease) = decode_lease(stored.seq, &stored.data)? else { return Ok(None) };
        let mut seen = self.seen.lock();
        let until = match seen.get(node) {
            Some(seen) if seen.seq == stored.seq => seen.until,
            _ => {
                // Stored a moment after the server was asked for its time, or when its clock was ahead: just now.
                let age = Duration::from_nanos(info.now.saturating_sub(stored.at));
                asked + lease.saturating_sub(age).min(LONGEST)
            }
        };
        seen.insert(node.clone(), Seen { seq: stored.seq, until });
        Ok(Some(Read { seq: stored.seq, left: until.saturating_duration_since(Instant::now()) }))
    }
}

/// A lease is no longer than this, for the clock's sake.
const LONGEST: Duration = Duration::from_secs(365 * 24 * 60 * 60);

fn after(lease: Duration) -> Instant {
    Instant::now() + lease.min(LONGEST)
}

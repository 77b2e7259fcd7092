//! Questions to other nodes and to the registry, bounded in number and time.

use std::{sync::atomic::Ordering, time::Duration};

use tok_core::{Uid, error::BoxError, relay::RelayError};

use super::{Inner, peers::Standing};
use crate::{
    BusError, NodeId, RegistryError, SessionRow,
    frame::{Body, Fault, Reply, Request},
    wait::within,
};

/// A node has not answered.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unanswered {
    #[error("nobody listens there")]
    Nobody,
    #[error("the node did not answer earlier requests, and is not waited for")]
    Silent,
    #[error("too many requests are under way to the node")]
    Overloaded,
    #[error("the node is busy")]
    Busy,
    #[error("the node refused the request")]
    Refused(#[source] Fault),
    #[error("the request failed")]
    Bus(#[source] BusError),
}

impl From<Unanswered> for RelayError {
    fn from(unanswered: Unanswered) -> Self {
        match unanswered {
            Unanswered::Overloaded | Unanswered::Busy | Unanswered::Bus(BusError::Overloaded) => {
                Self::Overloaded
            }
            Unanswered::Bus(BusError::TooLarge { bytes, limit }) => Self::TooLarge { bytes, limit },
            Unanswered::Bus(error) => Self::Unavailable(Box::new(error)),
            other => Self::Unavailable(Box::new(other)),
        }
    }
}

/// An answer that does not fit the question.
pub(super) fn unexpected() -> Unanswered {
    Unanswered::Refused(Fault::Malformed)
}

impl Inner {
    pub(super) fn request(&self, body: Body) -> Request {
        Request { from: self.me.clone(), id: self.next_id.fetch_add(1, Ordering::Relaxed), body }
    }

    /// Asks a node and waits for its answer. A silent node is not asked unless `insist`.
    pub(super) async fn ask(
        &self,
        to: &NodeId,
        body: Body,
        timeout: Duration,
        insist: bool,
    ) -> Result<Reply, Unanswered> {
        if timeout.is_zero() {
            return Err(Unanswered::Bus(BusError::Timeout));
        }
        let _in_flight = self.peers.begin(to, insist)?;
        let frame = self.request(body).encode();
        let limit = self.bus.max_frame();
        if frame.len() > limit {
            return Err(Unanswered::Bus(BusError::TooLarge { bytes: frame.len(), limit }));
        }
        match self.bus.request(to, frame, timeout).await {
            Ok(answer) => {
                self.peers.answered(to);
                match Reply::decode(&answer) {
                    Ok(Reply::Refused(fault)) | Err(fault) => Err(Unanswered::Refused(fault)),
                    Ok(Reply::Busy) => Err(Unanswered::Busy),
                    Ok(reply) => Ok(reply),
                }
            }
            Err(BusError::NoResponders) => Err(Unanswered::Nobody),
            Err(error) => {
                if matches!(error, BusError::Timeout) {
                    self.peers.strike(to);
                }
                Err(Unanswered::Bus(error))
            }
        }
    }

    /// Runs a registry operation on the table as a whole, for at most a request timeout including its wait for a permit.
    pub(super) async fn registry<T>(
        &self,
        operation: impl Future<Output = Result<T, RegistryError>>,
    ) -> Result<T, RelayError> {
        self.permitted(None, operation).await
    }

    /// Runs a registry operation on one user's rows, for at most a request timeout including its wait for a permit. One
    /// user's operations get a share of the permits: where they are slow they do not keep others' waiting.
    pub(super) async fn registry_of<T>(
        &self,
        uid: &Uid,
        operation: impl Future<Output = Result<T, RegistryError>>,
    ) -> Result<T, RelayError> {
        self.permitted(Some(uid), operation).await
    }

    async fn permitted<T>(
        &self,
        uid: Option<&Uid>,
        operation: impl Future<Output = Result<T, RegistryError>>,
    ) -> Result<T, RelayError> {
        let turn = self.permits.acquire(uid).ok_or(RelayError::Overloaded)?;
        let run = async {
            let _permit = turn.await;
            operation.await
        };
        self.in_time(run).await
    }

    /// Runs a registry operation of the heartbeat, which waits for no permit: callers by the thousand do not cost this
    /// node its lease.
    pub(super) async fn in_time<T>(
        &self,
        operation: impl Future<Output = Result<T, RegistryError>>,
    ) -> Result<T, RelayError> {
        match within(&*self.runtime, self.settings.request_timeout, operation).await {
            Some(Ok(value)) => Ok(value),
            Some(Err(RegistryError::Overloaded)) => Err(RelayError::Overloaded),
            Some(Err(error)) => Err(RelayError::Unavailable(Box::new(error))),
            None => Err(RelayError::Unavailable("the registry did not answer in time".into())),
        }
    }

    /// The user's rows on nodes whose lease holds.
    pub(super) async fn rows(&self, uid: &Uid) -> Result<Vec<SessionRow>, RelayError> {
        let rows = self.registry_of(uid, self.registry.lookup(uid)).await?;
        Ok(self.live(rows).await)
    }

    /// Those of the rows that are on nodes whose lease holds.
    pub(super) async fn live(&self, rows: Vec<SessionRow>) -> Vec<SessionRow> {
        self.judge(rows).await.0
    }

    /// As [`live`](Self::live); and whether the registry has said so of those that are not.
    pub(super) async fn judge(&self, mut rows: Vec<SessionRow>) -> (Vec<SessionRow>, bool) {
        let unsure = |row: &SessionRow| self.peers.standing(&row.node, self.now()) != Standing::Live;
        // It joined since the last look, or renewed a lease that ran out. Should this fail, it counts as not there.
        let sure = !rows.iter().any(unsure) || self.look_round().await.is_ok();
        let now = self.now();
        rows.retain(|row| self.peers.standing(&row.node, now) == Standing::Live);
        (rows, sure)
    }

    /// The other nodes of the rows, each once.
    pub(super) fn nodes_of(&self, rows: &[SessionRow]) -> Vec<NodeId> {
        self.others(rows, |_| true)
    }

    /// The other nodes of the rows that have not lost their place to a newer login, each once. `rows` are all that the
    /// user has.
    pub(super) fn places(&self, rows: &[SessionRow]) -> Vec<NodeId> {
        self.others(rows, |row| !rows.iter().any(|other| row.is_superseded_by(other)))
    }

    fn others(&self, rows: &[SessionRow], which: impl Fn(&SessionRow) -> bool) -> Vec<NodeId> {
        let others = rows.iter().filter(|row| row.node != self.me && which(row));
        let mut nodes: Vec<NodeId> = others.map(|row| row.node.clone()).collect();
        nodes.sort_unstable();
        nodes.dedup();
        nodes
    }

    /// Looks which nodes have a lease.
    async fn look_round(&self) -> Result<(), RelayError> {
        self.registry(self.look()).await
    }

    /// As [`look_round`](Self::look_round), for the heartbeat.
    pub(super) async fn look_round_in_time(&self) -> Result<(), RelayError> {
        self.in_time(self.look()).await
    }

    async fn look(&self) -> Result<(), RegistryError> {
        let asked = self.now();
        let leases = self.registry.nodes().await?;
        self.peers.update(&leases, asked);
        Ok(())
    }
}

pub(super) fn unavailable(why: &'static str) -> RelayError {
    RelayError::Unavailable(BoxError::from(why))
}

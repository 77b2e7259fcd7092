//! How a login takes its place among those of all nodes, and how a session gives it up.

use std::time::Duration;

use futures_util::future::join_all;
use tok_core::{
    Epoch, Uid,
    relay::{Claim, RelayError},
};

use super::{
    Inner, Policy,
    ask::{Unanswered, unavailable},
};
use crate::{
    BusError, NodeId, SessionRow,
    frame::{Body, Reply},
    wait::sleep,
};

/// A lost frame should not cost a login the whole request timeout.
const ATTEMPTS: u32 = 4;

const PAUSE: Duration = Duration::from_millis(50);

impl Inner {
    /// Claims a place for a login and has the nodes of the sessions that it displaces end them, which is waited for up to
    /// a request timeout.
    pub(super) async fn login(&self, claim: &Claim) -> Result<Epoch, RelayError> {
        if !self.status.is_joined() {
            return Err(unavailable("this node is not in the cluster"));
        }
        if self.settings.policy == Policy::Strict && self.now() >= self.strict_end() {
            return Err(unavailable("this node's lease is over"));
        }
        let login = Login::begin(self, &claim.uid);
        let claimed = self.registry_of(&claim.uid, self.registry.claim(claim, &self.me)).await?;
        let epoch = claimed.epoch;
        let (mut rows, sure) = self.judge(claimed.others).await;
        let nodes = self.nodes_of(&rows);
        let told =
            nodes.iter().map(|node| self.tell_claimed(node, &claim.uid, claim.class.as_deref(), epoch));
        let unanswered: Vec<&NodeId> = join_all(told)
            .await
            .into_iter()
            .zip(&nodes)
            .filter(|(told, _)| !told)
            .map(|(_, node)| node)
            .collect();
        for node in &unanswered {
            self.remember_claimed(node, &claim.uid, claim.class.as_deref(), epoch);
        }
        let displaced = |row: &SessionRow| row.class.is_some() && row.class == claim.class;
        let in_doubt = |node: &&NodeId| rows.iter().any(|row| row.node == **node && displaced(row));
        if self.settings.policy == Policy::Strict {
            let lost = self.now() >= self.strict_end();
            if lost || !sure || unanswered.iter().any(in_doubt) {
                // The row is seen to as that of any login that fails: it may have taken a session's place.
                return Err(unavailable(
                    "the node of an older session does not answer, or cannot be looked for, or the lease is over",
                ));
            }
        }
        rows.retain(|row| !displaced(row));
        self.claims.add(&claim.uid, claim.class.as_deref(), epoch, &self.places(&rows));
        login.done();
        Ok(epoch)
    }

    /// Tells a node that a session is here now; whether it answered.
    async fn tell_claimed(&self, node: &NodeId, uid: &Uid, class: Option<&str>, epoch: Epoch) -> bool {
        let end = self.now().saturating_add(self.settings.request_timeout);
        loop {
            let body = Body::Claimed { uid: uid.clone(), class: class.map(str::to_owned), epoch };
            let timeout = self.settings.request_timeout / ATTEMPTS;
            match self.ask(node, body, timeout.min(end.saturating_since(self.now())), false).await {
                Ok(Reply::Done) => return true,
                Err(Unanswered::Bus(BusError::Timeout)) => {}
                Err(Unanswered::Overloaded | Unanswered::Busy) => sleep(&*self.runtime, PAUSE).await,
                // Silent, gone, or cut off: not worth the wait.
                _ => return false,
            }
            if self.now() >= end {
                return false;
            }
        }
    }

    /// A session has ended here.
    pub(super) async fn logout(&self, uid: &Uid, epoch: Epoch) -> Result<(), RelayError> {
        if !self.claims.remove(uid, epoch) {
            return Ok(());
        }
        if let Err(error) = self.registry_of(uid, self.registry.release(uid, epoch)).await {
            self.unsettled(uid);
            return Err(error);
        }
        Ok(())
    }
}

/// A login under way. One that fails, or whose future is dropped, may leave a row behind, which is seen to later.
struct Login<'a> {
    inner: &'a Inner,
    uid: &'a Uid,
    done: bool,
}

impl<'a> Login<'a> {
    fn begin(inner: &'a Inner, uid: &'a Uid) -> Self {
        inner.claims.begin(uid);
        Self { inner, uid, done: false }
    }

    fn done(mut self) {
        self.done = true;
    }
}

impl Drop for Login<'_> {
    fn drop(&mut self) {
        self.inner.claims.end(self.uid);
        if !self.done {
            self.inner.unsettled(self.uid);
            self.inner.repair.ring();
        }
    }
}

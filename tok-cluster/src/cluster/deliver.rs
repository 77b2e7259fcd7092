//! How a message finds its user: where this node knows, else where the registry says.

use futures_util::future::join_all;
use tok_core::{
    Message, Uid,
    relay::{Audience, Delivery, RelayError},
    rt::Instant,
};

use super::{
    Inner,
    ask::{Unanswered, unexpected},
};
use crate::{
    NodeId,
    frame::{Body, Reply},
};

/// What became of a message so far.
#[derive(Default)]
struct Progress {
    sessions: usize,
    asked: Vec<NodeId>,
    /// Nodes that answers named.
    named: Vec<NodeId>,
    /// A node has no session of the user, or is not there: what was known is out of date.
    stale: bool,
    /// Nodes that may or may not have it.
    in_doubt: Vec<(NodeId, RelayError)>,
}

impl Inner {
    /// Hands a message to the user's sessions on other nodes: how many take it.
    pub(super) async fn deliver(&self, uid: &Uid, delivery: &Delivery) -> Result<usize, RelayError> {
        let result = self.try_deliver(uid, delivery).await;
        if let (Delivery::Stored(seq), Err(_)) = (delivery, &result) {
            // It is in the queue: it can be late, and not be lost.
            self.remember_stored(uid, *seq);
            return Ok(0);
        }
        result
    }

    /// Within a request timeout, save for looking the user up.
    async fn try_deliver(&self, uid: &Uid, delivery: &Delivery) -> Result<usize, RelayError> {
        let end = self.now().saturating_add(self.settings.request_timeout);
        let nodes = match self.known(uid) {
            Some(nodes) => nodes,
            None => self.find(uid).await?,
        };
        let mut progress = Progress::default();
        self.deliver_to(nodes, uid, delivery, end, &mut progress).await;
        let mut again = std::mem::take(&mut progress.named);
        if progress.stale {
            match self.find(uid).await {
                Ok(found) => {
                    // Who is not named any more has nobody to be in doubt about.
                    progress.in_doubt.retain(|(node, _)| found.contains(node));
                    again.extend(found);
                }
                Err(error) => progress.in_doubt.push((self.me.clone(), error)),
            }
        }
        again.retain(|node| !progress.asked.contains(node) && *node != self.me);
        // Several may have named the same.
        again.sort_unstable();
        again.dedup();
        self.deliver_to(again, uid, delivery, end, &mut progress).await;
        let Progress { sessions, mut in_doubt, .. } = progress;
        // Whoever has got it somewhere has got it; a hint is for every node.
        let enough = sessions > 0 && !matches!(delivery, Delivery::Stored(_));
        match in_doubt.pop() {
            Some((_, error)) if !enough => Err(error),
            _ => Ok(sessions),
        }
    }

    /// Where the user is otherwise, as far as this node knows without asking.
    fn known(&self, uid: &Uid) -> Option<Vec<NodeId>> {
        // Whoever has a session here is known in full, as long as nothing was missed.
        if self.status.is_in_sync()
            && let Some(elsewhere) = self.claims.elsewhere(uid)
        {
            return Some(elsewhere.others);
        }
        self.routes.find(uid)
    }

    /// Looks the user up.
    pub(super) async fn find(&self, uid: &Uid) -> Result<Vec<NodeId>, RelayError> {
        let before = self.claims.elsewhere(uid);
        let nodes = self.places(&self.rows(uid).await?);
        match before {
            Some(before) => self.claims.correct(uid, &before, &nodes),
            None => self.routes.set(uid, &nodes),
        }
        Ok(nodes)
    }

    async fn deliver_to(
        &self,
        nodes: Vec<NodeId>,
        uid: &Uid,
        delivery: &Delivery,
        end: Instant,
        progress: &mut Progress,
    ) {
        let timeout = end.saturating_since(self.now());
        let ask = |node: &NodeId| {
            let body = Body::Deliver { uid: uid.clone(), delivery: delivery.clone() };
            let node = node.clone();
            async move { self.ask(&node, body, timeout, false).await }
        };
        // Most users are in one place.
        let answers = match &nodes[..] {
            [] => return,
            [node] => vec![ask(node).await],
            nodes => join_all(nodes.iter().map(ask)).await,
        };
        for (node, answer) in nodes.into_iter().zip(answers) {
            match answer {
                Ok(Reply::Taken { sessions, others }) => {
                    progress.sessions += sessions as usize;
                    progress.named.extend(others);
                }
                Ok(Reply::NotHere) | Err(Unanswered::Nobody) => progress.stale = true,
                Ok(_) => progress.in_doubt.push((node.clone(), unexpected().into())),
                Err(error) => {
                    progress.stale |= !matches!(error, Unanswered::Overloaded | Unanswered::Busy);
                    progress.in_doubt.push((node.clone(), error.into()));
                }
            }
            progress.asked.push(node);
        }
        if progress.stale {
            self.routes.forget(uid);
        }
    }

    /// Hands a message to an audience on all other nodes, one frame each.
    pub(super) async fn publish(&self, audience: &Audience, message: &Message) -> Result<(), RelayError> {
        let timeout = self.settings.request_timeout;
        let nodes = self.peers.live(self.now());
        let body = Body::Publish { audience: audience.clone(), message: message.clone() };
        let asked = nodes.iter().map(|node| self.ask(node, body.clone(), timeout, false));
        for answer in join_all(asked).await {
            match answer {
                // Whoever listens nowhere hears nothing; its sessions, if it has any, are cut off.
                Ok(_) | Err(Unanswered::Nobody) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }
}

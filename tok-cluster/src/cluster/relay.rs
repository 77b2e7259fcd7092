//! What the hub sees of the cluster.

use std::{collections::BTreeSet, sync::Arc};

use futures_util::future::join_all;
use tok_core::{
    CloseReason, Epoch, Message, Uid, async_trait,
    relay::{Audience, Claim, Delivery, Node, Relay, RelayError, Target},
};

use super::{
    Cluster, PAGE,
    ask::{unavailable, unexpected},
    intake, pulse, repair,
};
use crate::{
    Cursor,
    frame::{self, Body, Reply},
};

#[async_trait]
impl Relay for Cluster {
    fn start(&self, node: Node) -> Result<(), RelayError> {
        let inner = &self.inner;
        if inner.node.set(node).is_err() {
            return Err(unavailable("this cluster handle is another hub's already: build one for each hub"));
        }
        intake::start(inner);
        let runtime = &inner.runtime;
        let (weak, bell) = (Arc::downgrade(inner), Arc::clone(&inner.pulse));
        runtime.spawn("cluster pulse", Box::pin(pulse::run(weak, bell, Arc::clone(runtime))));
        let (weak, bell) = (Arc::downgrade(inner), Arc::clone(&inner.repair));
        runtime.spawn("cluster repair", Box::pin(repair::run(weak, bell, Arc::clone(runtime))));
        Ok(())
    }

    async fn claim(&self, claim: &Claim) -> Result<Epoch, RelayError> {
        self.inner.login(claim).await
    }

    async fn release(&self, uid: &Uid, epoch: Epoch) -> Result<(), RelayError> {
        self.inner.logout(uid, epoch).await
    }

    async fn deliver(&self, uid: &Uid, delivery: &Delivery) -> Result<usize, RelayError> {
        if uid.check().is_err() {
            return Ok(0);
        }
        self.inner.deliver(uid, delivery).await
    }

    async fn publish(&self, audience: &Audience, message: &Message) -> Result<(), RelayError> {
        self.inner.publish(audience, message).await
    }

    async fn kick(&self, uid: &Uid, target: &Target, reason: CloseReason) -> Result<usize, RelayError> {
        let inner = &*self.inner;
        if uid.check().is_err() {
            return Ok(0);
        }
        // Those that lost their place are meant too, should they not have ended yet.
        let nodes = inner.nodes_of(&inner.rows(uid).await?);
        let timeout = inner.settings.request_timeout;
        let body = Body::Kick { uid: uid.clone(), target: target.clone(), reason };
        let asked = nodes.iter().map(|node| inner.ask(node, body.clone(), timeout, false));
        let mut ended = 0;
        for answer in join_all(asked).await {
            match answer? {
                Reply::Ended(epochs) => {
                    ended += epochs.len();
                    // Their node does so too, in a moment; from now on they do not count as online.
                    for epoch in epochs {
                        inner.registry_of(uid, inner.registry.release(uid, epoch)).await?;
                    }
                }
                _ => return Err(unexpected().into()),
            }
        }
        Ok(ended)
    }

    async fn is_online(&self, uid: &Uid) -> Result<bool, RelayError> {
        let inner = &*self.inner;
        if uid.check().is_err() {
            return Ok(false);
        }
        let nodes = inner.places(&inner.rows(uid).await?);
        let timeout = inner.settings.request_timeout;
        let ask = |node| inner.ask(node, Body::Online { uid: uid.clone() }, timeout, false);
        // Whoever cannot be asked is online while its node's lease holds.
        let online = |answer| !matches!(answer, Ok(Reply::Online(false)));
        Ok(join_all(nodes.iter().map(ask)).await.into_iter().any(online))
    }

    async fn users_online(&self) -> Result<usize, RelayError> {
        let users = self.inner.registry(self.inner.registry.users()).await?;
        Ok(usize::try_from(users).unwrap_or(usize::MAX))
    }

    fn max_message(&self) -> Option<usize> {
        Some(self.inner.bus.max_frame().saturating_sub(frame::overhead(&self.inner.me)))
    }

    async fn online(&self) -> Result<Vec<Uid>, RelayError> {
        let inner = &*self.inner;
        let here = inner.node.get().map(Node::online).unwrap_or_default();
        let mut users: BTreeSet<Uid> = here.into_iter().collect();
        let mut after = Cursor::START;
        loop {
            let page = inner.registry(inner.registry.page(after, PAGE)).await?;
            let elsewhere = inner.live(page.rows).await.into_iter().filter(|row| row.node != inner.me);
            users.extend(elsewhere.map(|row| row.uid));
            match page.next {
                Some(next) => after = next,
                None => return Ok(users.into_iter().collect()),
            }
        }
    }
}

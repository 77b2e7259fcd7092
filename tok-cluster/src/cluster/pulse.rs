//! The node's heartbeat: it joins, renews its lease, looks who is there, and listens whether it can be heard.

use std::{
    pin::pin,
    sync::{Arc, Weak},
    time::Duration,
};

use futures_util::future::{join_all, join3, select};
use tok_core::{
    CloseReason,
    error::BoxError,
    relay::RelayError,
    rt::{Instant, Runtime},
};

use super::{
    Inner, Policy,
    inbound::Ear,
    status::{MISSES, Phase},
};
use crate::{
    frame::Body,
    wait::{Bell, within},
};

/// What ends with the node.
pub(super) async fn run(inner: Weak<Inner>, bell: Arc<Bell>, runtime: Arc<dyn Runtime>) {
    loop {
        let Some(strong) = inner.upgrade() else { return };
        let next = match strong.status.phase() {
            Phase::Left => return,
            Phase::Joining => strong.join(Arc::downgrade(&strong)).await,
            Phase::Joined => strong.beat().await,
        };
        drop(strong);
        select(pin!(bell.heard()), runtime.sleep_until(next)).await;
    }
}

impl Inner {
    /// Tries to become one of the cluster. Returns when to go on.
    async fn join(&self, weak: Weak<Self>) -> Instant {
        let began = self.now();
        match self.try_join(weak, began).await {
            Ok(()) => {
                self.status.join();
                let hello = self.request(Body::Hello).encode();
                let _ =
                    within(&*self.runtime, self.settings.request_timeout, self.bus.broadcast(hello)).await;
                self.after(began, self.settings.beat)
            }
            Err(error) => {
                self.status.not_joined(error);
                self.after(self.now(), self.settings.beat / 5)
            }
        }
    }

    async fn try_join(&self, weak: Weak<Self>, began: Instant) -> Result<(), BoxError> {
        self.open(weak).await?;
        self.renew(began).await?;
        self.look_round_in_time().await?;
        Ok(())
    }

    async fn open(&self, weak: Weak<Self>) -> Result<(), BoxError> {
        let opened = self.bus.open(&self.me, Arc::new(Ear(weak)));
        match within(&*self.runtime, self.settings.request_timeout, opened).await {
            Some(result) => result.map_err(Into::into),
            None => Err("the broker did not answer in time".into()),
        }
    }

    async fn renew(&self, began: Instant) -> Result<(), RelayError> {
        let outages = self.status.outages();
        let had = self.in_time(self.registry.beat(&self.me, self.settings.lease)).await?;
        self.status.renewed(had, outages, self.now(), began.saturating_add(self.settings.lease));
        Ok(())
    }

    /// One beat. Returns when the next is due.
    async fn beat(self: &Arc<Self>) -> Instant {
        let began = self.now();
        self.close_at_lease_end();
        let probe = self.ask(&self.me, Body::Probe, self.settings.request_timeout, true);
        let (renewed, _, probed) = join3(self.renew(began), self.look_round_in_time(), probe).await;
        let well = renewed.is_ok() && probed.is_ok();
        match self.status.probed(probed.is_ok()) {
            // It hears itself again.
            (MISSES.., 0) => self.status.gap(),
            (_, MISSES..) if self.open(Arc::downgrade(self)).await.is_ok() => self.status.gap(),
            _ => {}
        }
        self.repair.ring();
        self.close_at_lease_end();
        self.after(began, if well { self.settings.beat } else { self.settings.beat / 5 })
    }

    /// `pause` after `from`, but not before the moment at which a lease that is not renewed has consequences.
    fn after(&self, from: Instant, pause: Duration) -> Instant {
        let next = from.saturating_add(pause);
        let end = self.strict_end();
        let waits = self.settings.policy == Policy::Strict && end > self.now();
        if waits { next.min(end) } else { next }
    }

    /// When a node under [`Policy::Strict`] gives up a lease that it could not renew: before anybody else does.
    pub(super) fn strict_end(&self) -> Instant {
        let margin = u64::try_from(self.settings.request_timeout.as_nanos()).unwrap_or(u64::MAX);
        Instant::from_nanos(self.status.lease_until().as_nanos().saturating_sub(margin))
    }

    fn close_at_lease_end(&self) {
        if self.settings.policy != Policy::Strict || self.now() < self.strict_end() {
            return;
        }
        let Some(node) = self.node.get() else { return };
        for part in self.claims.parts() {
            for (uid, _, epoch) in part.iter().filter(|(_, class, _)| class.is_some()) {
                node.end(uid, *epoch, CloseReason::Unavailable);
            }
        }
    }

    /// See [`Cluster::leave`](super::Cluster::leave).
    pub(super) async fn leave(&self) {
        if !self.status.leave() {
            return;
        }
        let rest = self.settings.request_timeout;
        let rows = async {
            for part in self.claims.parts() {
                let released = part.into_iter().map(|(uid, _, epoch)| async move {
                    let _: Result<(), RelayError> = self.logout(&uid, epoch).await;
                });
                join_all(released).await;
            }
        };
        let _ = within(&*self.runtime, rest, rows).await;
        let bye = self.request(Body::Bye).encode();
        let goodbye = async {
            let _ = self.registry(self.registry.leave(&self.me)).await;
            let _ = self.bus.broadcast(bye).await;
            self.bus.close().await;
        };
        let _ = within(&*self.runtime, rest, goodbye).await;
        self.intake.close();
        self.pulse.ring();
        self.repair.ring();
    }
}

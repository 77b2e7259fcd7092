//! What other nodes ask of this one.

use std::sync::Weak;

use bytes::Bytes;
use tok_core::{Epoch, Uid};

use super::{
    Inner,
    intake::{Job, Key},
};
use crate::{
    Answer, BusState, Inbound, NodeId,
    frame::{Body, Fault, Reply, Request},
};

/// The bus holds this for as long as it likes, and the node not any longer for that.
pub(super) struct Ear(pub(super) Weak<Inner>);

impl Inbound for Ear {
    fn request(&self, frame: Bytes, answer: Answer) {
        let Some(inner) = self.0.upgrade() else { return };
        match Request::decode(&frame) {
            Ok(request) => inner.take_in(request, frame.len(), answer),
            Err(fault) => answer.send(Reply::Refused(fault).encode()),
        }
    }

    fn notify(&self, frame: Bytes) {
        let Some(inner) = self.0.upgrade() else { return };
        let Ok(request) = Request::decode(&frame) else { return };
        if request.from == inner.me {
            return;
        }
        match request.body {
            Body::Hello => inner.pulse.ring(),
            Body::Bye => inner.peers.left(&request.from, inner.now()),
            _ => {}
        }
    }

    fn state(&self, state: BusState) {
        let Some(inner) = self.0.upgrade() else { return };
        match state {
            BusState::Down => inner.status.set_down(),
            BusState::Gap => {
                inner.status.set_up();
                inner.status.gap();
                // The lease first; then the repair.
                inner.pulse.ring();
            }
        }
    }
}

impl Inner {
    /// Answers what can be answered at once, and hands everything else to the workers. A frame that came before is not
    /// answered: the first one's answer counts.
    fn take_in(&self, request: Request, bytes: usize, answer: Answer) {
        let Request { from, id, body } = request;
        if from != self.me && !self.peers.is_first(&from, id) {
            return;
        }
        match Key::of(&body) {
            None => answer.send(self.act(&from, body).encode()),
            Some(key) => {
                if let Err(answer) = self.intake.put(key, Job { from, body, answer, bytes }) {
                    answer.send(Reply::Busy.encode());
                }
            }
        }
    }

    /// Does what a node asks for.
    pub(super) fn act(&self, from: &NodeId, body: Body) -> Reply {
        let Some(node) = self.node.get() else { return Reply::Busy };
        match body {
            Body::Deliver { uid, delivery } => {
                let sessions = match node.deliver(&uid, &delivery) {
                    Ok(Some(sessions)) => sessions,
                    Ok(None) => return Reply::NotHere,
                    Err(_) => return Reply::Busy,
                };
                let others = self.claims.elsewhere(&uid).map(|elsewhere| elsewhere.others);
                Reply::Taken { sessions: count(sessions), others: others.unwrap_or_default() }
            }
            Body::Publish { audience, message } => {
                if node.publish(&audience, &message).is_err() {
                    return Reply::Busy;
                }
                Reply::Done
            }
            Body::Claimed { uid, class, epoch } => {
                self.claimed_elsewhere(&uid, class.as_deref(), epoch, from);
                Reply::Done
            }
            Body::Kick { uid, target, reason } => Reply::Ended(node.kick(&uid, &target, reason)),
            Body::Online { uid } => Reply::Online(node.is_online(&uid)),
            Body::Probe => Reply::Done,
            Body::Hello | Body::Bye => Reply::Refused(Fault::Malformed),
        }
    }

    /// A newer login of the user took effect at `from`.
    pub(super) fn claimed_elsewhere(&self, uid: &Uid, class: Option<&str>, epoch: Epoch, from: &NodeId) {
        if let (Some(node), Some(class)) = (self.node.get(), class) {
            node.evict(uid, class, epoch);
        }
        // What is told again can be out of date: then the sender's session has lost its place to one here.
        let newer = |(ours, at): &(Option<String>, Epoch)| ours.as_deref() == class && *at > epoch;
        let lost = class.is_some() && self.claims.epochs(uid).iter().any(newer);
        if !lost && !self.claims.note(uid, from) {
            self.routes.forget(uid);
        }
    }
}

fn count(sessions: usize) -> u32 {
    u32::try_from(sessions).unwrap_or(u32::MAX)
}

//! What the last session left unconfirmed.

use super::State;
use crate::{
    Epoch,
    hub::{effects::Effects, hooks::Undelivered, inner::Inner, packet::Packet},
    queue::{Page, Seq},
};

/// Stored messages that are to be reported as [`Undelivered::Left`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Left {
    /// Those up to here are confirmed, or were reported.
    pub(crate) after: Seq,
    /// What lies behind this was stored when the user was offline, and is reported as such. `None`: nothing does.
    upto: Option<Seq>,
    /// The newest login, whose claim is to be given back before the cluster is asked whether it was the last.
    pub(crate) epoch: Epoch,
}

impl State {
    /// The last session has ended.
    pub(super) fn note_left(&mut self, hub: &Inner) {
        if hub.hooks.undelivered.is_none() {
            return;
        }
        let after = self.log.confirmed().seq.max(hub.left.last_stored(&self.uid).unwrap_or_default());
        let known = self.log.last_known_seq();
        let is_known = self.log.stored_tail().is_some();
        if is_known && known <= after && !self.log.has_accepted() {
            return;
        }
        // In a cluster other nodes store from now on, too.
        let upto = (hub.relay.is_some() && is_known).then_some(known);
        self.left = Some(Left { after, upto, epoch: self.epoch });
    }

    /// Messages that nobody was there for are stored, from `first` on.
    pub(crate) fn left_before(&mut self, first: Option<&Seq>) {
        if let (Some(left), Some(first)) = (&mut self.left, first) {
            left.upto.get_or_insert(Seq::new(first.get().saturating_sub(1)));
        }
    }

    /// What is to be reported, once everything is stored.
    pub(crate) fn left(&self) -> Option<Left> {
        self.left.filter(|_| !self.log.has_accepted())
    }

    /// There is nothing to report: the user is online again, here or elsewhere.
    pub(crate) fn forget_left(&mut self) {
        self.left = None;
    }

    /// Reports a page of the queue that was read for this.
    pub(crate) fn report_left(&mut self, hub: &Inner, read_for: Left, page: &Page, fx: &mut Effects) {
        let Some(left) = self.left.as_mut().filter(|left| left.after == read_for.after) else { return };
        let now = hub.runtime.now();
        let mut is_last = !page.more || page.entries.is_empty();
        for (seq, entry) in &page.entries {
            if left.upto.is_some_and(|upto| *seq > upto) {
                is_last = true;
                break;
            }
            left.after = *seq;
            if !entry.is_expired() {
                fx.report(&self.uid, Packet::from_entry(entry, now, &hub.budget), Undelivered::Left);
            }
        }
        hub.left.stored(&self.uid, left.after);
        if is_last {
            self.left = None;
        }
    }
}

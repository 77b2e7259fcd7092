//! One user: sessions, the log, and what is under way for them.

mod admit;
mod attach;
mod handed;
mod left;
mod receipts;
mod unread;

use std::{
    sync::{Arc, Weak},
    task::Waker,
};

pub(crate) use self::{
    admit::{Append, Obstacle},
    left::Left,
    unread::{Held, Look, Offer},
};
use self::{handed::Handed, receipts::Receipts};
use super::{
    Outcome,
    effects::{Effects, Kept, Ticket, Verdict},
    hooks::Undelivered,
    inner::Inner,
    lane,
    log::{Cursor, Log, LogEntry},
    session::Core,
};
use crate::{
    CloseReason, MessageId, SendError, Uid,
    collections::{HashMap, shrink_list, shrink_map},
    queue::{Epoch, Seq},
    rt::Instant,
    sync::{
        Mutex, MutexGuard,
        atomic::{AtomicBool, Ordering},
    },
};

/// One user while there is something to know about it: sessions, messages in memory, queue operations under way, or
/// receipts. Otherwise the hub has no entry for the user.
#[derive(Debug)]
pub(crate) struct User {
    uid: Uid,
    state: Mutex<State>,
    /// Says that this entry has left the registry; whoever still holds it looks the user up again.
    retired: AtomicBool,
}

/// Everything that decides a user's order is behind this one lock, and each send takes it once.
#[derive(Debug)]
pub(crate) struct State {
    uid: Uid,
    /// The user whose state this is.
    user: Weak<User>,
    pub(crate) sessions: Vec<Arc<Core>>,
    pub(crate) log: Log,
    /// A task with queue operations of this user is under way.
    pub(crate) lane: bool,
    /// The shared queue has yet to learn of the newest login: until it does, a node that is cut off and has an older one
    /// could remove what this one needs.
    pub(crate) fence_due: bool,
    /// The queue failed; until it works again no new message is taken over what memory holds.
    pub(crate) queue_failing: bool,
    /// The last queue operation failed and is to be tried again.
    pub(crate) away: bool,
    /// The positions of the messages that are being stored.
    pub(crate) storing: Option<(u64, u64)>,
    /// Accepted messages that are being stored.
    pub(crate) spilling: Option<Spilling>,
    /// The first message that waits, if the queue did not take it.
    stuck: Option<(u64, Obstacle)>,
    /// Messages that could not be kept and went to sessions.
    handed: Handed,
    /// Since when senders wait and nothing is confirmed, stored or read.
    waiting_since: Option<Instant>,
    /// What the last session left unconfirmed is yet to be reported.
    left: Option<Left>,
    /// Messages whose store failed, so that nobody knows whether the queue has them.
    pub(crate) unsure: Option<Vec<LogEntry>>,
    receipts: Receipts,
    tickets: HashMap<u64, Arc<Ticket<Verdict>>>,
    /// Senders of transient messages that wait until the stored messages have been read.
    unread: Vec<Arc<Ticket<Look>>>,
    online: bool,
    /// Logins that have asked the cluster for their epoch, and what other nodes' newer logins fence meanwhile.
    claims: usize,
    fences: Vec<(Box<str>, Epoch)>,
    /// The newest login's, which fences acknowledgements.
    pub(crate) epoch: Epoch,
    /// The queue has refused acknowledgements under this epoch: they wait for a newer login here.
    pub(crate) fenced: Option<Fenced>,
}

/// A batch of accepted messages that is being stored: the first and the last position, and how many they are.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Spilling {
    pub(crate) first: u64,
    pub(crate) last: u64,
    pub(crate) messages: usize,
}

/// The queue refused an acknowledgement.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fenced {
    /// The epoch that the acknowledgement carried.
    pub(crate) refused: Epoch,
    /// The epoch that the queue named.
    pub(crate) current: Epoch,
}

impl User {
    pub(crate) fn new(uid: &Uid, hub: &Inner) -> Arc<Self> {
        let state = |user: &Weak<Self>| State {
            uid: uid.clone(),
            user: Weak::clone(user),
            sessions: Vec::new(),
            log: Log::default(),
            lane: false,
            fence_due: false,
            queue_failing: false,
            away: false,
            storing: None,
            spilling: None,
            stuck: None,
            handed: Handed::default(),
            waiting_since: None,
            left: None,
            unsure: None,
            receipts: Receipts::default(),
            tickets: crate::collections::hash_map(hub.seed),
            unread: Vec::new(),
            online: false,
            claims: 0,
            fences: Vec::new(),
            epoch: Epoch::default(),
            fenced: None,
        };
        Arc::new_cyclic(|user| Self {
            state: Mutex::new(state(user)),
            uid: uid.clone(),
            retired: AtomicBool::new(false),
        })
    }

    pub(crate) fn uid(&self) -> &Uid {
        &self.uid
    }

    /// The state, or `None` when the entry has left the registry.
    pub(crate) fn lock(&self) -> Option<MutexGuard<'_, State>> {
        let state = self.state.lock();
        (!self.retired.load(Ordering::Relaxed)).then_some(state)
    }

    /// Takes the entry out of the registry if nothing is left to know.
    pub(crate) fn retire_if_idle(self: &Arc<Self>, hub: &Inner) {
        {
            let state = self.state.lock();
            if !state.is_idle() || self.retired.swap(true, Ordering::Relaxed) {
                return;
            }
        }
        hub.registry.remove(self);
    }
}

impl State {
    fn is_idle(&self) -> bool {
        self.sessions.is_empty()
            && self.log.is_empty()
            && !self.lane
            && self.receipts.is_empty()
            && self.claims == 0
    }

    /// What the queue has yet to be told that it would not refuse.
    pub(crate) fn ack_due(&self) -> Option<Seq> {
        self.log.ack_due().filter(|_| !self.is_fenced_off())
    }

    /// Whether the queue refuses acknowledgements from here until there is a newer epoch.
    pub(crate) fn is_fenced_off(&self) -> bool {
        self.fenced.is_some_and(|fenced| fenced.refused >= self.epoch)
    }

    pub(crate) fn live(&self) -> usize {
        self.sessions.iter().filter(|session| session.slot.lock().is_live()).count()
    }

    /// Keeps the count of users online true after sessions began or ended.
    pub(crate) fn refresh_online(&mut self, hub: &Inner) {
        let online = self.live() > 0;
        if online != self.online {
            self.online = online;
            if online {
                hub.users_online.fetch_add(1, Ordering::Relaxed);
            } else {
                hub.users_online.fetch_sub(1, Ordering::Relaxed);
            }
        }
    }

    /// The session is given nothing from here on. Its task may still be finishing a handler.
    pub(crate) fn detach(&mut self, hub: &Inner, core: &Core, reason: CloseReason, fx: &mut Effects) {
        if end(hub, core, reason, fx) {
            hub.uncount_sessions(1);
        }
        self.sessions_ended(hub, fx);
    }

    /// Draws the consequences after sessions have ended.
    pub(crate) fn sessions_ended(&mut self, hub: &Inner, fx: &mut Effects) {
        let was_online = self.online;
        self.refresh_online(hub);
        self.sessions_gone(fx);
        if self.live() == 0 {
            // What is stored needs no place in memory when nobody is there to read it.
            self.log.evict(0);
            if was_online {
                self.note_left(hub);
            }
        }
        self.admit(hub, fx);
        self.want_lane(hub, fx);
    }

    /// What sessions that have ended were given and held back goes with them.
    fn sessions_gone(&mut self, fx: &mut Effects) {
        self.look_again(fx);
        self.drop_handed(fx);
    }

    pub(crate) fn forget(&mut self, core: &Core) {
        self.sessions.retain(|other| other.id != core.id);
        shrink_list(&mut self.sessions);
    }

    /// Takes expired messages out of memory and reports them.
    pub(crate) fn drop_expired(&mut self, hub: &Inner, fx: &mut Effects) {
        let expired = self.log.remove_expired(hub.runtime.now());
        if expired.is_empty() {
            return;
        }
        for entry in expired {
            self.expired(entry.pos, fx);
            fx.report(&self.uid, entry.packet, Undelivered::Expired);
        }
        // Transient messages that followed them go on.
        self.feed_all(hub, fx);
    }

    /// A message expired: it leaves memory, if it is still there, and its waiting sender and receipts are woken.
    pub(crate) fn expired(&mut self, pos: u64, fx: &mut Effects) {
        self.log.remove(pos);
        self.receipts.end(pos, Outcome::Lapsed, fx);
        if let Some(ticket) = self.tickets.remove(&pos) {
            ticket.settle(Ok(Kept::Expired), fx);
        }
    }

    /// Gives every session what the log has for it.
    pub(crate) fn feed_all(&self, hub: &Inner, fx: &mut Effects) {
        for core in &self.sessions {
            self.feed_one(hub, core, fx);
        }
    }

    pub(crate) fn feed(&mut self, hub: &Inner, core: &Core, fx: &mut Effects) {
        self.feed_one(hub, core, fx);
        self.admit(hub, fx);
        self.want_lane(hub, fx);
    }

    fn feed_one(&self, hub: &Inner, core: &Core, fx: &mut Effects) {
        let mut slot = core.slot.lock();
        if !slot.is_live() {
            return;
        }
        let backlog = hub.settings.backlog;
        let now = hub.runtime.now();
        slot.pass_over_expired(now);
        if self.log.has_stored_after(slot.fed.seq) {
            slot.behind = true;
            slot.wants_page = slot.has_room_for_kept(backlog);
            slot.hungry = !slot.wants_page;
            return;
        }
        slot.wants_page = false;
        slot.hungry = false;
        let mut pushed = false;
        let mut stopped = None;
        for entry in self.log.after(slot.fed.pos) {
            slot.release_held(Some(entry.cursor()));
            // What is to be stored first, because of write-ahead or because the user was offline when it came, is
            // handed over when it is: until then its sender may yet be told that it was refused.
            let ready = entry.seq.is_some() || entry.accepted;
            slot.hungry = !slot.has_room_for_kept(backlog);
            if !ready || slot.hungry {
                stopped = Some(entry.cursor());
                break;
            }
            if entry.packet.is_expired(now) {
                slot.fed.advance(entry.cursor());
            } else {
                slot.push_kept(&entry.packet, entry.cursor());
                pushed = true;
            }
        }
        slot.release_held(stopped);
        slot.behind = stopped.is_some();
        if pushed || slot.has_output() {
            fx.wake(slot.unpark());
        }
    }

    /// A session's peer has everything up to `cursor`, and so the user has.
    pub(crate) fn confirm(&mut self, hub: &Inner, core: &Core, cursor: Cursor, fx: &mut Effects) {
        if core.slot.lock().is_live() {
            self.log_confirm(hub, core, cursor, fx);
            self.want_lane(hub, fx);
        }
    }

    fn log_confirm(&mut self, hub: &Inner, core: &Core, cursor: Cursor, fx: &mut Effects) {
        self.goes_on();
        self.log.confirm(cursor);
        self.confirm_handed(core, cursor, fx);
        let handed = &self.handed;
        self.receipts.confirm(self.log.confirmed().pos, |pos| handed.contains(pos), fx);
        self.admit(hub, fx);
    }

    /// What was stored has its place in the queue now. Those who wait for that are told by
    /// [`answer`](Self::answer).
    pub(crate) fn stored(&mut self, hub: &Inner, batch: &[LogEntry], seqs: &[Seq], fx: &mut Effects) {
        for (entry, seq) in batch.iter().zip(seqs) {
            for session in &self.sessions {
                let mut slot = session.slot.lock();
                if slot.fed.pos >= entry.pos {
                    slot.fed.seq = slot.fed.seq.max(*seq);
                }
            }
        }
        self.goes_on();
        let handed = &self.handed;
        self.log.stored(batch, seqs, |pos| handed.contains(pos));
        batch.iter().for_each(|entry| self.handed.remove(entry.pos));
        if self.live() > 0 {
            if hub.relay.is_some() {
                // Other nodes' messages may stand between this node's: sessions read the shared queue alone.
                self.log.evict(0);
            }
            self.feed_all(hub, fx);
            self.log.evict(hub.log_memory());
        } else {
            self.log.evict(0);
        }
    }

    /// Senders learn that their messages are stored, and how many sessions elsewhere were told. `is_new`: they were stored
    /// while no session was here.
    pub(crate) fn answer(&mut self, batch: &[LogEntry], elsewhere: usize, is_new: bool, fx: &mut Effects) {
        let offline = is_new && self.live() + elsewhere == 0;
        for entry in batch {
            if let Some(ticket) = self.tickets.remove(&entry.pos) {
                ticket.settle(Ok(Kept::Stored(elsewhere)), fx);
            }
            if offline {
                fx.report(&self.uid, Arc::clone(&entry.packet), Undelivered::Stored);
            }
        }
        shrink_map(&mut self.tickets);
    }

    /// Messages will not be stored: their senders learn why.
    pub(crate) fn refused(
        &mut self,
        hub: &Inner,
        batch: &[LogEntry],
        fx: &mut Effects,
        error: impl Fn() -> SendError,
    ) {
        for entry in batch {
            self.log.remove(entry.pos);
            self.receipts.end(entry.pos, Outcome::Lapsed, fx);
            if let Some(ticket) = self.tickets.remove(&entry.pos) {
                ticket.settle(Err(error()), fx);
            }
        }
        shrink_map(&mut self.tickets);
        // Transient messages that followed them go on.
        self.feed_all(hub, fx);
    }

    /// A job of the lane failed, or went well.
    pub(crate) fn set_away(&mut self, hub: &Inner, away: bool, fx: &mut Effects) {
        self.away = away;
        self.admit(hub, fx);
    }

    /// Another node has stored for the user, up to `seq`: sessions read on.
    pub(crate) fn stored_elsewhere(&mut self, hub: &Inner, seq: Seq, fx: &mut Effects) {
        self.log.raise_stored_tail(seq);
        self.feed_all(hub, fx);
        self.want_lane(hub, fx);
    }

    /// Starts the lane if there is queue work and none is running.
    pub(crate) fn want_lane(&mut self, hub: &Inner, fx: &mut Effects) {
        if !self.lane && lane::has_work(self, hub) {
            // Who holds the lock holds the user.
            if let Some(user) = self.user.upgrade() {
                self.lane = true;
                fx.start_lane(user);
            }
        }
    }

    /// What became of a message with a receipt, if it has ended. If not, `waker` is woken when it does; `key` names the
    /// waiter from its second call on.
    pub(crate) fn poll_outcome(&mut self, pos: u64, key: &mut Option<u64>, waker: &Waker) -> Option<Outcome> {
        let outcome = self.receipts.outcome(pos);
        if outcome.is_none() {
            self.receipts.wait(pos, key, waker);
        }
        outcome
    }

    pub(crate) fn stop_waiting(&mut self, pos: u64, key: u64) {
        self.receipts.give_up(pos, key);
    }

    pub(crate) fn drop_receipt(&mut self, pos: u64) {
        self.receipts.remove(pos);
    }

    pub(crate) fn acknowledge(&mut self, hub: &Inner, core: &Core, id: MessageId, fx: &mut Effects) -> bool {
        let cursor = core.slot.lock().acknowledge(id);
        if let Some(cursor) = cursor {
            self.log_confirm(hub, core, cursor, fx);
            self.feed(hub, core, fx);
        }
        cursor.is_some()
    }
}

/// Returns true if the session had a place among the hub's, which is the caller's now.
fn end(hub: &Inner, core: &Core, reason: CloseReason, fx: &mut Effects) -> bool {
    let mut slot = core.slot.lock();
    slot.end(reason, fx);
    let had_place = slot.uncount();
    if had_place && hub.relay.is_some() {
        fx.release(core.user.uid(), core.epoch);
    }
    had_place
}

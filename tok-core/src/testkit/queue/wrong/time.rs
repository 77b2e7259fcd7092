//! Clocks that are wrong, and sweeps that leave what they should take.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use super::{Fault, Item, State, WrongQueue};
use crate::{
    Uid,
    rt::{Clock, Instant},
    sync::Mutex,
};

pub(super) const HOUR: Duration = Duration::from_secs(3600);

/// The clock of the inner queue: the one that was provided, and what it is ahead.
pub(super) fn clock(state: &Arc<Mutex<State>>) -> Clock {
    let state = Arc::clone(state);
    Clock::new(move || {
        let (clock, ahead) = {
            let state = state.lock();
            (state.clock.clone(), state.ahead)
        };
        clock.map_or_else(Instant::default, |clock| clock.now()).saturating_add(ahead)
    })
}

impl WrongQueue {
    /// Lets the clock of the inner queue be wrong from now on.
    pub(super) fn set_ahead(&self, by: Duration) {
        self.state.lock().ahead = by;
    }

    /// Every operation takes a minute on a clock of its own.
    pub(super) fn pass(&self) {
        if self.fault == Fault::HasAClockOfItsOwn {
            self.state.lock().ahead += Duration::from_secs(60);
        }
    }

    /// Takes out what a wrong sweep leaves.
    pub(super) fn hide(&self, now: Instant) -> BTreeMap<Uid, Vec<Item>> {
        let is_left = |item: &Item| match (self.fault, item.expires_at, item.entry.ttl) {
            (Fault::SweepsTooLate, Some(at), _) => at == now,
            (Fault::SweepsAfterTwiceTheTtl, Some(at), Some(ttl)) => at.saturating_add(ttl) > now,
            _ => false,
        };
        let is_live = |item: &Item| item.expires_at.is_none_or(|at| at > now);
        let mut users = self.inner.users.lock();
        let hide = |(uid, user): (&Uid, &mut super::User)| {
            let hidden = match self.fault {
                Fault::SweepsTheFrontOnly => {
                    let end = user.entries.iter().position(is_live).unwrap_or(user.entries.len());
                    user.entries.split_off(end)
                }
                _ => user.entries.extract_if(.., |item| is_left(item)).collect(),
            };
            (uid.clone(), hidden)
        };
        users.iter_mut().map(hide).collect()
    }

    /// Puts it back.
    pub(super) fn show(&self, hidden: BTreeMap<Uid, Vec<Item>>) {
        let mut users = self.inner.users.lock();
        for (uid, items) in hidden {
            let user = users.entry(uid).or_default();
            user.entries.extend(items);
            user.entries.sort_by_key(|item| item.seq);
        }
    }
}

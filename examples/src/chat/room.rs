use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Mutex, MutexGuard, PoisonError},
};

use tok_core::{SessionId, Uid};

use super::protocol::ServerMessage;

/// Who is in which room, for the lists that the page shows. The hub's rooms deliver the messages; they need no names.
///
/// Members are sessions, not users: the end of a session that a newer one of the same user displaced must not take the
/// newer one out.
#[derive(Debug, Default)]
pub(super) struct Rooms(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    rooms: BTreeMap<String, BTreeMap<Member, Uid>>,
    /// Rooms whose members have changed since they were told. All have members.
    changed: BTreeSet<String>,
}

/// A session: each node counts its own.
pub(super) type Member = (NodeNumber, SessionId);

/// Names a node among those that share the rooms.
pub(super) type NodeNumber = usize;

impl Rooms {
    pub(super) fn join(&self, member: Member, uid: &Uid, room: &str) {
        let mut state = self.lock();
        state.rooms.entry(room.to_owned()).or_default().insert(member, uid.clone());
        state.changed.insert(room.to_owned());
    }

    pub(super) fn leave(&self, member: Member, room: &str) {
        let mut state = self.lock();
        let State { rooms, changed } = &mut *state;
        let Some(members) = rooms.get_mut(room) else { return };
        members.remove(&member);
        if members.is_empty() {
            rooms.remove(room);
            changed.remove(room);
        } else {
            changed.insert(room.to_owned());
        }
    }

    pub(super) fn leave_all(&self, member: Member) {
        let mut state = self.lock();
        let State { rooms, changed } = &mut *state;
        rooms.retain(|name, members| {
            if members.remove(&member).is_none() {
                return true;
            }
            if members.is_empty() {
                changed.remove(name);
            } else {
                changed.insert(name.clone());
            }
            !members.is_empty()
        });
    }

    pub(super) fn contains(&self, member: Member, room: &str) -> bool {
        self.lock().rooms.get(room).is_some_and(|members| members.contains_key(&member))
    }

    /// The rooms with most members and their numbers of members, at most `most` rooms.
    pub(super) fn largest(&self, most: usize) -> BTreeMap<String, usize> {
        let state = self.lock();
        let mut rooms: Vec<(&String, usize)> =
            state.rooms.iter().map(|(name, members)| (name, members.len())).collect();
        if rooms.len() > most {
            rooms.select_nth_unstable_by(most, |(name, size), (other, others)| {
                others.cmp(size).then_with(|| name.cmp(other))
            });
            rooms.truncate(most);
        }
        rooms.into_iter().map(|(name, size)| (name.clone(), size)).collect()
    }

    /// What the members of each changed room are to be told, with at most so many names. The next call returns what has
    /// changed since.
    pub(super) fn take_changed(&self, most: usize) -> Vec<(String, ServerMessage)> {
        let mut state = self.lock();
        let changed = std::mem::take(&mut state.changed);
        let tell = |room: String| {
            let members = state.rooms.get(&room)?;
            let mut names: Vec<String> = members.values().take(most).map(ToString::to_string).collect();
            names.sort();
            names.dedup();
            let count = members.len();
            Some((room.clone(), ServerMessage::Members { room, names, count }))
        };
        changed.into_iter().filter_map(tell).collect()
    }

    /// Makes the next [`take_changed`](Self::take_changed) return this room again, if it still has members.
    pub(super) fn mark_changed(&self, room: &str) {
        let mut state = self.lock();
        if state.rooms.contains_key(room) {
            state.changed.insert(room.to_owned());
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing panics under the lock.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

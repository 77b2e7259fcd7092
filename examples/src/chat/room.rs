use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use tok_core::{SessionId, Uid};

use super::protocol::RoomInfo;

/// Who is in which room, for the lists that the page shows. The hub's rooms deliver the messages; they need no names.
///
/// Members are sessions, not users: the end of a session that a newer one of the same user displaced must not take the
/// newer one out.
#[derive(Debug, Default)]
pub(super) struct Rooms(Mutex<BTreeMap<String, BTreeMap<Member, Uid>>>);

/// A session: each node counts its own.
pub(super) type Member = (NodeNumber, SessionId);

/// Names a node among those that share the rooms.
pub(super) type NodeNumber = usize;

impl Rooms {
    pub(super) fn join(&self, member: Member, uid: &Uid, room: &str) {
        self.lock().entry(room.to_owned()).or_default().insert(member, uid.clone());
    }

    pub(super) fn leave(&self, member: Member, room: &str) {
        let mut rooms = self.lock();
        if let Some(members) = rooms.get_mut(room) {
            members.remove(&member);
            if members.is_empty() {
                rooms.remove(room);
            }
        }
    }

    pub(super) fn leave_all(&self, member: Member) {
        self.lock().retain(|_, members| {
            members.remove(&member);
            !members.is_empty()
        });
    }

    pub(super) fn contains(&self, member: Member, room: &str) -> bool {
        self.lock().get(room).is_some_and(|members| members.contains_key(&member))
    }

    pub(super) fn list(&self) -> Vec<RoomInfo> {
        let info = |(name, members): (&String, &BTreeMap<Member, Uid>)| {
            let mut members: Vec<String> = members.values().map(|uid| uid.as_str().to_owned()).collect();
            members.sort();
            members.dedup();
            RoomInfo { name: name.clone(), members }
        };
        self.lock().iter().map(info).collect()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, BTreeMap<Member, Uid>>> {
        // Nothing panics under the lock.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

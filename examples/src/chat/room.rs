use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use tok_core::{Session, SessionId, Uid};

use super::protocol::RoomInfo;

/// Who is in which room, for the lists that the page shows. The hub's rooms deliver the messages; they need no names.
///
/// Members are sessions, not users: the end of a session that a newer one of the same user displaced must not take the
/// newer one out.
#[derive(Debug, Default)]
pub(super) struct Rooms(Mutex<BTreeMap<String, BTreeMap<SessionId, Uid>>>);

impl Rooms {
    pub(super) fn join(&self, session: &Session, room: &str) {
        self.lock().entry(room.to_owned()).or_default().insert(session.id(), session.device().uid().clone());
    }

    pub(super) fn leave(&self, session: &Session, room: &str) {
        let mut rooms = self.lock();
        if let Some(members) = rooms.get_mut(room) {
            members.remove(&session.id());
            if members.is_empty() {
                rooms.remove(room);
            }
        }
    }

    pub(super) fn leave_all(&self, session: &Session) {
        self.lock().retain(|_, members| {
            members.remove(&session.id());
            !members.is_empty()
        });
    }

    pub(super) fn contains(&self, session: &Session, room: &str) -> bool {
        self.lock().get(room).is_some_and(|members| members.contains_key(&session.id()))
    }

    pub(super) fn list(&self) -> Vec<RoomInfo> {
        let info = |(name, members): (&String, &BTreeMap<SessionId, Uid>)| {
            let mut members: Vec<String> = members.values().map(|uid| uid.as_str().to_owned()).collect();
            members.sort();
            members.dedup();
            RoomInfo { name: name.clone(), members }
        };
        self.lock().iter().map(info).collect()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, BTreeMap<SessionId, Uid>>> {
        // Nothing panics under the lock.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

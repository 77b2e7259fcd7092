//! Requests that wait for their answer.

use bytes::Bytes;
use tokio::sync::oneshot;

use crate::{
    collections::{HashMap, hash_map},
    sync::Mutex,
};

/// It takes requests only while answers can come.
#[derive(Debug)]
pub(super) struct Table {
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    open: bool,
    next: u64,
    waiting: HashMap<u64, oneshot::Sender<Bytes>>,
}

impl Table {
    pub(super) fn new(seed: u64) -> Self {
        Self { state: Mutex::new(State { open: false, next: 0, waiting: hash_map(seed) }) }
    }

    pub(super) fn open(&self) {
        self.state.lock().open = true;
    }

    /// Whoever waits learns that no answer will come.
    pub(super) fn close(&self) {
        let waiting = {
            let mut state = self.state.lock();
            state.open = false;
            state.waiting.drain().collect::<Vec<_>>()
        };
        drop(waiting);
    }

    /// `None` while no answer can come.
    pub(super) fn begin(&self) -> Option<Waiting<'_>> {
        let mut state = self.state.lock();
        if !state.open {
            return None;
        }
        let id = state.next;
        state.next = id.wrapping_add(1);
        let (sender, answer) = oneshot::channel();
        state.waiting.insert(id, sender);
        Some(Waiting { table: self, id, answer })
    }

    /// The answer to a request, if anybody still waits for it.
    pub(super) fn answer(&self, id: u64, frame: Bytes) {
        let waiting = self.state.lock().waiting.remove(&id);
        if let Some(waiting) = waiting {
            let _ = waiting.send(frame);
        }
    }

    pub(super) fn len(&self) -> usize {
        self.state.lock().waiting.len()
    }
}

/// A place in the table, which is free again when this is dropped.
#[derive(Debug)]
pub(super) struct Waiting<'a> {
    table: &'a Table,
    pub(super) id: u64,
    pub(super) answer: oneshot::Receiver<Bytes>,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let waiting = self.table.state.lock().waiting.remove(&self.id);
        drop(waiting);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_find_who_waits_and_nobody_else() {
        let table = Table::new(1);
        assert!(table.begin().is_none(), "no answer can come");
        table.open();
        let (mut first, second) = (table.begin().unwrap(), table.begin().unwrap());
        assert_eq!(table.len(), 2);
        drop(second);
        assert_eq!(table.len(), 1, "nobody waits for the second");
        table.answer(1, Bytes::from_static(b"late"));
        table.answer(0, Bytes::from_static(b"first"));
        table.answer(0, Bytes::from_static(b"again"));
        assert_eq!(first.answer.try_recv().unwrap(), "first");
        drop(first);
        let mut third = table.begin().unwrap();
        table.close();
        assert!(third.answer.try_recv().is_err() && table.begin().is_none() && table.len() == 0);
    }
}

//! Frames of other nodes between the task that reads them and the tasks that act on them.
//!
//! What a frame asks for can run the application's hooks and write to connections. A bus reads the next frame, and with
//! it this node's own probes, only when it is done with the one before, so that nothing of that runs there.

use std::{
    collections::VecDeque,
    future::poll_fn,
    sync::{Arc, Weak},
    task::{Poll, Waker},
};

use tok_core::{Uid, relay::Audience, rt::yield_now};

use super::Inner;
use crate::{
    Answer, NodeId,
    collections::{HashMap, hash_map},
    frame::Body,
    sync::Mutex,
};

/// Tasks that act on frames. A hook that does not return holds up one of them, and the user or room that it is for.
const WORKERS: usize = 8;

/// Frames that a worker acts on before other tasks of its thread get their turn.
const TURN: usize = 32;

/// How much may wait.
#[derive(Clone, Copy, Debug)]
struct Limits {
    frames: usize,
    bytes: usize,
}

/// For all lines together. Where nothing else waits, one frame of any size fits.
const ALL: Limits = Limits { frames: 8192, bytes: 32 * 1024 * 1024 };

/// For the line of one user or room.
const EACH: Limits = Limits { frames: 1024, bytes: 8 * 1024 * 1024 };

/// What frames are for: those for the same are acted on one after the other, in the order in which they came.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Key {
    User(Uid),
    Room(String),
    Everyone,
}

impl Key {
    /// `None` if acting on it calls nobody else's code and waits for nothing.
    pub(super) fn of(body: &Body) -> Option<Self> {
        match body {
            Body::Deliver { uid, .. } | Body::Claimed { uid, .. } | Body::Kick { uid, .. } => {
                Some(Self::User(uid.clone()))
            }
            Body::Publish { audience: Audience::Room(room), .. } => Some(Self::Room(room.clone())),
            Body::Publish { .. } => Some(Self::Everyone),
            Body::Online { .. } | Body::Probe | Body::Hello | Body::Bye => None,
        }
    }
}

/// A frame that waits.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) from: NodeId,
    pub(super) body: Body,
    pub(super) answer: Answer,
    pub(super) bytes: usize,
}

#[derive(Debug)]
pub(super) struct Intake {
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    closed: bool,
    frames: usize,
    bytes: usize,
    /// Lines in which frames wait or of which a worker has one.
    lines: HashMap<Key, Line>,
    /// Keys of lines in which frames wait and of which no worker has one.
    ready: VecDeque<Key>,
    /// Workers that wait, each at its own place.
    idle: Vec<Option<Waker>>,
}

#[derive(Debug, Default)]
struct Line {
    jobs: VecDeque<Job>,
    bytes: usize,
}

impl Limits {
    fn allow(self, frames: usize, bytes: usize, more: usize) -> bool {
        frames < self.frames && (frames == 0 || bytes.saturating_add(more) <= self.bytes)
    }
}

impl Intake {
    pub(super) fn new(seed: u64) -> Self {
        let state = State {
            closed: false,
            frames: 0,
            bytes: 0,
            lines: hash_map(seed),
            ready: VecDeque::new(),
            idle: vec![None; WORKERS],
        };
        Self { state: Mutex::new(state) }
    }

    /// Puts a frame into its line. If as much as is allowed waits already, there or in all, the place for its answer comes
    /// back.
    pub(super) fn put(&self, key: Key, job: Job) -> Result<(), Answer> {
        let mut state = self.state.lock();
        if state.closed || !ALL.allow(state.frames, state.bytes, job.bytes) {
            return Err(job.answer);
        }
        let bytes = job.bytes;
        match state.lines.get_mut(&key) {
            Some(line) if !EACH.allow(line.jobs.len(), line.bytes, bytes) => return Err(job.answer),
            Some(line) => {
                line.jobs.push_back(job);
                line.bytes += bytes;
            }
            None => {
                state.lines.insert(key.clone(), Line { jobs: VecDeque::from([job]), bytes });
                state.ready.push_back(key);
            }
        }
        state.frames += 1;
        state.bytes += bytes;
        let worker = state.idle.iter_mut().find_map(Option::take);
        drop(state);
        if let Some(worker) = worker {
            worker.wake();
        }
        Ok(())
    }

    /// Takes no more frames. Workers end when they have acted on those that wait.
    pub(super) fn close(&self) {
        let idle = {
            let mut state = self.state.lock();
            state.closed = true;
            state.idle.iter_mut().filter_map(Option::take).collect::<Vec<_>>()
        };
        idle.into_iter().for_each(Waker::wake);
    }

    /// The next frame for this worker; `None` when there are no more and it is closed.
    async fn next(&self, worker: usize) -> Option<Taken<'_>> {
        poll_fn(|cx| {
            let mut state = self.state.lock();
            if let Some((key, job)) = state.take() {
                return Poll::Ready(Some(Taken { intake: self, key, job: Some(job) }));
            }
            if state.closed {
                return Poll::Ready(None);
            }
            if let Some(place) = state.idle.get_mut(worker) {
                *place = Some(cx.waker().clone());
            }
            Poll::Pending
        })
        .await
    }
}

impl State {
    fn take(&mut self) -> Option<(Key, Job)> {
        let key = self.ready.pop_front()?;
        let line = self.lines.get_mut(&key)?;
        let job = line.jobs.pop_front()?;
        line.bytes -= job.bytes;
        self.frames -= 1;
        self.bytes -= job.bytes;
        Some((key, job))
    }
}

/// A frame that a worker acts on. Until it is dropped no other worker takes one of the same line.
struct Taken<'a> {
    intake: &'a Intake,
    key: Key,
    job: Option<Job>,
}

impl Drop for Taken<'_> {
    fn drop(&mut self) {
        let mut state = self.intake.state.lock();
        let more = state.lines.get(&self.key).is_some_and(|line| !line.jobs.is_empty());
        if !more {
            state.lines.remove(&self.key);
            return;
        }
        state.ready.push_back(self.key.clone());
        let worker = state.idle.iter_mut().find_map(Option::take);
        drop(state);
        // The one that drops this may be about to end.
        if let Some(worker) = worker {
            worker.wake();
        }
    }
}

/// Starts the workers, which end with the node.
pub(super) fn start(inner: &Arc<Inner>) {
    for worker in 0..WORKERS {
        let (weak, intake, runtime) = (Arc::downgrade(inner), Arc::clone(&inner.intake), &inner.runtime);
        runtime.spawn("cluster intake", Box::pin(run(weak, intake, worker)));
    }
}

async fn run(inner: Weak<Inner>, intake: Arc<Intake>, worker: usize) {
    let mut turn = 0;
    while let Some(mut taken) = intake.next(worker).await {
        // While it waits it holds no node.
        let Some(inner) = inner.upgrade() else { return };
        if let Some(Job { from, body, answer, .. }) = taken.job.take() {
            answer.send(inner.act(&from, body).encode());
        }
        drop(inner);
        drop(taken);
        turn += 1;
        if turn % TURN == 0 {
            yield_now().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;
    use tok_core::{CloseReason, Message, relay::Target};

    use super::*;

    fn job(uid: &str, id: u16, bytes: usize) -> (Key, Job) {
        let reason = CloseReason::Application(tok_core::AppCode::new(4100 + id % 800).unwrap());
        let body = Body::Kick { uid: uid.into(), target: Target::All, reason };
        let from = NodeId::new("a", 1).unwrap();
        (Key::of(&body).unwrap(), Job { from, body, answer: Answer::new(drop), bytes })
    }

    fn put(intake: &Intake, uid: &str, id: u16, bytes: usize) -> bool {
        let (key, job) = job(uid, id, bytes);
        intake.put(key, job).is_ok()
    }

    fn next(intake: &Intake) -> Option<(Taken<'_>, u16)> {
        let taken = intake.next(0).now_or_never()??;
        let Body::Kick { reason, .. } = taken.job.as_ref()?.body else { panic!("not a kick") };
        Some((taken, reason.code() - 4100))
    }

    #[test]
    fn frames_for_one_user_wait_for_the_one_before_and_others_do_not() {
        let intake = Intake::new(1);
        for (uid, id) in [("ann", 0), ("ann", 1), ("bob", 2), ("ann", 3)] {
            assert!(put(&intake, uid, id, 1));
        }
        let (anns, id) = next(&intake).unwrap();
        assert_eq!(id, 0);
        let (bobs, id) = next(&intake).unwrap();
        assert_eq!(id, 2);
        assert!(next(&intake).is_none(), "hers wait for the first");
        drop(anns);
        let (anns, id) = next(&intake).unwrap();
        assert_eq!(id, 1);
        drop(anns);
        assert_eq!(next(&intake).unwrap().1, 3);
        drop(bobs);
        assert!(next(&intake).is_none() && intake.state.lock().lines.is_empty());
    }

    #[test]
    fn one_user_fills_its_own_line_and_no_other() {
        let intake = Intake::new(1);
        let held = put(&intake, "ann", 0, 1).then(|| next(&intake)).flatten().unwrap();
        for id in 0..1024 {
            assert!(put(&intake, "ann", id, 1));
        }
        assert!(!put(&intake, "ann", 0, 1), "1,024 frames wait");
        assert!(put(&intake, "bob", 0, 1));
        drop(held);
        drop(next(&intake));
        drop(next(&intake));
        assert!(put(&intake, "ann", 0, 1), "there is room again");
    }

    #[test]
    fn bytes_are_bounded_and_one_large_frame_fits_alone() {
        let intake = Intake::new(1);
        assert!(put(&intake, "ann", 0, usize::MAX), "nothing else waits");
        assert!(!put(&intake, "bob", 1, 1));
        drop(next(&intake));
        let half = EACH.bytes / 2;
        assert!(put(&intake, "ann", 0, half) && put(&intake, "ann", 1, half) && !put(&intake, "ann", 2, 1));
        for user in 0..6 {
            assert!(put(&intake, &format!("user {user}"), 0, half));
        }
        assert!(!put(&intake, "bob", 0, 1), "32 MiB wait");
    }

    #[test]
    fn frames_in_all_are_bounded_and_leave_nothing_behind() {
        let intake = Intake::new(1);
        for user in 0..ALL.frames {
            assert!(put(&intake, &user.to_string(), 0, 1));
        }
        assert!(!put(&intake, "one more", 0, 1));
        while next(&intake).is_some() {}
        let state = intake.state.lock();
        assert_eq!((state.frames, state.bytes, state.lines.len(), state.ready.len()), (0, 0, 0, 0));
    }

    #[test]
    fn a_closed_intake_gives_out_what_it_has_and_takes_no_more() {
        let intake = Intake::new(1);
        assert!(put(&intake, "ann", 0, 1));
        intake.close();
        assert!(!put(&intake, "ann", 1, 1));
        assert!(next(&intake).is_some());
        assert!(intake.next(0).now_or_never().unwrap().is_none());
    }

    #[test]
    fn rooms_and_users_of_one_name_are_apart() {
        let message = Message::text("");
        let publish = |audience| Key::of(&Body::Publish { audience, message: message.clone() }).unwrap();
        let room = publish(Audience::Room("x".into()));
        assert_ne!(room, job("x", 0, 1).0);
        assert_ne!(room, publish(Audience::Everyone));
        assert_eq!(Key::of(&Body::Probe), None);
    }
}

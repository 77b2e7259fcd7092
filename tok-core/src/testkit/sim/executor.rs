use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet, BinaryHeap},
    fmt,
    sync::Arc,
    task::{Context, Poll, Wake, Waker},
    time::Duration,
};

use super::rng::{self, Rng};
use crate::{
    rt::{BoxFuture, Instant, Runtime},
    sync::Mutex,
};

/// A simulation: one seed's run of any number of tasks.
pub struct Sim {
    shared: Arc<Shared>,
}

/// Why a simulation stopped before its main future ended.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Stopped {
    /// Nothing can run and no timer is set: a deadlock.
    Stuck,
    /// Five million polls: a livelock, or more than a simulation should take on.
    Runaway,
    /// The check that runs between steps failed.
    Violated(String),
}

struct Shared {
    state: Mutex<State>,
}

struct State {
    now: Instant,
    rng: Rng,
    next_id: u64,
    ready: Vec<u64>,
    timers: BinaryHeap<Reverse<(Instant, u64)>>,
    timer_wakers: BTreeMap<u64, Waker>,
    spawned: Vec<(u64, BoxFuture<'static, ()>)>,
    /// What is known of tasks that have not ended: their process and their name.
    tasks: BTreeMap<u64, (u64, &'static str)>,
    processes: u64,
    /// How far each process's wall clock is from the right time, in milliseconds.
    wall_clocks: BTreeMap<u64, i64>,
    killed: BTreeSet<u64>,
    /// Tasks of killed processes, to be dropped before the next step.
    doomed: Vec<u64>,
    polls: u64,
    trace: u64,
}

/// The main future's task.
const MAIN: u64 = 0;
const MAX_POLLS: u64 = 5_000_000;
/// Where the simulated wall clock starts: some day in 2033.
const EPOCH_MS: u64 = 2_000_000_000_000;

impl Sim {
    /// A simulation of this seed.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        let state = State {
            now: Instant::from_nanos(1),
            rng: Rng::new(seed),
            next_id: MAIN + 1,
            ready: Vec::new(),
            timers: BinaryHeap::new(),
            timer_wakers: BTreeMap::new(),
            spawned: Vec::new(),
            tasks: BTreeMap::new(),
            processes: 1,
            wall_clocks: BTreeMap::new(),
            killed: BTreeSet::new(),
            doomed: Vec::new(),
            polls: 0,
            trace: seed,
        };
        Self { shared: Arc::new(Shared { state: Mutex::new(state) }) }
    }

    /// The simulation's runtime, to build a hub with.
    #[must_use]
    pub fn runtime(&self) -> SimRuntime {
        SimRuntime { shared: Arc::clone(&self.shared), process: 0 }
    }

    /// Runs `main` and what it spawns until `main` ends.
    ///
    /// # Errors
    /// [`Stopped`], when it cannot end.
    pub fn run<T>(&self, main: impl Future<Output = T>) -> Result<T, Stopped> {
        self.run_checked(main, || Ok(()))
    }

    /// As [`run`](Self::run), with a check between any two steps: invariants are seen to break where they break.
    ///
    /// # Errors
    /// [`Stopped`], when `main` cannot end or the check fails.
    pub fn run_checked<T>(
        &self,
        main: impl Future<Output = T>,
        mut check: impl FnMut() -> Result<(), String>,
    ) -> Result<T, Stopped> {
        let mut main = std::pin::pin!(main);
        let mut tasks: BTreeMap<u64, BoxFuture<'static, ()>> = BTreeMap::new();
        self.shared.state.lock().ready.push(MAIN);
        let result = loop {
            tasks.extend(std::mem::take(&mut self.shared.state.lock().spawned));
            let doomed = std::mem::take(&mut self.shared.state.lock().doomed);
            // Their ends may spawn, and wake others: no lock is held.
            doomed.iter().for_each(|id| drop(tasks.remove(id)));
            let Some(id) = self.shared.next_task()? else { break Err(Stopped::Stuck) };
            let waker = Waker::from(Arc::new(TaskWaker { id, shared: Arc::clone(&self.shared) }));
            let mut cx = Context::from_waker(&waker);
            if id == MAIN {
                if let Poll::Ready(value) = main.as_mut().poll(&mut cx) {
                    break Ok(value);
                }
            } else if let Some(mut task) = tasks.remove(&id) {
                if task.as_mut().poll(&mut cx).is_pending() {
                    tasks.insert(id, task);
                } else {
                    self.shared.state.lock().tasks.remove(&id);
                }
            }
            if let Err(broken) = check() {
                break Err(Stopped::Violated(broken));
            }
        };
        // Tasks are dropped while the runtime still works: their ends may wake others.
        drop(tasks);
        let left = std::mem::take(&mut self.shared.state.lock().spawned);
        drop(left);
        result
    }

    /// A number that two runs share only if every step of them was the same.
    #[must_use]
    pub fn trace(&self) -> u64 {
        self.shared.state.lock().trace
    }

    /// How often tasks were polled.
    #[must_use]
    pub fn polls(&self) -> u64 {
        self.shared.state.lock().polls
    }
}

impl fmt::Debug for Sim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sim").finish_non_exhaustive()
    }
}

impl Shared {
    /// A ready task of the seed's choice; if there is none, time goes to the next timer.
    fn next_task(&self) -> Result<Option<u64>, Stopped> {
        loop {
            let waker = {
                let mut state = self.state.lock();
                if !state.ready.is_empty() {
                    let len = state.ready.len() as u64;
                    let index = usize::try_from(state.rng.below(len)).unwrap_or_default();
                    let id = state.ready.swap_remove(index);
                    state.polls += 1;
                    if state.polls > MAX_POLLS {
                        return Err(Stopped::Runaway);
                    }
                    state.trace = rng::mix(state.trace ^ id.rotate_left(32) ^ state.now.as_nanos());
                    return Ok(Some(id));
                }
                let Some(Reverse((at, id))) = state.timers.pop() else { return Ok(None) };
                let waker = state.timer_wakers.remove(&id);
                if waker.is_some() {
                    state.now = state.now.max(at);
                }
                waker
            };
            if let Some(waker) = waker {
                waker.wake();
            }
        }
    }
}

struct TaskWaker {
    id: u64,
    shared: Arc<Shared>,
}

impl Wake for TaskWaker {
    fn wake(self: Arc<Self>) {
        let mut state = self.shared.state.lock();
        if !state.ready.contains(&self.id) {
            state.ready.push(self.id);
        }
    }
}

/// The [`Runtime`] of a [`Sim`], as one process of it sees it.
#[derive(Clone)]
pub struct SimRuntime {
    shared: Arc<Shared>,
    process: u64,
}

impl SimRuntime {
    /// The runtime of one more process: its tasks, and they alone, end when it is [killed](Self::kill).
    #[must_use]
    pub fn process(&self) -> Self {
        let mut state = self.shared.state.lock();
        let process = state.processes;
        state.processes += 1;
        Self { shared: Arc::clone(&self.shared), process }
    }

    /// Steps the wall clock of this process forward or back by `millis` milliseconds. The monotonic clock goes on.
    pub fn step_wall_clock(&self, millis: i64) {
        let mut state = self.shared.state.lock();
        let offset = state.wall_clocks.entry(self.process).or_default();
        *offset = offset.saturating_add(millis);
    }

    /// Steps the wall clock of this process by up to a day, in the direction and by the distance of the seed's choice.
    pub fn upset_wall_clock(&self) {
        const DAY_MS: u64 = 24 * 60 * 60 * 1000;
        let distance = i64::try_from(self.below(2 * DAY_MS)).unwrap_or_default();
        self.step_wall_clock(distance - DAY_MS as i64);
    }

    /// Ends the process as a crash does: before the next step all its tasks are gone, wherever they were, and it starts
    /// no more.
    pub fn kill(&self) {
        let mut state = self.shared.state.lock();
        state.killed.insert(self.process);
        let (doomed, left) = std::mem::take(&mut state.tasks)
            .into_iter()
            .partition(|(_, (process, _))| *process == self.process);
        state.tasks = left;
        let doomed: BTreeMap<u64, (u64, &str)> = doomed;
        state.doomed.extend(doomed.into_keys());
    }

    /// The tasks that have not ended, of all processes and without the main future: how many of each name.
    #[must_use]
    pub fn tasks(&self) -> BTreeMap<&'static str, usize> {
        let mut tasks = BTreeMap::new();
        for (_, name) in self.shared.state.lock().tasks.values() {
            *tasks.entry(*name).or_default() += 1;
        }
        tasks
    }

    /// The timers that somebody waits for.
    #[must_use]
    pub fn timers(&self) -> usize {
        self.shared.state.lock().timer_wakers.len()
    }

    /// Lets so much virtual time pass.
    pub async fn sleep(&self, duration: Duration) {
        self.sleep_until(self.now().saturating_add(duration)).await;
    }

    /// A number below `limit` of the seed's choice; 0 if `limit` is 0.
    #[must_use]
    pub fn below(&self, limit: u64) -> u64 {
        self.shared.state.lock().rng.below(limit)
    }
}

impl Runtime for SimRuntime {
    fn now(&self) -> Instant {
        self.shared.state.lock().now
    }

    fn unix_time(&self) -> u64 {
        let state = self.shared.state.lock();
        let offset = state.wall_clocks.get(&self.process).copied().unwrap_or_default();
        (EPOCH_MS + state.now.as_nanos() / 1_000_000).saturating_add_signed(offset)
    }

    fn random(&self) -> u64 {
        self.shared.state.lock().rng.next()
    }

    fn sleep_until(&self, deadline: Instant) -> BoxFuture<'static, ()> {
        Box::pin(Sleep { shared: Arc::clone(&self.shared), deadline, timer: None })
    }

    fn spawn(&self, name: &'static str, future: BoxFuture<'static, ()>) {
        let refused = {
            let mut state = self.shared.state.lock();
            if state.killed.contains(&self.process) {
                Some(future)
            } else {
                let id = state.next_id;
                state.next_id += 1;
                state.spawned.push((id, future));
                state.tasks.insert(id, (self.process, name));
                state.ready.push(id);
                None
            }
        };
        drop(refused);
    }
}

impl fmt::Debug for SimRuntime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SimRuntime").field("now", &self.now()).finish_non_exhaustive()
    }
}

struct Sleep {
    shared: Arc<Shared>,
    deadline: Instant,
    timer: Option<u64>,
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: std::pin::Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = &mut *self;
        let mut state = this.shared.state.lock();
        if state.now >= this.deadline {
            return Poll::Ready(());
        }
        let id = *this.timer.get_or_insert_with(|| {
            let id = state.next_id;
            state.next_id += 1;
            state.timers.push(Reverse((this.deadline, id)));
            id
        });
        state.timer_wakers.insert(id, cx.waker().clone());
        Poll::Pending
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        if let Some(id) = self.timer {
            let waker = self.shared.state.lock().timer_wakers.remove(&id);
            drop(waker);
        }
    }
}

use std::{fmt, sync::Arc, time::Duration};

use super::{SimRuntime, wait::Flag};
use crate::rt::{BoxFuture, Runtime};

type Act = Box<dyn Fn() -> BoxFuture<'static, ()> + Send + Sync>;

/// Breaks and heals what it is given, one thing after the other, at times of the seed's choice.
///
/// ```
/// use std::time::Duration;
/// use tok_core::{
///     queue::Caps,
///     rt::Runtime,
///     testkit::sim::{Nemesis, Sim, SimQueue},
/// };
///
/// let sim = Sim::new(1);
/// let rt = sim.runtime();
/// let caps = Caps { durable: true, shared: false, max_messages: 100, max_bytes: 1 << 20, max_message: None };
/// let queue = SimQueue::new(rt.clone(), caps, Duration::from_millis(5), 0);
/// let (down, up) = (queue.clone(), queue);
/// let nemesis = Nemesis::new(&rt).fault("the queue is away", move || down.set_down(true), move || up.set_down(false));
/// let calm = nemesis.calm();
/// sim.run(async {
///     rt.spawn("nemesis", Box::pin(nemesis.run()));
///     rt.sleep(Duration::from_secs(60)).await;
///     // Heals what is broken, and breaks nothing more.
///     calm.now().await;
/// })
/// .unwrap();
/// ```
#[must_use]
pub struct Nemesis {
    rt: SimRuntime,
    faults: Vec<Fault>,
    pause: Duration,
    lasts: Duration,
    calm: Calm,
}

struct Fault {
    name: &'static str,
    strike: Act,
    heal: Act,
}

/// Ends a [`Nemesis`].
#[derive(Clone, Debug)]
pub struct Calm {
    asked: Arc<Flag>,
    done: Arc<Flag>,
}

impl Calm {
    /// Has everything healed, and nothing break any more. Returns when it is so.
    pub async fn now(&self) {
        self.asked.set();
        self.done.wait().await;
    }
}

impl Nemesis {
    /// One without faults.
    pub fn new(rt: &SimRuntime) -> Self {
        let calm = Calm { asked: Arc::default(), done: Arc::default() };
        let (pause, lasts) = (Duration::from_secs(4), Duration::from_secs(6));
        Self { rt: rt.clone(), faults: Vec::new(), pause, lasts, calm }
    }

    /// Adds a fault: what breaks it, and what heals it again.
    pub fn fault(
        self,
        name: &'static str,
        strike: impl Fn() + Send + Sync + 'static,
        heal: impl Fn() + Send + Sync + 'static,
    ) -> Self {
        let now = |act: Box<dyn Fn() + Send + Sync>| -> Act {
            Box::new(move || {
                act();
                Box::pin(async {})
            })
        };
        self.add(Fault { name, strike: now(Box::new(strike)), heal: now(Box::new(heal)) })
    }

    /// Adds a fault whose breaking and healing take time.
    pub fn slow_fault<S, H>(
        self,
        name: &'static str,
        strike: impl Fn() -> S + Send + Sync + 'static,
        heal: impl Fn() -> H + Send + Sync + 'static,
    ) -> Self
    where
        S: Future<Output = ()> + Send + 'static,
        H: Future<Output = ()> + Send + 'static,
    {
        let strike: Act = Box::new(move || Box::pin(strike()));
        let heal: Act = Box::new(move || Box::pin(heal()));
        self.add(Fault { name, strike, heal })
    }

    fn add(mut self, fault: Fault) -> Self {
        self.faults.push(fault);
        self
    }

    /// How long things are well between two faults at most, and how long a fault lasts at most. 4 and 6 seconds by
    /// default.
    pub fn pace(mut self, pause: Duration, lasts: Duration) -> Self {
        (self.pause, self.lasts) = (pause, lasts);
        self
    }

    /// What ends it.
    #[must_use]
    pub fn calm(&self) -> Calm {
        self.calm.clone()
    }

    /// Strikes and heals until there is to be [calm](Self::calm).
    pub async fn run(self) {
        let Self { rt, faults, pause, lasts, calm } = self;
        while !calm.asked.is_set() && !faults.is_empty() {
            Self::wait(&rt, pause, &calm).await;
            let chosen = usize::try_from(rt.below(faults.len() as u64)).unwrap_or_default();
            if let (Some(fault), false) = (faults.get(chosen), calm.asked.is_set()) {
                tell(&rt, "breaks", fault.name);
                (fault.strike)().await;
                Self::wait(&rt, lasts, &calm).await;
                (fault.heal)().await;
                tell(&rt, "heals", fault.name);
            }
        }
        calm.done.set();
    }

    async fn wait(rt: &SimRuntime, at_most: Duration, calm: &Calm) {
        let nanos = u64::try_from(at_most.as_nanos()).unwrap_or(u64::MAX);
        let time = Duration::from_nanos(rt.below(nanos));
        super::wait::within(rt, time, calm.asked.wait()).await;
    }
}

fn tell(rt: &SimRuntime, does: &str, fault: &str) {
    if std::env::var_os("TOK_STORY").is_some() {
        eprintln!("{:>12.6}  the nemesis {does}: {fault}", rt.now().as_nanos() as f64 / 1e9);
    }
}

impl fmt::Debug for Nemesis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&str> = self.faults.iter().map(|fault| fault.name).collect();
        f.debug_struct("Nemesis").field("faults", &names).finish_non_exhaustive()
    }
}

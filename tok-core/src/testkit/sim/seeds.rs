use std::ops::Range;

/// Runs a simulation under one seed after the other. One that fails is named with the line that runs it again.
///
/// ```
/// use tok_core::testkit::sim::Seeds;
///
/// let seeds = Seeds::from_env(100).replay("cargo test --test chat").share(1, 4);
/// // 25 of them, unless the environment says otherwise.
/// seeds.check(Ok);
/// ```
#[derive(Clone, Debug)]
#[must_use]
pub struct Seeds {
    seeds: Range<u64>,
    replay: String,
    share: (u64, u64),
}

impl Seeds {
    /// The seeds from 0 to `count`, unless the environment says otherwise: `TOK_SEEDS` how many, `TOK_SEED` which one.
    pub fn from_env(count: u64) -> Self {
        let number = |name| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
        let count = number("TOK_SEEDS").unwrap_or(count);
        let seeds = number("TOK_SEED").map_or(0..count, |seed| seed..seed.saturating_add(1));
        Self { seeds, replay: "cargo test".to_owned(), share: (0, 1) }
    }

    /// The command that runs the simulation, to which the line for a seed that failed puts `TOK_SEED=N` in front.
    pub fn replay(mut self, command: impl Into<String>) -> Self {
        self.replay = command.into();
        self
    }

    /// Runs only the seeds that leave `index` when divided by `of`, where several simulations share them: a seed then
    /// stands for one run of one of them.
    pub fn share(mut self, index: u64, of: u64) -> Self {
        self.share = (index, of.max(1));
        self
    }

    /// Runs them all. Returns how many ran.
    ///
    /// # Panics
    /// At the first that fails. The last line of the message runs it again: `TOK_SEED=17 cargo test …`. Where `run` itself
    /// panics that line is printed.
    pub fn check<T>(self, run: impl Fn(u64) -> Result<T, String>) -> u64 {
        let Self { seeds, replay, share: (index, of) } = self;
        let mut ran = 0;
        for seed in seeds.filter(|seed| seed % of == index) {
            let line = format!("replay: TOK_SEED={seed} {replay}");
            let result = {
                let _said = SaidOnPanic(&line);
                run(seed)
            };
            if let Err(broken) = result {
                panic!("seed {seed}: {broken}\n{line}");
            }
            ran += 1;
        }
        ran
    }
}

struct SaidOnPanic<'a>(&'a str);

impl Drop for SaidOnPanic<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}", self.0);
        }
    }
}

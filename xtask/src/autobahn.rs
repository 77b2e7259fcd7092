//! `cargo xtask autobahn`: the public conformance cases of the Autobahn test suite, run against `gateway --echo` on each
//! WebSocket engine.

mod gateway;
mod kosoku;
mod report;

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use self::gateway::Gateway;
use self::kosoku::Kosoku;
use self::report::{CASES, COLUMNS, Report};
use crate::workspace::Workspace;

/// An engine, and the cases in which it may be `NON-STRICT`.
struct Engine {
    name: &'static str,
    non_strict: &'static [&'static str],
}

/// Text that is not UTF-8, in portions within one frame, is to be refused before the frame is whole. tungstenite looks
/// at whole frames, so it refuses later, with the right code.
const LATE_REFUSALS: &[&str] = &["6.4.3", "6.4.4"];

const ENGINES: &[Engine] = &[
    Engine { name: "tokio-tungstenite", non_strict: LATE_REFUSALS },
    Engine { name: "async-tungstenite", non_strict: LATE_REFUSALS },
    Engine { name: "tokio-websockets", non_strict: &[] },
];

/// What the cases made of one engine.
struct Outcome {
    engine: &'static str,
    report: Report,
    /// What is not as pinned.
    wrong: Vec<String>,
    elapsed: Duration,
}

/// Runs the command; the answer is whether every case ran and ended as pinned, on every engine asked for.
pub(crate) fn run(workspace: &Workspace, args: &[String]) -> Result<bool> {
    let engines = select(args)?;
    let kosoku = Kosoku::install(workspace)?;
    let program = gateway::build(workspace)?;
    println!("{}", header());
    let mut outcomes = Vec::new();
    for engine in engines {
        let begin = Instant::now();
        let gateway = Gateway::start(&program, engine.name)?;
        let json = kosoku.run(engine.name, gateway.address());
        let json = json.with_context(|| format!("{}: the cases could not be run", engine.name))?;
        let report = Report::parse(&json).with_context(|| format!("{}: the report", engine.name))?;
        let wrong = report.judge(engine.non_strict);
        let outcome = Outcome { engine: engine.name, report, wrong, elapsed: begin.elapsed() };
        print!("{}", outcome.rows());
        outcomes.push(outcome);
    }
    println!("{}", closing_lines(&outcomes));
    Ok(passed(&outcomes))
}

fn select(args: &[String]) -> Result<Vec<&'static Engine>> {
    let mut engines = Vec::new();
    let mut args = args.iter();
    while let Some(arg) = args.next() {
        let name = match arg.as_str() {
            "--engine" => args.next().context("--engine needs a name")?,
            _ => bail!("autobahn takes --engine NAME, and not {arg:?}"),
        };
        let engine = ENGINES.iter().find(|engine| engine.name == name).with_context(|| {
            let names: Vec<&str> = ENGINES.iter().map(|engine| engine.name).collect();
            format!("no engine {name:?}; there are {}", names.join(", "))
        })?;
        engines.push(engine);
    }
    Ok(if engines.is_empty() { ENGINES.iter().collect() } else { engines })
}

/// No engine at all has not passed.
fn passed(outcomes: &[Outcome]) -> bool {
    !outcomes.is_empty() && outcomes.iter().all(|outcome| outcome.wrong.is_empty())
}

fn header() -> String {
    let columns = COLUMNS.map(|column| format!("{column:>15}")).concat();
    format!("{:<20}{:<15}{columns}{:>8}{:>10}", "engine", "verdict on", "cases", "time")
}

fn closing_lines(outcomes: &[Outcome]) -> String {
    let mut lines: Vec<String> = Vec::new();
    for outcome in outcomes {
        lines.extend(outcome.wrong.iter().map(|wrong| format!("{}: {wrong}", outcome.engine)));
    }
    let elapsed: Duration = outcomes.iter().map(|outcome| outcome.elapsed).sum();
    let verdict = match (passed(outcomes), lines.len()) {
        (true, _) => "all as pinned".to_owned(),
        (false, wrong) => format!("{wrong} NOT AS PINNED"),
    };
    let cases: usize = CASES.iter().map(|(_, cases)| cases).sum();
    let engines = outcomes.len();
    lines.push(format!(
        "autobahn: {engines} engines, {cases} cases each, {:.1} s, {verdict}",
        elapsed.as_secs_f64()
    ));
    lines.join("\n")
}

impl Outcome {
    /// One line for each of the two verdicts.
    fn rows(&self) -> String {
        let row = |engine: &str, verdict: &str, counts: [usize; 4], time: &str| {
            let cases: usize = counts.iter().sum();
            let counts = counts.map(|count| format!("{count:>15}")).concat();
            format!("{engine:<20}{verdict:<15}{counts}{cases:>8}{time:>10}\n")
        };
        let [behavior, close] = self.report.counts();
        let time = format!("{:.1} s", self.elapsed.as_secs_f64());
        row(self.engine, "behavior", behavior, &time) + &row("", "behaviorClose", close, "")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(args: &[&str]) -> Result<Vec<&'static str>> {
        let args: Vec<String> = args.iter().map(|arg| (*arg).to_owned()).collect();
        Ok(select(&args)?.iter().map(|engine| engine.name).collect())
    }

    #[test]
    fn all_engines_run_unless_some_are_named() {
        assert_eq!(names(&[]).unwrap(), ["tokio-tungstenite", "async-tungstenite", "tokio-websockets"]);
        assert_eq!(names(&["--engine", "tokio-websockets"]).unwrap(), ["tokio-websockets"]);
        for wrong in [&["--engine"][..], &["--engine", "gorilla"], &["tokio-websockets"]] {
            assert!(names(wrong).is_err(), "{wrong:?}");
        }
        let error = names(&["--engine", "gorilla"]).unwrap_err().to_string();
        assert!(ENGINES.iter().all(|engine| error.contains(engine.name)), "{error}");
    }

    #[test]
    fn one_wrong_case_on_one_engine_fails_the_run() {
        let outcome = |wrong: &[&str]| Outcome {
            engine: "one",
            report: Report::default(),
            wrong: wrong.iter().map(|wrong| (*wrong).to_owned()).collect(),
            elapsed: Duration::from_secs(1),
        };
        assert!(!passed(&[]));
        assert!(passed(&[outcome(&[])]));
        let outcomes = [outcome(&[]), outcome(&["7.1.1: behavior is FAILED"])];
        assert!(!passed(&outcomes));
        let text = closing_lines(&outcomes);
        assert!(
            text.contains("one: 7.1.1: behavior is FAILED") && text.ends_with("1 NOT AS PINNED"),
            "{text}"
        );
    }
}

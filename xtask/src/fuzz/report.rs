//! What libFuzzer says, as a table.

use std::path::{Path, PathBuf};

/// How one target did.
#[derive(Debug)]
pub(super) struct Run {
    target: String,
    executions: u64,
    /// Branches of the program that some input reached.
    coverage: u64,
    /// Inputs that each reach something that the others do not.
    corpus: u64,
    crashes: Vec<PathBuf>,
    /// Why it failed, other than by a crash.
    failure: Option<String>,
}

#[derive(Debug, Default)]
pub(super) struct Report(Vec<Run>);

impl Run {
    pub(super) fn read(target: &str, success: bool, output: &str, crashes: Vec<PathBuf>, log: &Path) -> Self {
        let number = |text: &str| text.trim().split(['/', ' ']).next().and_then(|number| number.parse().ok());
        let last = |key: &str| {
            let mut lines = output.lines().rev();
            lines.find_map(|line| number(line.split_once(key)?.1)).unwrap_or_default()
        };
        let (executions, coverage) = (last("stat::number_of_executed_units:"), last(" cov: "));
        let failure = match (success, executions) {
            (false, _) => Some(format!("it failed, see {}", log.display())),
            // Nothing is found where nothing is looked for.
            (true, 0) => Some(format!("it ran no input, see {}", log.display())),
            (true, _) if coverage < 10 => Some(format!("it sees no coverage, see {}", log.display())),
            (true, _) => None,
        };
        Self { target: target.to_owned(), executions, coverage, corpus: last(" corp: "), crashes, failure }
    }

    pub(super) fn line(&self) -> String {
        let Self { target, executions, coverage, corpus, crashes, failure } = self;
        let mut line = format!("{target:<24}{executions:>14}{coverage:>10}{corpus:>8}{:>9}", crashes.len());
        for crash in crashes {
            line.push_str(&format!("\n  {}", crash.display()));
        }
        if let Some(failure) = failure {
            line.push_str(&format!("\n  {failure}"));
        }
        line
    }
}

impl Report {
    pub(super) const HEADER: &str = "target                      executions  coverage  corpus  crashes";

    pub(super) fn add(&mut self, run: Run) {
        self.0.push(run);
    }

    /// No target at all has not passed.
    pub(super) fn passed(&self) -> bool {
        !self.0.is_empty() && self.0.iter().all(|run| run.crashes.is_empty() && run.failure.is_none())
    }

    pub(super) fn closing_line(&self) -> String {
        let executions: u64 = self.0.iter().map(|run| run.executions).sum();
        let failed = self.0.iter().filter(|run| !run.crashes.is_empty() || run.failure.is_some()).count();
        let verdict = if self.passed() { "none crashed".to_owned() } else { format!("{failed} FAILED") };
        format!("fuzz: {} targets, {executions} executions, {verdict}", self.0.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OUTPUT: &str = "\
#2\tINITED cov: 70 ft: 71 corp: 1/1b exec/s: 0 rss: 40Mb
#1024\tpulse  cov: 90 ft: 120 corp: 12/88b lim: 14 exec/s: 512 rss: 41Mb
#4096\tDONE   cov: 91 ft: 130 corp: 15/99b lim: 40 exec/s: 2048 rss: 41Mb
stat::number_of_executed_units: 4096
stat::average_exec_per_sec:     2048
";

    fn run(success: bool, output: &str, crashes: &[&str]) -> Run {
        Run::read("tokens", success, output, crashes.iter().map(PathBuf::from).collect(), Path::new("LOG"))
    }

    #[test]
    fn the_last_figures_count() {
        let run = run(true, OUTPUT, &[]);
        assert_eq!((run.executions, run.coverage, run.corpus), (4096, 91, 15));
        let columns = |line: &str| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
        assert_eq!(columns(&run.line()), ["tokens", "4096", "91", "15", "0"]);
        assert_eq!(run.line().len(), Report::HEADER.len());
    }

    #[test]
    fn crashes_failures_and_runs_without_a_finding_fail() {
        assert!(!Report::default().passed());
        for (failing, named) in [
            (run(false, OUTPUT, &["crashes/crash-1"]), "crashes/crash-1"),
            (run(false, OUTPUT, &[]), "LOG"),
            (run(true, "", &[]), "ran no input"),
            (run(true, "stat::number_of_executed_units: 5", &[]), "no coverage"),
        ] {
            assert!(failing.line().contains(named), "{}", failing.line());
            let report = Report(vec![run(true, OUTPUT, &[]), failing]);
            assert!(!report.passed());
            assert!(report.closing_line().ends_with("1 FAILED"), "{}", report.closing_line());
        }
        assert!(Report(vec![run(true, OUTPUT, &[])]).passed());
    }
}

//! `cargo xtask test-matrix`: runs the tests of every row and counts them.

use std::time::Duration;

use anyhow::{Result, bail};

use crate::cmd::run_cargo;
use crate::matrix::{ROWS, Row};
use crate::workspace::Workspace;
use crate::{brokers, browser};

/// What the rows came to.
#[derive(Debug, Default)]
pub(crate) struct Report {
    rows: Vec<RowReport>,
}

#[derive(Debug)]
struct RowReport {
    name: String,
    counts: Counts,
    elapsed: Duration,
    /// The row that runs the tests which this one has not.
    left_to: Option<&'static str>,
    /// Why the row failed, if it did.
    failure: Option<String>,
}

/// The sums of a row's `test result:` lines, doc tests among them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) passed: u64,
    pub(crate) failed: u64,
    ignored: u64,
}

#[derive(Debug, Default)]
struct Options {
    list: bool,
    quiet: bool,
    only: Vec<String>,
}

/// Runs the command; the answer is whether everything passed.
pub(crate) fn run(workspace: &Workspace, args: &[String]) -> Result<bool> {
    let options = Options::parse(args)?;
    let rows = select(ROWS, &options.only)?;
    if options.list {
        for row in rows {
            println!("{}", row.name());
        }
        return Ok(true);
    }
    let report = run_rows(workspace, &rows, options.quiet)?;
    if !options.quiet {
        print!("{}", report.table());
    }
    println!("{}", report.closing_line());
    Ok(report.passed())
}

/// Runs the rows one after the other; output is shown in full for those that fail.
pub(crate) fn run_rows(workspace: &Workspace, rows: &[Row], quiet: bool) -> Result<Report> {
    let mut report = Report::default();
    for row in rows {
        let row = run_row(workspace, row)?;
        if !quiet || row.failure.is_some() {
            println!("{}", row.line());
        }
        report.rows.push(row);
    }
    Ok(report)
}

impl Report {
    pub(crate) fn passed(&self) -> bool {
        self.rows.iter().all(|row| row.failure.is_none())
    }

    /// The rows as a table with a sum below.
    pub(crate) fn table(&self) -> String {
        let lines: String = self.rows.iter().map(|row| row.line() + "\n").collect();
        let elapsed: Duration = self.rows.iter().map(|row| row.elapsed).sum();
        format!("\n{lines}{} rows, {:.1} s\n", self.rows.len(), elapsed.as_secs_f64())
    }

    /// What CI reads. A row that failed without a failing test (it does not build, it has no tests) counts as one
    /// failure, so that `0 failed` is never said of a matrix that failed.
    pub(crate) fn closing_line(&self) -> String {
        let passed: u64 = self.rows.iter().map(|row| row.counts.passed).sum();
        let failed: u64 =
            self.rows.iter().map(|row| row.counts.failed.max(u64::from(row.failure.is_some()))).sum();
        format!("{passed} passed, {failed} failed")
    }
}

impl RowReport {
    fn line(&self) -> String {
        let ignored = match self.counts.ignored {
            0 => String::new(),
            count => format!("  {count} ignored"),
        };
        let failure = self.failure.as_ref().map(|why| format!("  FAILED: {why}")).unwrap_or_default();
        let left = self.left_to.map(|row| format!("  the library's; {row} has the rest")).unwrap_or_default();
        format!(
            "{:<48} {:>5} tests {:>7.1} s{left}{ignored}{failure}",
            self.name,
            self.counts.passed + self.counts.failed,
            self.elapsed.as_secs_f64()
        )
    }
}

impl Counts {
    pub(crate) fn read(output: &str) -> Self {
        let mut counts = Self::default();
        for line in output.lines().filter_map(|line| line.strip_prefix("test result: ")) {
            let numbers = line.split_once(". ").map_or("", |(_, numbers)| numbers);
            for part in numbers.split("; ") {
                let Some((number, what)) = part.split_once(' ') else { continue };
                let Ok(number) = number.parse::<u64>() else { continue };
                match what {
                    "passed" => counts.passed += number,
                    "failed" => counts.failed += number,
                    "ignored" => counts.ignored += number,
                    _ => {}
                }
            }
        }
        counts
    }
}

impl Options {
    fn parse(args: &[String]) -> Result<Self> {
        let mut options = Self::default();
        let mut args = args.iter();
        while let Some(arg) = args.next() {
            match arg.as_str() {
                "--list" => options.list = true,
                "--quiet" => options.quiet = true,
                "--only" => match args.next() {
                    Some(part) => options.only.push(part.clone()),
                    None => bail!("--only needs a part of a row's name"),
                },
                unknown => bail!("test-matrix has no option `{unknown}`"),
            }
        }
        Ok(options)
    }
}

fn run_row(workspace: &Workspace, row: &Row) -> Result<RowReport> {
    if let Err(error) = install_needs(row) {
        let failure = Some(format!("{error:#}"));
        return Ok(RowReport {
            name: row.name(),
            counts: Counts::default(),
            elapsed: Duration::ZERO,
            left_to: None,
            failure,
        });
    }
    let select = row.cargo_args();
    let mut args = vec!["test", "--no-fail-fast"];
    args.extend(select.iter().map(String::as_str));
    args.extend(row.same_tests_as().map(|_| "--lib"));
    let outcome = run_cargo(workspace, &format!("test {}", row.name()), &args, row.envs())?;
    let counts = Counts::read(&outcome.output);
    let failure = judge(outcome.success, counts);
    if failure.is_some() {
        println!("$ cargo {}\n{}", args.join(" "), outcome.output);
    }
    Ok(RowReport {
        name: row.name(),
        counts,
        elapsed: outcome.elapsed,
        left_to: row.same_tests_as(),
        failure,
    })
}

fn install_needs(row: &Row) -> Result<()> {
    if row.needs_browser() {
        browser::install()?;
    }
    if row.needs_brokers() {
        brokers::install()?;
    }
    Ok(())
}

/// Why a row with this end fails, or `None` if it passes.
fn judge(success: bool, counts: Counts) -> Option<String> {
    match (success, counts.failed) {
        (_, failed @ 1..) => Some(format!("{failed} failed")),
        (false, 0) => Some("no build, or a test process died".to_owned()),
        (true, 0) if counts.passed == 0 => Some("ran no tests".to_owned()),
        (true, 0) => None,
    }
}

fn select(rows: &[Row], only: &[String]) -> Result<Vec<Row>> {
    for part in only {
        if !rows.iter().any(|row| row.name().contains(part)) {
            bail!("no row's name contains `{part}`; `cargo xtask test-matrix --list` names them");
        }
    }
    let wanted = |row: &&Row| only.is_empty() || only.iter().any(|part| row.name().contains(part));
    Ok(rows.iter().filter(wanted).copied().collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::matrix::{all, none};

    const OUTPUT: &str = "\
running 3 tests
test a ... ok
test result: ok. 3 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.00s
   Doc-tests tok_core
test result: FAILED. 4 passed; 2 failed; 0 ignored; 0 measured; 7 filtered out; finished in 0.10s
  test result: ok. 100 passed; 0 failed; (said by a test itself)
";

    #[test]
    fn counts_add_up_over_test_binaries_and_doc_tests() {
        assert_eq!(Counts::read(OUTPUT), Counts { passed: 7, failed: 2, ignored: 1 });
        assert_eq!(Counts::read("error: could not compile `tok-core`"), Counts::default());
    }

    #[test]
    fn a_row_fails_when_a_test_fails_the_build_fails_or_nothing_ran() {
        let some = Counts { passed: 2, ..Counts::default() };
        assert_eq!(judge(true, some), None);
        assert!(judge(false, Counts { failed: 1, ..some }).is_some());
        assert!(judge(false, some).is_some());
        assert_eq!(judge(true, Counts::default()).as_deref(), Some("ran no tests"));
        assert!(judge(true, Counts { ignored: 5, ..Counts::default() }).is_some());
    }

    #[test]
    fn the_closing_line_never_says_zero_failed_of_a_failed_matrix() {
        let row = |passed, failed, failure: Option<&str>| RowReport {
            name: "a/none".to_owned(),
            counts: Counts { passed, failed, ignored: 0 },
            elapsed: Duration::from_millis(1500),
            left_to: None,
            failure: failure.map(str::to_owned),
        };
        let report = Report { rows: vec![row(7, 0, None), row(0, 0, Some("ran no tests"))] };
        assert_eq!((report.closing_line().as_str(), report.passed()), ("7 passed, 1 failed", false));
        let report = Report { rows: vec![row(7, 2, Some("2 failed")), row(1, 0, None)] };
        assert_eq!((report.closing_line().as_str(), report.passed()), ("8 passed, 2 failed", false));
        let report = Report { rows: vec![row(7, 0, None)] };
        assert_eq!((report.closing_line().as_str(), report.passed()), ("7 passed, 0 failed", true));
        assert!(report.table().contains("a/none") && report.table().contains("1.5 s"), "{}", report.table());
    }

    #[test]
    fn only_selects_by_part_of_the_name_and_refuses_what_matches_nothing() {
        let rows = [none("tok-core"), all("tok-core"), none("tok-tcp")];
        let pick = |only: &[&str]| select(&rows, &only.iter().map(|s| (*s).to_owned()).collect::<Vec<_>>());
        assert_eq!(pick(&[]).unwrap(), rows);
        assert_eq!(pick(&["none"]).unwrap(), [none("tok-core"), none("tok-tcp")]);
        assert_eq!(pick(&["tcp", "core/all"]).unwrap(), [all("tok-core"), none("tok-tcp")]);
        assert!(pick(&["tok-cor/"]).is_err());
    }

    #[test]
    fn options_are_read_and_unknown_ones_refused() {
        let parse = |args: &[&str]| Options::parse(&args.iter().map(|s| (*s).to_owned()).collect::<Vec<_>>());
        let options = parse(&["--only", "a", "--quiet", "--only", "b"]).unwrap();
        assert!(options.quiet && !options.list && options.only == ["a", "b"]);
        assert!(parse(&["--only"]).is_err());
        assert!(parse(&["--onyl", "a"]).is_err());
    }
}

//! What the suite reports, and whether it is as pinned.

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

/// How many cases each group has: `("4.1", 5)` is 4.1.1 to 4.1.5. These are the core cases (1 to 7 and 10) and those
/// about limits (9); 12 and 13 are about compression.
pub(super) const CASES: &[(&str, usize)] = &[
    ("1.1", 8),
    ("1.2", 8),
    ("2", 11),
    ("3", 7),
    ("4.1", 5),
    ("4.2", 5),
    ("5", 20),
    ("6.1", 3),
    ("6.2", 4),
    ("6.3", 2),
    ("6.4", 4),
    ("6.5", 5),
    ("6.6", 11),
    ("6.7", 4),
    ("6.8", 2),
    ("6.9", 4),
    ("6.10", 3),
    ("6.11", 5),
    ("6.12", 8),
    ("6.13", 5),
    ("6.14", 10),
    ("6.15", 1),
    ("6.16", 3),
    ("6.17", 5),
    ("6.18", 5),
    ("6.19", 5),
    ("6.20", 7),
    ("6.21", 8),
    ("6.22", 34),
    ("6.23", 7),
    ("7.1", 6),
    ("7.3", 6),
    ("7.5", 1),
    ("7.7", 13),
    ("7.9", 9),
    ("7.13", 2),
    ("9.1", 6),
    ("9.2", 6),
    ("9.3", 9),
    ("9.4", 9),
    ("9.5", 6),
    ("9.6", 6),
    ("9.7", 6),
    ("9.8", 6),
    ("10.1", 1),
];

/// The cases that have no right answer: the suite only reports what it saw.
const INFORMATIONAL: &[&str] = &["7.1.6", "7.13.1", "7.13.2"];

/// The columns of [`Report::counts`]. The last is every verdict that has no column of its own.
pub(super) const COLUMNS: [&str; 4] = ["OK", "NON-STRICT", "INFORMATIONAL", "FAILED"];

/// The suite's verdicts on one server, by case.
#[derive(Debug, Default)]
pub(super) struct Report(BTreeMap<String, Verdicts>);

/// The two verdicts on one case: on the messages, and on how the connection ended.
#[derive(Clone, Debug)]
struct Verdicts {
    behavior: String,
    close: String,
}

impl Report {
    /// Reads the suite's `index.json`: `{agent: {case: {behavior, behaviorClose, …}}}`.
    pub(super) fn parse(json: &[u8]) -> Result<Self> {
        let value: Value = serde_json::from_slice(json).context("index.json is not JSON")?;
        let agents = value.as_object().context("index.json is not an object")?;
        ensure!(agents.len() == 1, "index.json is about {} servers, not one", agents.len());
        let mut report = Self::default();
        for (case, fields) in agents.values().filter_map(Value::as_object).flatten() {
            let verdict = |field: &str| {
                let verdict = fields[field].as_str().with_context(|| format!("{case} has no {field}"))?;
                anyhow::Ok(verdict.to_owned())
            };
            let verdicts = Verdicts { behavior: verdict("behavior")?, close: verdict("behaviorClose")? };
            report.0.insert(case.clone(), verdicts);
        }
        Ok(report)
    }

    /// Everything that is not as pinned: cases that did not run, cases that nobody knows, and wrong verdicts, on an
    /// engine that may be `NON-STRICT` in these cases.
    pub(super) fn judge(&self, non_strict: &[&str]) -> Vec<String> {
        let pinned: Vec<String> = CASES
            .iter()
            .flat_map(|(group, cases)| (1..=*cases).map(move |case| format!("{group}.{case}")))
            .collect();
        let mut wrong = Vec::new();
        for case in &pinned {
            let Some(Verdicts { behavior, close }) = self.0.get(case) else {
                wrong.push(format!("{case} did not run"));
                continue;
            };
            let case = case.as_str();
            let informational = INFORMATIONAL.contains(&case);
            let is_fine = match behavior.as_str() {
                "OK" => true,
                "NON-STRICT" => non_strict.contains(&case),
                "INFORMATIONAL" => informational,
                _ => false,
            };
            if !is_fine {
                wrong.push(format!("{case}: behavior is {behavior}"));
            }
            if !(close == "OK" || informational && close == "INFORMATIONAL") {
                wrong.push(format!("{case}: behaviorClose is {close}"));
            }
        }
        let unknown = self.0.keys().filter(|case| !pinned.contains(case));
        wrong.extend(unknown.map(|case| format!("{case} is not pinned")));
        wrong
    }

    /// How often each of [`COLUMNS`] is the verdict on the behaviour, and on the close.
    pub(super) fn counts(&self) -> [[usize; COLUMNS.len()]; 2] {
        let mut counts = [[0; COLUMNS.len()]; 2];
        for verdicts in self.0.values() {
            for (counts, verdict) in counts.iter_mut().zip([&verdicts.behavior, &verdicts.close]) {
                let last = COLUMNS.len() - 1;
                counts[COLUMNS.iter().position(|column| column == verdict).unwrap_or(last)] += 1;
            }
        }
        counts
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A report in which all is well, but for these cases; no verdicts: the case did not run.
    fn report(planted: &[(&str, Option<(&str, &str)>)]) -> Report {
        let mut cases = serde_json::Map::new();
        for (group, count) in CASES {
            for case in 1..=*count {
                let case = format!("{group}.{case}");
                let verdict = if INFORMATIONAL.contains(&case.as_str()) { "INFORMATIONAL" } else { "OK" };
                cases.insert(case, serde_json::json!({"behavior": verdict, "behaviorClose": verdict}));
            }
        }
        for (case, verdicts) in planted {
            cases.remove(*case);
            if let Some((behavior, close)) = verdicts {
                let verdicts = serde_json::json!({"behavior": behavior, "behaviorClose": close});
                cases.insert((*case).to_owned(), verdicts);
            }
        }
        Report::parse(serde_json::json!({ "server": cases }).to_string().as_bytes()).unwrap()
    }

    #[test]
    fn a_good_report_has_all_301_cases() {
        let good = report(&[]);
        assert_eq!(good.judge(&[]), Vec::<String>::new());
        assert_eq!(good.counts(), [[298, 0, 3, 0], [298, 0, 3, 0]]);
        let cases: usize = CASES.iter().map(|(_, cases)| cases).sum();
        assert_eq!(cases, 301);
    }

    #[test]
    fn a_case_that_did_not_run_fails() {
        let empty = Report::parse(br#"{"server": {}}"#).unwrap();
        assert_eq!(empty.judge(&[]).len(), 301);
        assert_eq!(report(&[("10.1.1", None)]).judge(&[]), ["10.1.1 did not run"]);
        // One more does not make up for it.
        let wrong = report(&[("9.8.6", None), ("9.9.1", Some(("OK", "OK")))]).judge(&[]);
        assert_eq!(wrong, ["9.8.6 did not run", "9.9.1 is not pinned"]);
    }

    #[test]
    fn every_wrong_verdict_fails() {
        for verdict in ["FAILED", "NON-STRICT", "INFORMATIONAL", "UNIMPLEMENTED", "ERROR", "ok", ""] {
            let wrong = report(&[("5.15", Some((verdict, "OK")))]).judge(&["6.4.3"]);
            assert_eq!(wrong, [format!("5.15: behavior is {verdict}")]);
        }
        for verdict in ["FAILED", "FAILED BY CLIENT", "UNCLEAN", "WRONG CODE", "INFORMATIONAL", "NON-STRICT"]
        {
            let wrong = report(&[("7.3.6", Some(("OK", verdict)))]).judge(&["7.3.6"]);
            assert_eq!(wrong, [format!("7.3.6: behaviorClose is {verdict}")]);
        }
        let both = report(&[("7.1.6", Some(("FAILED", "UNCLEAN")))]);
        assert_eq!(both.judge(&[]).len(), 2);
        assert_eq!(both.counts(), [[298, 0, 2, 1], [298, 0, 2, 1]]);
    }

    #[test]
    fn an_engine_may_be_non_strict_where_it_is_pinned_and_need_not() {
        let late = report(&[("6.4.3", Some(("NON-STRICT", "OK"))), ("6.4.4", Some(("NON-STRICT", "OK")))]);
        assert_eq!(late.judge(&["6.4.3", "6.4.4"]), Vec::<String>::new());
        assert_eq!(late.judge(&["6.4.3"]), ["6.4.4: behavior is NON-STRICT"]);
        assert_eq!(late.judge(&[]).len(), 2);
        assert_eq!(report(&[]).judge(&["6.4.3", "6.4.4"]), Vec::<String>::new());
    }

    #[test]
    fn what_is_no_report_is_an_error() {
        for json in ["", "[]", "{}", r#"{"one": {}, "two": {}}"#, r#"{"one": {"1.1.1": {"behavior": "OK"}}}"#]
        {
            assert!(Report::parse(json.as_bytes()).is_err(), "{json}");
        }
    }
}

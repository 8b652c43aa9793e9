//! The results of a benchmark: the table, the raw figures, and the page that shows them. It never measures.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};
use serde_json::{Value, json};

use super::load::CONNECTIONS;
use super::{Engine, Options, Plan, pocketbase};

/// The markers around the part of the page that is written here.
const MARKERS: [&str; 2] = ["<!-- bench:start -->", "<!-- bench:end -->"];
/// The same for the figures on PostgreSQL.
const POSTGRES_MARKERS: [&str; 2] = ["<!-- bench:postgres:start -->", "<!-- bench:postgres:end -->"];

/// The target of a figure.
#[derive(Clone, Copy)]
pub(crate) enum Goal {
    AtLeast(f64),
    AtMost(f64),
    RatioAtLeast(f64),
    RatioAtMost(f64),
}

/// One figure.
pub(crate) struct Row {
    label: String,
    unit: &'static str,
    ours: Vec<f64>,
    /// PocketBase's values, or other values to compare with.
    other: Vec<f64>,
    goal: Goal,
    /// Why it could not be measured.
    failure: Option<String>,
}

impl Row {
    /// Creates a figure without comparison.
    pub(crate) fn alone(label: &str, unit: &'static str, ours: Vec<f64>, goal: Goal) -> Self {
        Self::beside(label, unit, ours, vec![], goal)
    }

    /// Creates a figure that is compared with another.
    pub(crate) fn beside(
        label: &str,
        unit: &'static str,
        ours: Vec<f64>,
        other: Vec<f64>,
        goal: Goal,
    ) -> Self {
        Self { label: label.to_owned(), unit, ours, other, goal, failure: None }
    }

    /// Creates a figure that could not be measured.
    pub(crate) fn failed(label: &str, error: &anyhow::Error) -> Self {
        println!("    FAILED {label}: {error:#}");
        let row = Self::alone(label, "", vec![], Goal::AtLeast(0.0));
        Self { failure: Some(format!("{error:#}")), ..row }
    }

    fn ratio(&self) -> Option<f64> {
        Some(median(&self.ours)? / median(&self.other)?)
    }

    fn reached(&self) -> bool {
        let (value, ratio) = (median(&self.ours), self.ratio());
        self.failure.is_none()
            && match self.goal {
                Goal::AtLeast(goal) => value.is_some_and(|value| value >= goal),
                Goal::AtMost(goal) => value.is_some_and(|value| value <= goal),
                Goal::RatioAtLeast(goal) => ratio.is_some_and(|ratio| ratio >= goal),
                Goal::RatioAtMost(goal) => ratio.is_some_and(|ratio| ratio <= goal),
            }
    }

    fn verdict(&self) -> String {
        match (&self.failure, self.reached()) {
            (Some(_), _) => "FAILED".into(),
            (None, true) => "ok".into(),
            (None, false) => "SHORT".into(),
        }
    }

    fn goal_text(&self) -> String {
        match self.goal {
            Goal::AtLeast(goal) => format!("≥ {}", figure(goal, self.unit)),
            Goal::AtMost(goal) => format!("≤ {}", figure(goal, self.unit)),
            Goal::RatioAtLeast(goal) => format!("≥ {goal} ×"),
            Goal::RatioAtMost(goal) => format!("≤ {goal} ×"),
        }
    }

    fn cells(&self) -> [String; 6] {
        let shown =
            |values: &[f64]| median(values).map_or("–".to_owned(), |value| figure(value, self.unit));
        [
            self.label.clone(),
            shown(&self.ours),
            shown(&self.other),
            self.ratio().map_or("–".to_owned(), |ratio| format!("{ratio:.2} ×")),
            if self.failure.is_some() { "–".into() } else { self.goal_text() },
            self.verdict(),
        ]
    }

    fn json(&self) -> Value {
        json!({
            "figure": self.label, "unit": self.unit, "ours": self.ours, "other": self.other, "ratio": self.ratio(),
            "goal": self.goal_text(), "verdict": self.verdict(), "failure": self.failure,
        })
    }
}

/// A whole run.
pub(crate) struct Report {
    rows: Vec<Row>,
    /// The conditions of the run, one per line.
    conditions: Vec<String>,
    engine: Engine,
    quick: bool,
}

impl Report {
    /// Creates a report with the rows and the conditions of the run.
    pub(crate) fn new(plan: &Plan, options: &Options, rows: Vec<Row>) -> Self {
        let beside = match options.engine {
            Engine::Sqlite => format!(
                "{}, both on their defaults, public rules, loopback, one after the other in turns",
                pocketbase::version(plan).unwrap_or_else(|| "PocketBase not installed".into())
            ),
            Engine::Postgres => {
                "the bare statements that do the same, from a pool of as many connections in a process \
                                 of their own; PostgreSQL on the same machine, each commit synced to disk"
                    .to_owned()
            }
        };
        let conditions = vec![
            format!("taken {} at commit {}", output("date", &["-u", "+%Y-%m-%d %H:%M UTC"]), commit(plan)),
            machine(),
            format!("TinyBase {} beside {beside}", plan.workspace.version),
            format!(
                "load: wrk, 1 thread, {CONNECTIONS} connections, {} rounds of {} s each; medians",
                plan.rounds,
                plan.load_time.as_secs()
            ),
        ];
        Self { rows, conditions, engine: options.engine, quick: options.quick }
    }

    /// Returns how many figures could not be measured.
    pub(crate) fn failed(&self) -> usize {
        self.rows.iter().filter(|row| row.failure.is_some()).count()
    }

    /// Returns the table and the conditions as Markdown that is also readable on a terminal.
    pub(crate) fn markdown(&self) -> String {
        let other = match self.engine {
            Engine::Sqlite => "PocketBase",
            Engine::Postgres => "bare statement",
        };
        let head = ["figure", "ours", other, "ratio", "must reach", ""].map(str::to_owned);
        let cells: Vec<_> = std::iter::once(head).chain(self.rows.iter().map(Row::cells)).collect();
        let widths: Vec<_> = (0..6)
            .map(|column| cells.iter().map(|row| row[column].chars().count()).max().unwrap_or(0))
            .collect();
        let line = |row: &[String; 6]| {
            let padded = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}"));
            format!("| {} |\n", padded.collect::<Vec<_>>().join(" | "))
        };
        let mut text = line(&cells[0]);
        let rule: Vec<_> = widths.iter().map(|width| "-".repeat(*width)).collect();
        text += &format!("|-{}-|\n", rule.join("-|-"));
        cells[1..].iter().for_each(|row| text += &line(row));
        text.push('\n');
        if self.quick {
            text += "- a quick run: one short round on less data, no basis for a claim\n";
        }
        for row in &self.rows {
            if let Some(why) = &row.failure {
                text += &format!("- not taken, {}: {}\n", row.label, why.lines().next().unwrap_or_default());
            }
        }
        self.conditions.iter().for_each(|condition| text += &format!("- {condition}\n"));
        text
    }

    /// Writes every single measurement.
    ///
    /// # Errors
    /// Those of the file system.
    pub(crate) fn write_json(&self, path: &Path) -> Result<()> {
        let rows: Vec<_> = self.rows.iter().map(Row::json).collect();
        let all = json!({ "quick": self.quick, "conditions": self.conditions, "figures": rows });
        fs::write(path, format!("{all:#}\n")).with_context(|| format!("writing {}", path.display()))?;
        println!("==> every measurement is in {}", path.display());
        Ok(())
    }

    /// Replaces the text between the markers of the page.
    ///
    /// # Errors
    /// When the page or its markers are missing.
    pub(crate) fn update_docs(&self, path: &Path) -> Result<()> {
        let markers = match self.engine {
            Engine::Sqlite => MARKERS,
            Engine::Postgres => POSTGRES_MARKERS,
        };
        let page = fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))?;
        let page = between_markers(&page, markers, &self.markdown())
            .with_context(|| format!("{} lacks the lines {}", path.display(), markers.join(" and ")))?;
        fs::write(path, page).with_context(|| format!("writing {}", path.display()))
    }
}

fn between_markers(page: &str, markers: [&str; 2], text: &str) -> Option<String> {
    let (before, rest) = page.split_once(markers[0])?;
    let (_, after) = rest.split_once(markers[1])?;
    Some(format!("{before}{}\n{}\n{}{after}", markers[0], text.trim_end(), markers[1]))
}

/// Returns the median: the middle value, or the mean of the two in the middle.
fn median(values: &[f64]) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let (low, high) = (sorted.get(sorted.len().checked_sub(1)? / 2)?, sorted.get(sorted.len() / 2)?);
    Some(f64::midpoint(*low, *high))
}

/// Formats a value with its unit, with thousands separators, and with decimals only if they are significant.
fn figure(value: f64, unit: &str) -> String {
    let decimals = if value.abs() < 10.0 {
        2
    } else if value.abs() < 100.0 {
        1
    } else {
        0
    };
    let plain = format!("{value:.decimals$}");
    let (whole, rest) = plain.split_at(plain.find('.').unwrap_or(plain.len()));
    let mut grouped = String::new();
    for (at, digit) in whole.chars().enumerate() {
        if at > 0 && (whole.len() - at).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    let space = if unit.starts_with('/') { "" } else { " " };
    format!("{grouped}{rest}{space}{unit}")
}

fn machine() -> String {
    let cpus = std::thread::available_parallelism().map_or(0, usize::from);
    let info = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = info.lines().find_map(|line| line.strip_prefix("model name")?.split(": ").nth(1));
    format!(
        "{cpus} cores ({}), shared with the load, Linux {}",
        model.unwrap_or("model unknown"),
        output("uname", &["-r"])
    )
}

fn commit(plan: &Plan) -> String {
    let root = plan.workspace.root.to_string_lossy();
    output("git", &["-C", &root, "describe", "--always", "--dirty"])
}

/// Returns what a program prints, or `unknown`.
fn output(program: &str, arguments: &[&str]) -> String {
    let printed =
        Command::new(program).args(arguments).output().ok().filter(|output| output.status.success());
    printed.map_or("unknown".into(), |output| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_the_median() {
        for (values, expected) in [
            (&[][..], None),
            (&[3.0], Some(3.0)),
            (&[9.0, 1.0, 5.0], Some(5.0)),
            (&[4.0, 1.0, 2.0, 3.0], Some(2.5)),
        ] {
            assert_eq!(median(values), expected, "{values:?}");
        }
    }

    #[test]
    fn writes_figures_for_people() {
        for (value, unit, expected) in [
            (1_234_567.8, "/s", "1,234,568/s"),
            (999.4, "MB", "999 MB"),
            (12.345, "ms", "12.3 ms"),
            (0.5, "ms", "0.50 ms"),
        ] {
            assert_eq!(figure(value, unit), expected);
        }
    }

    #[test]
    fn says_what_falls_short() {
        let row = |ours, goal| Row::beside("x", "/s", vec![ours], vec![10.0], goal).verdict();
        for (ours, goal, expected) in [
            (60.0, Goal::RatioAtLeast(6.0), "ok"),
            (59.0, Goal::RatioAtLeast(6.0), "SHORT"),
            (5.1, Goal::RatioAtMost(0.5), "SHORT"),
            (50.0, Goal::AtMost(50.0), "ok"),
            (49.0, Goal::AtLeast(50.0), "SHORT"),
        ] {
            assert_eq!(row(ours, goal), expected, "{ours}");
        }
        assert_eq!(
            Row::alone("x", "/s", vec![1.0], Goal::RatioAtLeast(0.1)).verdict(),
            "SHORT",
            "no ratio, no pass"
        );
        assert_eq!(Row::failed("x", &anyhow::anyhow!("gone")).verdict(), "FAILED");
    }

    #[test]
    fn replaces_between_the_markers_alone() {
        let page = format!("a\n{}\nold\n{}\nb\n", MARKERS[0], MARKERS[1]);
        let expected = format!("a\n{}\nnew\n{}\nb\n", MARKERS[0], MARKERS[1]);
        assert_eq!(between_markers(&page, MARKERS, "new\n"), Some(expected));
        assert_eq!(between_markers("no markers", MARKERS, "new"), None);
    }
}

//! The test suite on each engine: what is run, and how many tests passed. It never decides what else a change must
//! pass.

use std::fmt;
use std::fs::File;
use std::io::{BufRead, BufReader, IsTerminal};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, bail};
use tinybase_test_postgres::{LEFT_OUT_VARIABLE, URL_VARIABLE};

use crate::workspace::cargo;
use crate::{postgres, step};

/// The tests that access data, and so also run on PostgreSQL.
const ON_POSTGRES: &str = "package(tinybase) + package(tinybase-tests) + package(tinybase-collections) + package(tinybase-plugin-api)";

/// The number of passed tests, and how many tests of a run on PostgreSQL are about SQLite.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Count {
    passed: usize,
    left_out: usize,
}

impl fmt::Display for Count {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(to, "{} passed", self.passed - self.left_out)?;
        match self.left_out {
            0 => Ok(()),
            1 => write!(to, ", 1 is SQLite's alone"),
            more => write!(to, ", {more} are SQLite's alone"),
        }
    }
}

/// The suite, run by nextest if it is installed, which ends a hanging test.
pub(crate) struct Suite<'w> {
    root: &'w Path,
    with_nextest: bool,
}

impl<'w> Suite<'w> {
    /// Creates the suite of the workspace at `root`.
    pub(crate) fn new(root: &'w Path) -> Suite<'w> {
        let mut probe = Command::new("cargo-nextest");
        let probe = probe.args(["nextest", "--version"]).stdout(Stdio::null()).stderr(Stdio::null()).status();
        Suite { root, with_nextest: probe.is_ok_and(|status| status.success()) }
    }

    /// Runs every test, on SQLite.
    ///
    /// # Errors
    /// When a test fails.
    pub(crate) fn on_sqlite(&self) -> Result<Count> {
        let mut command = self.command(None);
        command.env_remove(URL_VARIABLE);
        Ok(Count { passed: self.run("tests on SQLite", command)?, left_out: 0 })
    }

    /// Runs every test that accesses data, on its own PostgreSQL server.
    ///
    /// # Errors
    /// When the server does not start, or a test fails.
    pub(crate) fn on_postgres(&self) -> Result<Count> {
        let cluster = postgres::start()?;
        let left_out = cluster.folder().join("left-out");
        File::create(&left_out)?;
        let mut command = self.command(Some(ON_POSTGRES));
        command.env(URL_VARIABLE, cluster.url()).env(LEFT_OUT_VARIABLE, &left_out);
        let passed = self.run("tests on PostgreSQL", command)?;
        let left_out = BufReader::new(File::open(&left_out)?).lines().count();
        cluster.stop()?;
        Ok(Count { passed, left_out })
    }

    /// Returns a command for the whole workspace: naming packages would build their dependencies again with other
    /// features.
    fn command(&self, filter: Option<&str>) -> Command {
        let mut command = cargo();
        command.current_dir(self.root);
        if !self.with_nextest {
            command.args(["test", "--workspace", "--locked", "--lib", "--bins", "--tests", "--no-fail-fast"]);
            return command;
        }
        command.args(["nextest", "run", "--workspace", "--locked", "--no-tests", "pass"]);
        if let Some(filter) = filter {
            command.args(["-E", filter]);
        }
        command
    }

    /// Runs one suite with its output shown, and counts the passed tests from the output.
    fn run(&self, name: &str, mut command: Command) -> Result<usize> {
        println!("==> {name}");
        let started = Instant::now();
        if std::io::stdout().is_terminal() {
            command.env("CARGO_TERM_COLOR", "always");
        }
        // nextest writes everything to stderr; cargo's harness writes its counts to stdout.
        if self.with_nextest {
            command.stderr(Stdio::piped());
        } else {
            command.stdout(Stdio::piped());
        }
        let mut child =
            command.spawn().with_context(|| format!("step \"{name}\": cargo cannot be started"))?;
        let mut passed = 0;
        if let Some(output) = child.stderr.take() {
            passed += show_and_count(BufReader::new(output));
        } else if let Some(output) = child.stdout.take() {
            passed += show_and_count(BufReader::new(output));
        }
        let status = child.wait()?;
        if !status.success() {
            bail!("step \"{name}\" failed ({status}) after {}", step::seconds(started.elapsed()));
        }
        println!("==> {name}: done in {}", step::seconds(started.elapsed()));
        Ok(passed)
    }
}

fn show_and_count(output: impl BufRead) -> usize {
    let mut passed = 0;
    for line in output.split(b'\n').map_while(Result::ok) {
        let line = String::from_utf8_lossy(&line);
        eprintln!("{line}");
        passed += passed_of(&line);
    }
    passed
}

/// Returns the number of passed tests in the last line of a run, 0 for any other line.
fn passed_of(line: &str) -> usize {
    let line = without_colours(line);
    let line = line.trim_start();
    if !line.starts_with("Summary [") && !line.starts_with("test result:") {
        return 0;
    }
    let mut words = line.split_whitespace();
    let mut before = "";
    words
        .find_map(|word| match word.trim_end_matches([',', ';']) {
            "passed" => before.parse().ok(),
            _ => {
                before = word;
                None
            }
        })
        .unwrap_or(0)
}

/// Returns the text without terminal colors.
fn without_colours(line: &str) -> String {
    let mut parts = line.split('\u{1b}');
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |text, part| text + part.split_once('m').map_or(part, |(_, rest)| rest))
}

#[cfg(test)]
mod tests {
    use super::{Count, passed_of};

    #[test]
    fn what_passed_is_read_from_the_last_line() {
        for (line, passed) in [
            ("     Summary [   5.407s] 4 tests run: 3 passed (1 slow), 1 failed, 2 skipped", 3),
            (
                "\u{1b}[32;1m     Summary\u{1b}[0m [   0.1s] \u{1b}[1m12\u{1b}[0m tests run: \u{1b}[1m12\u{1b}[0m \u{1b}[32mpassed\u{1b}[0m, 0 skipped",
                12,
            ),
            (
                "test result: ok. 7 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.1s",
                7,
            ),
            ("        PASS [   0.1s] the_9 passed", 0),
        ] {
            assert_eq!(passed_of(line), passed, "{line}");
        }
    }

    #[test]
    fn a_count_tells_what_is_sqlites() {
        for (passed, left_out, told) in [
            (508, 0, "508 passed"),
            (5, 1, "4 passed, 1 is SQLite's alone"),
            (9, 4, "5 passed, 4 are SQLite's alone"),
        ] {
            assert_eq!(Count { passed, left_out }.to_string(), told);
        }
    }
}

//! The cost of the plugin boundary alone, from the host's own micro-benchmark. It never starts a server.

use anyhow::{Context, Result, bail};

use super::Plan;
use super::report::{Goal, Row};
use crate::step;
use crate::workspace::{HOST_PACKAGE, cargo};

/// Runs the host's benchmark `boundary` and parses the lines `<name> <nanoseconds>` that it prints.
///
/// # Errors
/// When it does not build, fails, or prints other lines.
pub(crate) fn rows(plan: &Plan) -> Result<Vec<Row>> {
    println!("==> plugin boundary: cargo bench --package {HOST_PACKAGE} --bench boundary");
    let mut library = cargo();
    library.args([
        "build",
        "--locked",
        "--release",
        "--package",
        HOST_PACKAGE,
        "--example",
        "tinybase_boundary",
    ]);
    step::run("plugin boundary, the library", library.current_dir(&plan.workspace.root))?;
    let output = cargo()
        .args(["bench", "--locked", "--package", HOST_PACKAGE, "--bench", "boundary"])
        .current_dir(&plan.workspace.root)
        .output()
        .context("cargo cannot be started")?;
    if !output.status.success() {
        bail!("the benchmark failed: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    let text = String::from_utf8_lossy(&output.stdout);
    let call = nanoseconds(&text, "boundary_call_ns")?;
    let event = nanoseconds(&text, "event_no_subscriber_ns")?;
    Ok(vec![
        Row::alone("one call through the plugin boundary", "ns", vec![call], Goal::AtMost(1_000.0)),
        Row::alone("one event with no subscriber", "ns", vec![event], Goal::AtMost(20.0)),
    ])
}

/// Returns the number after `name`, with any text in between.
fn nanoseconds(text: &str, name: &str) -> Result<f64> {
    let line = text.lines().find_map(|line| line.trim().strip_prefix(name));
    let number = line.and_then(|rest| {
        rest.split(|c: char| !(c.is_ascii_digit() || c == '.')).find(|part| !part.is_empty())
    });
    number
        .and_then(|number| number.parse().ok())
        .with_context(|| format!("the benchmark printed no line {name}"))
}

#[cfg(test)]
mod tests {
    use super::nanoseconds;

    #[test]
    fn reads_a_line() {
        let text = "noise\nboundary_call_ns 123.5\nevent_no_subscriber_ns: 7 ns\n";
        assert_eq!(nanoseconds(text, "boundary_call_ns").unwrap(), 123.5);
        assert_eq!(nanoseconds(text, "event_no_subscriber_ns").unwrap(), 7.0);
        assert!(nanoseconds(text, "other_ns").is_err());
    }
}

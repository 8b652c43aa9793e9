//! The load: one run of wrk against one server, and its report. It never counts a refused request as a success.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::process::guarded;
use crate::step;

/// Open connections, the same for every server and figure.
pub(crate) const CONNECTIONS: u32 = 32;

/// The number of different requests that one load repeats.
pub(crate) const REQUESTS_MAX: usize = 1_000;

/// The requests of a load.
pub(crate) enum Requests {
    /// GET these paths in rotation.
    Get(Vec<String>),
    /// GET these paths in rotation, with a token.
    GetAs {
        /// The access token.
        token: String,
        /// The paths.
        paths: Vec<String>,
    },
    /// POST these JSON bodies to the path in rotation.
    Post(String, Vec<String>),
}

/// The result of a load.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Measured {
    pub(crate) requests_per_second: f64,
    pub(crate) p99_ms: f64,
}

/// Installs Debian's wrk if it is missing.
///
/// # Errors
/// When it is missing and cannot be installed.
pub(crate) fn install_wrk() -> Result<()> {
    if Command::new("wrk").arg("-v").stdout(Stdio::null()).status().is_ok() {
        return Ok(());
    }
    let install = "apt-get update -qq && apt-get install -y -qq wrk";
    step::run("install wrk", Command::new("sh").args(["-c", install]))
        .context("the load comes from wrk: install it with your system's package manager")
}

/// Loads `http://127.0.0.1:port` for `time` from [`CONNECTIONS`] connections.
///
/// # Errors
/// When wrk fails, or any response was not a success.
pub(crate) fn run(scratch: &Path, port: u16, requests: &Requests, time: Duration) -> Result<Measured> {
    let script = scratch.join("requests.lua");
    fs::write(&script, lua(requests)).with_context(|| format!("writing {}", script.display()))?;
    let output = guarded(Path::new("/usr/bin/env"))
        .args(["wrk", "--threads", "1", "--latency"])
        .args(["--connections", &CONNECTIONS.to_string()])
        .args(["--duration", &format!("{}s", time.as_secs())])
        .arg("--script")
        .arg(&script)
        .arg(format!("http://127.0.0.1:{port}"))
        .output()
        .context("wrk cannot be started")?;
    let text = String::from_utf8_lossy(&output.stdout);
    if !output.status.success() {
        bail!("wrk failed: {text}{}", String::from_utf8_lossy(&output.stderr));
    }
    parse(&text)
}

/// Returns a script that prepares every request once, so that the server is measured and not the script.
fn lua(requests: &Requests) -> String {
    let quoted = |texts: &[String]| {
        // A JSON string of plain ASCII is also a Lua string.
        texts.iter().map(|text| Value::from(text.as_str()).to_string()).collect::<Vec<_>>().join(",\n")
    };
    let (list, format) = match requests {
        Requests::Get(paths) => (quoted(paths), "wrk.format(\"GET\", item)".to_owned()),
        Requests::GetAs { token, paths } => (
            quoted(paths),
            format!("wrk.format(\"GET\", item, {{[\"Authorization\"] = \"Bearer {token}\"}})"),
        ),
        Requests::Post(path, bodies) => (
            quoted(bodies),
            format!(
                "wrk.format(\"POST\", {}, {{[\"Content-Type\"] = \"application/json\"}}, item)",
                Value::from(path.as_str())
            ),
        ),
    };
    format!(
        "local items = {{\n{list}\n}}\nlocal ready, at = {{}}, 0\n\
         function init() for k, item in ipairs(items) do ready[k] = {format} end end\n\
         function request() at = at % #ready + 1; return ready[at] end\n"
    )
}

/// Parses wrk's report.
fn parse(text: &str) -> Result<Measured> {
    let after = |key: &str| text.lines().find_map(|line| line.trim().strip_prefix(key)).map(str::trim);
    for fault in ["Non-2xx or 3xx responses:", "Socket errors:"] {
        if let Some(what) = after(fault) {
            bail!("the load did not succeed: {fault} {what}");
        }
    }
    let rate = after("Requests/sec:").and_then(|rate| rate.parse().ok());
    let p99 = after("99%").and_then(milliseconds);
    match (rate, p99) {
        (Some(requests_per_second), Some(p99_ms)) => Ok(Measured { requests_per_second, p99_ms }),
        _ => bail!("wrk reported neither a rate nor a p99: {text}"),
    }
}

/// Parses `1.23ms`, `456.00us` or `1.20s` as milliseconds.
fn milliseconds(text: &str) -> Option<f64> {
    let units = [("us", 0.001), ("ms", 1.0), ("m", 60_000.0), ("s", 1_000.0)];
    let (number, factor) =
        units.iter().find_map(|(unit, factor)| Some((text.strip_suffix(unit)?, factor)))?;
    Some(number.parse::<f64>().ok()? * factor)
}

#[cfg(test)]
mod tests {
    use super::*;

    const REPORT: &str = "  Latency Distribution\n     50%  391.00us\n     99%    1.25ms\n  30 requests in 2.00s\nRequests/sec:  15000.50\n";

    #[test]
    fn reads_a_report() {
        let measured = parse(REPORT).unwrap();
        assert_eq!(measured, Measured { requests_per_second: 15_000.5, p99_ms: 1.25 });
    }

    #[test]
    fn refuses_a_load_with_refused_requests() {
        for fault in
            ["  Non-2xx or 3xx responses: 7\n", "  Socket errors: connect 0, read 1, write 0, timeout 0\n"]
        {
            let error = parse(&format!("{REPORT}{fault}")).unwrap_err().to_string();
            assert!(error.contains(fault.trim()), "{error}");
        }
    }

    #[test]
    fn knows_the_units() {
        for (text, expected) in
            [("456.00us", Some(0.456)), ("1.20s", Some(1200.0)), ("2.00m", Some(120_000.0)), ("7", None)]
        {
            assert_eq!(milliseconds(text), expected, "{text}");
        }
    }

    #[test]
    fn quotes_what_a_body_holds() {
        let script = lua(&Requests::Post("/x".into(), vec!["{\"a\":\"b\"}".into()]));
        assert!(script.contains(r#""{\"a\":\"b\"}""#), "{script}");
    }
}

//! The import of many records into a collection with an index, compared with SQLite itself on the same tables: a Python
//! script stores the same lines in the same table, and commits every ten thousand. It never decides what is imported.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result, bail};
use serde_json::json;

use super::figures::finish;
use super::report::{Goal, Row};
use super::tinybase::Site;
use super::{Plan, data};

/// Stores the lines of a file in a table, whose definition it reads from an import's database; prints the seconds.
const PLAIN: &str = include_str!("plain_import.py");

/// The maximum time of an import, as a multiple of SQLite's own time.
const TIMES_MAX: f64 = 1.5;

/// The definition of the field `n` in the schema, and its name in the table of figures.
const KINDS: [(&str, &str); 3] =
    [("none", "no index"), ("index", "one indexed field"), ("unique", "one unique field")];

/// Returns one row per kind, measured alternately.
///
/// # Errors
/// When an import, or Python, fails.
pub(crate) fn rows(plan: &Plan) -> Result<Vec<Row>> {
    let file = plan.dir.join("data/wide.ndjson");
    data::write_wide_records(&file, plan.import_records)?;
    let script = plan.dir.join("data/plain_import.py");
    fs::write(&script, PLAIN).with_context(|| format!("writing {}", script.display()))?;
    KINDS.iter().map(|(kind, label)| row(plan, kind, label, &file, &script)).collect()
}

fn row(plan: &Plan, kind: &str, label: &str, file: &Path, script: &Path) -> Result<Row> {
    let mut number = json!({"name": "n", "type": "integer"});
    if kind != "none" {
        number[kind] = json!(true);
    }
    let schema = json!({"fields": [
        {"name": "title", "type": "string"}, {"name": "body", "type": "string"}, number,
        {"name": "price", "type": "number"}, {"name": "active", "type": "boolean"},
    ]});
    let schema_file = plan.dir.join(format!("data/schema-{kind}.json"));
    fs::write(&schema_file, schema.to_string())?;
    let (mut ours, mut plain) = (vec![], vec![]);
    for round in 0..plan.rounds {
        println!("==> measure: import with {label}, round {}", round + 1);
        let site = Site::init(plan, &format!("tinybase-import-{kind}-{round}"), "full")?;
        let started = Instant::now();
        finish(site.import_with("items", file, &schema_file)?)?;
        ours.push(started.elapsed().as_secs_f64());
        plain.push(plain_seconds(script, &site.dir().join("tinybase.db"), file)?);
        println!("    {:.2} s, plain {:.2} s", ours[round], plain[round]);
        fs::remove_dir_all(site.dir()).context("clearing an import")?;
    }
    let what =
        format!("import of {} records with {label} (second column: plain SQLite)", plan.import_records);
    Ok(Row::beside(&what, "s", ours, plain, Goal::RatioAtMost(TIMES_MAX)))
}

fn plain_seconds(script: &Path, like: &Path, file: &Path) -> Result<f64> {
    let mut python = Command::new("python3");
    let output = python.args([script, like, file]).output().context("python3 cannot be started")?;
    if !output.status.success() {
        bail!("python3: {}", String::from_utf8_lossy(&output.stderr));
    }
    String::from_utf8_lossy(&output.stdout).trim().parse().context("python3 printed no number")
}

//! An instance is copied into another database and is the same there, however often the copy is killed. If a PostgreSQL
//! server is available, the copies go through it and back.

#![allow(clippy::unwrap_used, reason = "a failed call fails its test")]

mod instance;
mod owners;

use std::{sync::mpsc, time::Duration, time::Instant};

use instance::{Places, exported, filled, on_sqlite, serves_the_same};
use serde_json::Value as Json;
use tinybase_tests::Site;

/// How often a copy is killed before it may complete.
const KILLS: usize = 10;

/// The rows of each collection when a copy must take a while.
const ROWS: usize = 3_000;

fn copy(from: &str, to: &str) -> Vec<String> {
    ["db", "copy", "--from", from, "--to", to, "--json"].map(str::to_owned).to_vec()
}

fn run(site: &Site, arguments: &[String]) -> tinybase_tests::site::Ran {
    site.run(&arguments.iter().map(String::as_str).collect::<Vec<_>>())
}

fn copied(site: &Site, from: &str, to: &str) -> Json {
    let ran = run(site, &copy(from, to));
    assert_eq!(ran.code, Some(0), "{from} to {to}: {ran:?}");
    serde_json::from_str(&ran.out).unwrap()
}

/// Returns the sums in a copy's report of the tables that must be equal on both sides, for all engines.
fn sums(report: &Json) -> Vec<(String, String)> {
    let tables = report["tables"].as_array().unwrap().iter();
    let text = |table: &Json, name: &str| table[name].to_string();
    tables.map(|table| (text(table, "name"), text(table, "sha256_sum"))).collect()
}

#[test]
fn an_instance_is_the_same_on_the_other_side_and_back() {
    let mut site = on_sqlite();
    let places = Places::new();
    filled(&mut site, 40);
    let before = exported(&mut site, places.first());
    let mut reports = Vec::new();
    for (from, to) in places.ways() {
        reports.push(copied(&site, from, to));
        assert_eq!(exported(&mut site, to), before, "from {from} to {to}");
    }
    let [first, .., last] = reports.as_slice() else { panic!("there is a way and a way back") };
    assert_eq!(sums(first), sums(last), "what came back is what went");
    serves_the_same(&mut site, &places);
}

#[test]
fn a_copy_that_is_killed_goes_on_where_it_stood() {
    let mut site = on_sqlite();
    let places = Places::new();
    filled(&mut site, ROWS);
    let before = exported(&mut site, places.first());
    for (from, to) in places.ways() {
        let longest = time_of_a_copy(&site, from, to, &places);
        let mut kills = 0;
        while kills < KILLS {
            kills += 1;
            if !killed_within(&site, from, to, longest) {
                break;
            }
        }
        println!("from {from}: killed {kills} times within {longest:?}");
        let ran = run(&site, &copy(from, to));
        let ended_before = ran.errors.contains("not empty");
        assert!(ran.code == Some(0) || ended_before, "{ran:?}");
        assert_eq!(exported(&mut site, to), before, "from {from} to {to}");
    }
}

fn time_of_a_copy(site: &Site, from: &str, to: &str, places: &Places) -> Duration {
    let (spare, _held) = places.spare(to);
    let begun = Instant::now();
    copied(site, from, &spare);
    begun.elapsed()
}

/// Starts a copy and kills it at a random moment. Returns false if it had ended before.
fn killed_within(site: &Site, from: &str, to: &str, longest: Duration) -> bool {
    let arguments = copy(from, to);
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let mut command = site.command(&arguments);
    let mut child =
        command.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::piped()).spawn().unwrap();
    let mut errors = child.stderr.take().unwrap();
    let (told, ended) = mpsc::channel();
    std::thread::spawn(move || {
        let mut text = String::new();
        std::io::Read::read_to_string(&mut errors, &mut text).unwrap();
        // Nobody receives it after the copy was killed.
        let _ = told.send(text);
    });
    // Each run has less left to do, so the kill is mostly early.
    let moment = longest.mul_f64(rand::random_range(0.05..0.7));
    let ended = ended.recv_timeout(moment);
    child.kill().unwrap();
    child.wait().unwrap();
    ended.is_err()
}

#[test]
fn a_row_that_does_not_fit_is_named_and_the_copy_goes_on_once_it_does() {
    let mut site = on_sqlite();
    filled(&mut site, 3);
    let source = "sqlite://./tinybase.db";
    let target = "sqlite://./target.db";
    let break_it = "PRAGMA ignore_check_constraints = ON; \
                    INSERT INTO tb_settings VALUES ('broken', 'no JSON', '2026-01-01T00:00:00.000000Z')";
    let database = rusqlite::Connection::open(site.dir().join("tinybase.db")).unwrap();
    database.execute_batch(break_it).unwrap();
    let ran = run(&site, &copy(source, target));
    assert_eq!(ran.code, Some(1), "{ran:?}");
    for part in ["the row \"broken\" of tb_settings", "a constraint does not hold"] {
        assert!(ran.errors.contains(part), "{part}: {ran:?}");
    }
    site.set("TINYBASE_DB_URL", target);
    for arguments in [
        &["init"][..],
        &["db", "current"],
        &["admin", "add", "a@b.example", "correct horse battery"],
        &["extensions", "list"],
    ] {
        let ran = site.run(arguments);
        assert_eq!(ran.code, Some(1), "{arguments:?}: {ran:?}");
        assert!(ran.errors.contains("the target of a copy that is not finished"), "{arguments:?}: {ran:?}");
    }
    assert!(site.serve_in_vain().errors.contains("the target of a copy that is not finished"));
    // A row that is already copied changes in the source: only a comparison of both sides can detect it.
    database.execute_batch("DELETE FROM tb_settings WHERE key = 'broken'").unwrap();
    let relabel = |label: &str| {
        let sql = format!("UPDATE collections_meta SET label = '{label}' WHERE name = 'places'");
        assert_eq!(database.execute(&sql, []).unwrap(), 1);
    };
    relabel("Changed");
    let ran = run(&site, &copy(source, target));
    assert_eq!(ran.code, Some(1), "{ran:?}");
    let differs = "source and target differ in collections_meta (2 rows in the source, 2 in the target)";
    assert!(ran.errors.contains(differs), "{ran:?}");
    relabel("Places");
    let report = copied(&site, source, target);
    assert!(report["rows_before"].as_u64().unwrap() > 0, "{report}");
    let _serves = site.serve();
}

#[test]
fn what_cannot_be_copied_is_refused_before_anything_is_written() {
    let site = on_sqlite();
    site.done(&["db", "upgrade"]);
    let source = "sqlite://./tinybase.db";
    let refused = |site: &Site, from: &str, to: &str, code: i32, part: &str| {
        let ran = run(site, &copy(from, to));
        assert_eq!(ran.code, Some(code), "{ran:?}");
        assert!(ran.errors.contains(part), "{part}: {ran:?}");
    };
    refused(&site, source, "sqlite:///./tinybase.db", 2, "name the same database");
    refused(&site, source, "target.db", 2, "--to must be sqlite://");
    refused(&site, "sqlite://./none.db", "sqlite://./target.db", 1, "there is no database at");
    let file = |name: &str| rusqlite::Connection::open(site.dir().join(name)).unwrap();
    file("other.db").execute_batch("CREATE TABLE t (a)").unwrap();
    refused(&site, source, "sqlite://./other.db", 1, "the target is not empty: it has the table t");
    refused(&site, "sqlite://./other.db", "sqlite://./target.db", 1, "the source is no instance");
    let database = file("tinybase.db");
    let node = "INSERT INTO tb_nodes (id, name, address, version, started_at, seen_at) VALUES \
                ('n', 'one', '127.0.0.1:8000', '1', '', strftime('%Y-%m-%dT%H:%M:%f000Z', 'now'))";
    database.execute_batch(node).unwrap();
    refused(&site, source, "sqlite://./target.db", 1, "the node one at 127.0.0.1:8000 serves the source");
    database.execute_batch("DELETE FROM tb_nodes WHERE id = 'n'").unwrap();
    site.done(&["db", "downgrade", "--yes"]);
    refused(&site, source, "sqlite://./target.db", 1, "the source lacks 1 migration(s) of the host");
    site.done(&["db", "upgrade"]);
    assert!(!rusqlite::Connection::open(site.dir().join("target.db")).is_ok_and(|target| {
        target.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get::<_, i64>(0)) != Ok(0)
    }));
    copied(&site, source, "sqlite://./target.db");
    refused(&site, source, "sqlite://./target.db", 1, "the target is not empty");
    let elsewhere = tempfile::tempdir().unwrap();
    let dir = elsewhere.path().to_str().unwrap();
    let ran = site.run(&["--dir", dir, "db", "copy", "--from", source, "--to", "sqlite://./t.db"]);
    assert!(ran.code == Some(1) && ran.errors.contains("there are no keys at"), "{ran:?}");
}

//! The server under each kind of hostile requests, each on a separate server: its peak memory, and the latency of
//! `/health` meanwhile. Also the time to delete a record that ten thousand others depend on.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use super::Plan;
use super::report::{Goal, Row};
use super::tinybase::Site;
use crate::hostile::{Admin, Attack, Health, Outcomes, Stock, Target, address};

/// The memory that an instance may use beyond its budget for responses.
const BESIDE_BUDGET_MB: f64 = 200.0;
/// The defaults of `server.responses_bytes_max` and of `server.bodies_bytes_max`, in megabytes.
const BUDGET_MB: f64 = 256.0;
/// The maximum p99 of `/health`.
const HEALTH_MS: f64 = 50.0;
/// The minimum duration of each attack.
const ATTACK_TIME: Duration = Duration::from_secs(10);
/// The number of records that depend on one.
const CASCADE: usize = 10_000;

/// Returns a row of memory and a row of `/health` for each attack.
///
/// # Errors
/// When the server cannot be filled.
pub(crate) fn rows(plan: &Plan) -> Result<Vec<Row>> {
    println!("==> measure: hostile requests");
    let site = Site::init(plan, "tinybase-hostile", "full")?;
    let stock = Stock::fill(&site, &plan.dir, plan.import_records / 10)?;
    let mut rows = Vec::new();
    for attack in Attack::ALL {
        let taken = beside(plan, &site, &stock, attack);
        rows.extend(taken.unwrap_or_else(|error| vec![Row::failed(attack.name(), &error)]));
    }
    Ok(rows)
}

/// Runs one attack and returns its measurements.
fn beside(plan: &Plan, site: &Site, stock: &Stock, attack: Attack) -> Result<Vec<Row>> {
    let mut served = site.serve_with(&[("TINYBASE_RATE_LIMIT_ENABLED", "false")])?;
    let (stop, outcomes) = (AtomicBool::new(false), Outcomes::default());
    let target = Target { port: served.port, stock, stop: &stop, outcomes: &outcomes };
    attack.check(&target)?;
    let mut health = thread::scope(|scope| {
        for number in 0..attack.connections() {
            let target = &target;
            scope.spawn(move || attack.run(target, address(number)));
        }
        let watching = scope.spawn(|| Health::watch(served.port, &stop));
        thread::sleep(ATTACK_TIME.max(plan.load_time));
        stop.store(true, Ordering::Relaxed);
        watching.join().expect("who watches does not panic")
    });
    ensure!(served.process.ended()?.is_none(), "the server ended");
    let peak = served.process.memory_kb("VmHWM").context("a process that runs has memory")? as f64 / 1024.0;
    let p99 = health.p99_ms();
    println!("    {}: {outcomes}; {} of /health failed", attack.name(), health.failures);
    ensure!(health.failures == 0, "/health failed {} times", health.failures);
    ensure!(outcomes.total() > 0, "no hostile request came to an end");
    Ok(vec![
        Row::alone(
            &format!("{}, peak memory", attack.name()),
            "MB",
            vec![peak],
            Goal::AtMost(BUDGET_MB + BESIDE_BUDGET_MB),
        ),
        Row::alone("the same, p99 of `/health`", "ms", vec![p99], Goal::AtMost(HEALTH_MS)),
    ])
}

/// Measures the time to delete a record that begins a chain, and one that all others reference.
///
/// # Errors
/// When the server refuses.
pub(crate) fn cascade(plan: &Plan) -> Result<Vec<Row>> {
    println!("==> measure: a delete that cascades");
    let site = Site::init(plan, "tinybase-cascade", "full")?;
    let served = site.serve_with(&[("TINYBASE_RATE_LIMIT_ENABLED", "false")])?;
    let admin = Admin { port: served.port, token: served.sign_in()? };
    let up = json!([{ "name": "up", "type": "reference", "collection": "tree", "on_delete": "cascade" }]);
    admin.collection("tree", up)?;
    let (mut chains, mut fans, mut singles) = (vec![], vec![], vec![]);
    for _ in 0..plan.rounds {
        chains.push(time_delete(&admin, |_, before| before)?);
        fans.push(time_delete(&admin, |root, _| root)?);
        singles.push(time_single_deletes(&admin)?);
    }
    let goal = Goal::RatioAtMost(1.5);
    let (chain, fan) = (
        format!("delete of a chain of {CASCADE} (second column: each by itself, in batches)"),
        format!("delete of one to which {CASCADE} refer (second column: the same)"),
    );
    Ok(vec![
        Row::beside(&chain, "ms", chains, singles.clone(), goal),
        Row::beside(&fan, "ms", fans, singles, goal),
    ])
}

/// Creates a first record and [`CASCADE`] more, and deletes the first. Each record references the first or the previous
/// one, as chosen by `up`. Returns milliseconds.
fn time_delete(admin: &Admin, up: impl Fn(usize, usize) -> usize) -> Result<f64> {
    let ids = create_tree(admin, |at| (at > 0).then(|| up(0, at - 1)))?;
    let path = format!("/collections/tree/records/{}", ids[0]);
    let begun = Instant::now();
    admin.send("DELETE", &path, &Value::Null)?;
    let time = begun.elapsed();
    let left = admin.send("GET", "/collections/tree/records?limit=1", &Value::Null)?;
    ensure!(left["total"] == 0, "the delete left records behind: {left}");
    Ok(time.as_secs_f64() * 1_000.0)
}

/// Measures the deletion of as many independent records in batches.
fn time_single_deletes(admin: &Admin) -> Result<f64> {
    let ids = create_tree(admin, |_| None)?;
    let begun = Instant::now();
    for ids in ids.chunks(BATCH) {
        let delete = |id: &String| json!({ "op": "delete", "collection": "tree", "id": id });
        let operations: Vec<_> = ids.iter().map(delete).collect();
        admin.send("POST", "/collections/batch", &json!({ "operations": operations }))?;
    }
    Ok(begun.elapsed().as_secs_f64() * 1_000.0)
}

/// Operations of one batch.
const BATCH: usize = 1_000;

/// Creates records with generated ids; `parent` returns the position of each record's parent.
fn create_tree(admin: &Admin, parent: impl Fn(usize) -> Option<usize>) -> Result<Vec<String>> {
    let ids: Vec<_> = (0..=CASCADE).map(|at| format!("01980000-0000-7000-8000-{at:012x}")).collect();
    for batch in (0..ids.len()).collect::<Vec<_>>().chunks(BATCH) {
        let create = |at: &usize| {
            let up = parent(*at).map(|at| ids[at].as_str());
            json!({ "op": "create", "collection": "tree", "id": ids[*at], "data": { "up": up } })
        };
        let operations: Vec<_> = batch.iter().map(create).collect();
        admin.send("POST", "/collections/batch", &json!({ "operations": operations }))?;
    }
    Ok(ids)
}

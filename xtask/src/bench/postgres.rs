//! TinyBase on PostgreSQL, compared with the bare statements that do the same work over a pool of the same size. This
//! shows the server's overhead. It starts its own PostgreSQL, with default settings for the safety of commits.

use anyhow::{Context, Result, bail};
use tinybase_test_postgres::{Cluster, Database};

use super::load::{self, CONNECTIONS, REQUESTS_MAX, Requests};
use super::report::{Goal, Row};
use super::tinybase::Site;
use super::{Plan, data, figures};
use crate::workspace::{HOST_PACKAGE, cargo};

/// The minimum rate of requests relative to bare statements: the server may add 60 % to their time.
const PART: f64 = 1.0 / 1.6;

/// The minimum throughput of three nodes on the cores of one, relative to one node.
const NODES_PART: f64 = 0.7;

/// A kind of statement, its label, and the requests that do the same.
type Kind = (&'static str, &'static str, Requests);

/// PostgreSQL settings on top of the test defaults: commits are flushed to disk, and memory is as on a server.
const SETTINGS: [&str; 3] = ["fsync=on", "full_page_writes=on", "shared_buffers=256MB"];

/// Measures read, create and list.
///
/// # Errors
/// When PostgreSQL or the server does not start, or a load fails.
pub(crate) fn rows(plan: &Plan) -> Result<Vec<Row>> {
    let cluster = Cluster::start_with(&SETTINGS).context("starting PostgreSQL")?;
    let database = Database::create(&cluster.url()).context("making a database")?;
    let records = plan.dir.join("data/records.ndjson");
    data::write_records(&records, plan.stored_records)?;
    let site = Site::init_on(plan, "tinybase-postgres", "full", Some(database.url()))?;
    let served = site.serve()?;
    served.create_collections()?;
    figures::finish(site.import("items", &records)?)?;
    // Without statistics on the records just imported, both would be planned for an empty table.
    database.run("VACUUM ANALYZE").context("VACUUM ANALYZE")?;
    let (port, url) = (served.port, database.url());
    let stored =
        figures::get_json(port, &format!("/api/collections/items/records?limit={REQUESTS_MAX}&count=none"))?;
    let kinds: [Kind; 3] = [
        ("read", "read one", Requests::Get(figures::paths(&stored["records"])?)),
        ("create", "create one", creates(plan)),
        (
            "list",
            "list 30 with the exact total",
            Requests::Get(vec!["/api/collections/items/records?limit=30".into()]),
        ),
    ];
    let mut rows = Vec::new();
    for (kind, label, requests) in &kinds {
        println!("==> measure: {label}");
        let (mut ours, mut bare) = (Vec::new(), Vec::new());
        for _ in 0..plan.rounds {
            ours.push(load::run(&plan.dir, port, requests, plan.load_time)?.requests_per_second);
            bare.push(raw_sql(plan, &url, kind)?);
        }
        rows.push(Row::beside(label, "/s", ours, bare, Goal::RatioAtLeast(PART)));
    }
    rows.extend(three_nodes(plan, &site, port, &kinds)?);
    served.process.stop()?;
    cluster.stop().context("stopping PostgreSQL")?;
    Ok(rows)
}

/// Compares three nodes under load at once with one node alone: on one machine, the three share the same cores.
fn three_nodes(plan: &Plan, site: &Site, port: u16, kinds: &[Kind]) -> Result<Vec<Row>> {
    let others = [site.serve()?, site.serve()?];
    let ports = [port, others[0].port, others[1].port];
    let mut rows = Vec::new();
    for (_, label, requests) in kinds {
        println!("==> measure: {label}, three nodes");
        let (mut three, mut one) = (Vec::new(), Vec::new());
        for _ in 0..plan.rounds {
            three.push(load_all(plan, &ports, requests)?);
            one.push(load::run(&plan.dir, port, requests, plan.load_time)?.requests_per_second);
        }
        let label = format!("{label}, three nodes on this machine (second column: one)");
        rows.push(Row::beside(&label, "/s", three, one, Goal::RatioAtLeast(NODES_PART)));
    }
    others.into_iter().try_for_each(|served| served.process.stop())?;
    Ok(rows)
}

/// Returns the sum of the rates of loads on several nodes at once.
fn load_all(plan: &Plan, ports: &[u16], requests: &Requests) -> Result<f64> {
    let load = |port: u16| -> Result<f64> {
        let scratch = plan.dir.join("data").join(format!("load-{port}"));
        std::fs::create_dir_all(&scratch)?;
        Ok(load::run(&scratch, port, requests, plan.load_time)?.requests_per_second)
    };
    std::thread::scope(|scope| {
        let loads: Vec<_> = ports.iter().map(|port| scope.spawn(|| load(*port))).collect();
        loads.into_iter().map(|load| load.join().expect("a load does not panic")).sum()
    })
}

fn creates(plan: &Plan) -> Requests {
    let bodies = (0..1_000).map(|number| {
        let body = serde_json::json!({ "data": data::record(number, plan.stored_records) });
        body.to_string()
    });
    Requests::Post("/api/collections/created/records".into(), bodies.collect())
}

/// Returns the statements per second of the host's benchmark `raw_sql`.
fn raw_sql(plan: &Plan, url: &str, kind: &str) -> Result<f64> {
    let output = cargo()
        .args(["bench", "--quiet", "--locked", "--package", HOST_PACKAGE, "--bench", "raw_sql"])
        .current_dir(&plan.workspace.root)
        .env("RAW_SQL_URL", url)
        .env("RAW_SQL_KIND", kind)
        .env("RAW_SQL_SECONDS", plan.load_time.as_secs().to_string())
        .env("RAW_SQL_CONNECTIONS", CONNECTIONS.to_string())
        .output()
        .context("cargo cannot be started")?;
    let text = String::from_utf8_lossy(&output.stdout);
    if !output.status.success() {
        bail!("the bare statements failed: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    let rate = text.lines().find_map(|line| line.trim().strip_prefix(kind)).map(str::trim);
    rate.and_then(|rate| rate.parse().ok()).with_context(|| format!("no line {kind} in {text:?}"))
}

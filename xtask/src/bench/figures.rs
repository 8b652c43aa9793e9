//! The measured figures: the request, the data and the server of each. The targets of the figures are only defined
//! here.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};

use super::load::{self, Measured, REQUESTS_MAX, Requests};
use super::pocketbase::PocketBase;
use super::report::{Goal, Row};
use super::tinybase::{Served, Site};
use super::{Figure, Plan, data};

/// The number of timed starts.
const STARTS: usize = 11;

/// The number of concurrent full scans while reads are measured.
const SCANS: usize = 4;

/// The interval between two checks of a process: its memory, or whether it has ended.
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// The pause before a load, so that checkpoints of the previous load do not count against this one.
const PAUSE: Duration = Duration::from_millis(500);

/// Both servers, on the same data.
pub(crate) struct Pair {
    full_site: Site,
    /// With durability `full`, the default.
    full: Served,
    normal: Served,
    peer: PocketBase,
}

/// The requests of one figure to TinyBase and to PocketBase.
struct Both {
    ours: Requests,
    peer: Requests,
}

impl Pair {
    /// Prepares and starts everything.
    ///
    /// # Errors
    /// When a server does not start or does not accept the data.
    pub(crate) fn start(plan: &Plan) -> Result<Self> {
        let records = plan.dir.join("data/records.ndjson");
        data::write_records(&records, plan.stored_records)?;
        let full_site = Site::init(plan, "tinybase-full", "full")?;
        let empty = full_site.serve()?;
        empty.create_collections()?;
        empty.process.stop()?;
        finish(full_site.import("items", &records)?)?;
        let normal_site = Site::init(plan, "tinybase-normal", "normal")?;
        let normal = normal_site.serve()?;
        normal.create_collections()?;
        let full = full_site.serve()?;
        let peer = PocketBase::prepare(plan, &records)?;
        Ok(Self { full_site, full, normal, peer })
    }

    /// Measures every requested figure; one that fails does not stop the others.
    pub(crate) fn measure(self, plan: &Plan) -> Vec<Row> {
        let mut rows = Vec::new();
        let mut take = |figure: Figure, name: &str, result: &mut dyn FnMut() -> Result<Vec<Row>>| {
            if plan.wants(figure) {
                println!("==> measure: {name}");
                rows.extend(result().unwrap_or_else(|error| vec![Row::failed(name, &error)]));
            }
        };
        take(Figure::Read, "read one", &mut || self.read(plan));
        take(Figure::Create, "create one", &mut || self.create(plan));
        take(Figure::List, "list 30 with the exact total", &mut || self.list(plan));
        take(Figure::Filter, "filtered and sorted list", &mut || self.filter(plan));
        take(Figure::Memory, "resident memory", &mut || self.memory());
        if plan.wants(Figure::Start) {
            println!("==> measure: start");
            rows.extend(self.starts().unwrap_or_else(|error| vec![Row::failed("start", &error)]));
        }
        rows
    }

    fn read(&self, plan: &Plan) -> Result<Vec<Row>> {
        let ours = get_json(self.full.port, "/api/collections/items/records?limit=1000&count=none")?;
        let peer = get_json(self.peer.port, "/api/collections/items/records?perPage=1000&skipTotal=1")?;
        let both = Both {
            ours: Requests::Get(paths(&ours["records"])?),
            peer: Requests::Get(paths(&peer["items"])?),
        };
        self.alternate(plan, "read one, 32 connections", &both, 6.0)
    }

    fn create(&self, plan: &Plan) -> Result<Vec<Row>> {
        let path = "/api/collections/created/records".to_owned();
        let records: Vec<Value> =
            (0..1_000).map(|number| data::record(number, plan.stored_records)).collect();
        let wrapped = records.iter().map(|record| json!({ "data": record }).to_string()).collect();
        let flat = records.iter().map(Value::to_string).collect();
        let (ours, peer) = (Requests::Post(path.clone(), wrapped), Requests::Post(path, flat));
        let (mut full, mut normal, mut theirs) = (vec![], vec![], vec![]);
        for _ in 0..plan.rounds {
            full.push(load(plan, self.full.port, &ours)?.requests_per_second);
            theirs.push(load(plan, self.peer.port, &peer)?.requests_per_second);
            normal.push(load(plan, self.normal.port, &ours)?.requests_per_second);
        }
        let row = |durability: &str, ours, times| {
            let label = format!("create one, durability {durability}");
            Row::beside(&label, "/s", ours, theirs.clone(), Goal::RatioAtLeast(times))
        };
        Ok(vec![row("full", full, 4.0), row("normal", normal, 6.0)])
    }

    fn list(&self, plan: &Plan) -> Result<Vec<Row>> {
        let ours = "/api/collections/items/records?limit=30";
        let answer = get_json(self.full.port, ours)?;
        ensure!(
            answer["total"] == plan.stored_records,
            "the list answers the total {}, {} are stored",
            answer["total"],
            plan.stored_records
        );
        let peer = "/api/collections/items/records?perPage=30&skipTotal=1";
        let both = Both { ours: Requests::Get(vec![ours.into()]), peer: Requests::Get(vec![peer.into()]) };
        self.alternate(plan, "list 30, ours with the exact total, 100,000 stored", &both, 6.0)
    }

    /// Measures both without a total.
    fn filter(&self, plan: &Plan) -> Result<Vec<Row>> {
        let step = plan.stored_records as usize / REQUESTS_MAX;
        let bounds = || (0..REQUESTS_MAX).map(|number| number * step);
        let base = "/api/collections/items/records";
        let ours: Vec<_> =
            bounds().map(|n| format!("{base}?limit=30&count=none&filter=n%3E%3D{n}&sort=n")).collect();
        let peer: Vec<_> =
            bounds().map(|n| format!("{base}?perPage=30&skipTotal=1&filter=(n%3E%3D{n})&sort=n")).collect();
        // Both must have interpreted the request in the same way before it is worth timing.
        let (mine, theirs) = (get_json(self.full.port, &ours[7])?, get_json(self.peer.port, &peer[7])?);
        let first = (mine["records"][0]["data"]["n"].as_f64(), theirs["items"][0]["n"].as_f64());
        ensure!(
            first.0.is_some() && first.0 == first.1,
            "the two servers answer the filtered list differently: {first:?} comes first"
        );
        let both = Both { ours: Requests::Get(ours), peer: Requests::Get(peer) };
        self.alternate(plan, "filtered and sorted list, indexed, 100,000 stored", &both, 5.0)
    }

    fn memory(&self) -> Result<Vec<Row>> {
        let megabytes = |kilobytes: Option<u64>| {
            kilobytes.map(|kb| kb as f64 / 1024.0).context("the server is gone after the run")
        };
        let ours = megabytes(self.full.process.memory_kb("VmRSS"))?;
        let peer = megabytes(self.peer.process.memory_kb("VmRSS"))?;
        Ok(vec![Row::beside(
            "resident memory after the run",
            "MB",
            vec![ours],
            vec![peer],
            Goal::RatioAtMost(0.5),
        )])
    }

    /// Restarts the server, which no other process may serve meanwhile.
    fn starts(self) -> Result<Vec<Row>> {
        self.full.process.stop()?;
        let mut times = Vec::new();
        for _ in 0..STARTS {
            let again = self.full_site.serve()?;
            times.push(again.start_time.as_secs_f64() * 1_000.0);
            again.process.stop()?;
        }
        Ok(vec![Row::alone("start to first answer, all plugins loaded", "ms", times, Goal::AtMost(50.0))])
    }

    /// Loads both servers alternately, round by round.
    fn alternate(&self, plan: &Plan, label: &str, both: &Both, times: f64) -> Result<Vec<Row>> {
        let (mut ours, mut peer) = (vec![], vec![]);
        for _ in 0..plan.rounds {
            ours.push(load(plan, self.full.port, &both.ours)?);
            peer.push(load(plan, self.peer.port, &both.peer)?);
        }
        let rates = |all: &[Measured]| all.iter().map(|one| one.requests_per_second).collect::<Vec<_>>();
        Ok(vec![Row::beside(label, "/s", rates(&ours), rates(&peer), Goal::RatioAtLeast(times))])
    }
}

/// Measures the import of many records, and reads during scans of them.
///
/// # Errors
/// When the import or the server fails.
pub(crate) fn import_and_scans(plan: &Plan) -> Result<Vec<Row>> {
    let file = plan.dir.join("data/wide.ndjson");
    data::write_wide_records(&file, plan.import_records)?;
    let site = Site::init(plan, "tinybase-many", "full")?;
    println!("==> measure: import of {} records", plan.import_records);
    let started = Instant::now();
    let peak_kb = finish(site.import("items", &file)?)?;
    let rate = f64::from(plan.import_records) / started.elapsed().as_secs_f64();
    let mut rows = Vec::new();
    if plan.wants(Figure::Import) {
        let count = if plan.import_records == 1_000_000 { "1,000,000" } else { "100,000" };
        let what = format!("import of {count} NDJSON records of five fields");
        rows.push(Row::alone(&what, "/s", vec![rate], Goal::AtLeast(50_000.0)));
        rows.push(Row::alone(
            "the same, peak memory",
            "MB",
            vec![peak_kb as f64 / 1024.0],
            Goal::AtMost(150.0),
        ));
    }
    if plan.wants(Figure::Scans) {
        let result = scans(plan, &site);
        rows.extend(result.unwrap_or_else(|error| vec![Row::failed("read one beside full scans", &error)]));
    }
    Ok(rows)
}

/// Measures the p99 of reading one record, alternately without and with scans.
fn scans(plan: &Plan, site: &Site) -> Result<Vec<Row>> {
    println!("==> measure: read one beside full scans");
    let served = site.serve()?;
    let list = get_json(served.port, "/api/collections/items/records?limit=1000&count=none")?;
    let reads = Requests::Get(paths(&list["records"])?);
    let (mut quiet, mut busy) = (vec![], vec![]);
    for _ in 0..plan.rounds {
        quiet.push(load(plan, served.port, &reads)?.p99_ms);
        busy.push(beside_scans(plan, served.port, &reads)?.p99_ms);
    }
    let label = "read one, p99, beside four full scans (second column: quiet)";
    Ok(vec![Row::beside(label, "ms", busy, quiet, Goal::RatioAtMost(5.0))])
}

/// Runs one load while [`SCANS`] clients scan without a pause.
fn beside_scans(plan: &Plan, port: u16, reads: &Requests) -> Result<Measured> {
    let (done, scanned) = (AtomicBool::new(false), AtomicU32::new(0));
    let scan = || {
        while !done.load(Ordering::Relaxed) {
            let answer = get_json(
                port,
                "/api/collections/items/records?filter=body%20%3D%20%27nothing%20has%20this%27",
            )?;
            ensure!(
                answer["records"].as_array().is_some_and(Vec::is_empty),
                "the scan found something: {answer}"
            );
            scanned.fetch_add(1, Ordering::Relaxed);
        }
        Ok(())
    };
    let measured = thread::scope(|scope| {
        let scanners: Vec<_> = (0..SCANS).map(|_| scope.spawn(scan)).collect();
        let measured = load(plan, port, reads);
        done.store(true, Ordering::Relaxed);
        for scanner in scanners {
            scanner.join().expect("a scanner does not panic")?;
        }
        measured
    })?;
    println!("    {} scans of {} records ended", scanned.load(Ordering::Relaxed), plan.import_records);
    Ok(measured)
}

/// Runs one load, after a pause.
pub(super) fn load(plan: &Plan, port: u16, requests: &Requests) -> Result<Measured> {
    thread::sleep(PAUSE);
    let measured = load::run(&plan.dir, port, requests, plan.load_time)?;
    println!("    port {port}: {:.0}/s, p99 {:.2} ms", measured.requests_per_second, measured.p99_ms);
    Ok(measured)
}

/// Waits for a process and returns its peak memory in kilobytes.
pub(super) fn finish(mut process: crate::process::Running) -> Result<u64> {
    let mut peak_kb = 0;
    loop {
        peak_kb = process.memory_kb("VmHWM").unwrap_or(0).max(peak_kb);
        match process.ended()? {
            Some(status) if status.success() => return Ok(peak_kb),
            Some(status) => bail!("the import failed: {status}"),
            None => thread::sleep(LOOK_EVERY),
        }
    }
}

pub(super) fn get_json(port: u16, path: &str) -> Result<Value> {
    let mut answer =
        ureq::get(format!("http://127.0.0.1:{port}{path}")).call().with_context(|| format!("GET {path}"))?;
    Ok(answer.body_mut().read_json()?)
}

/// Returns the paths of the records in a list.
pub(super) fn paths(records: &Value) -> Result<Vec<String>> {
    let ids = records.as_array().into_iter().flatten().filter_map(|record| record["id"].as_str());
    let paths: Vec<_> = ids.map(|id| format!("/api/collections/items/records/{id}")).collect();
    ensure!(!paths.is_empty(), "the list answers no records to read");
    Ok(paths)
}

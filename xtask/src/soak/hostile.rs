//! `cargo xtask soak hostile`: all hostile requests at once from many connections, with a steady load of ordinary ones.
//! No ordinary request may fail, memory must be flat at the end, and every acknowledged record must exist.

use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use super::ordinary;
use crate::bench::tinybase::{Served, Site};
use crate::build;
use crate::hostile::{Attack, Health, Outcomes, Stock, Target, address};
use crate::workspace::{Profile, Workspace};

/// The number of small records that are scanned.
const MANY: u32 = 100_000;
/// The interval between two looks at the memory.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// The maximum memory in the last fifth of the time, relative to the second fifth.
const GROWTH_MAX: f64 = 1.15;

/// The arguments of the soak.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// How long it goes on, in seconds
    #[arg(long, default_value_t = 600)]
    seconds: u64,
    /// Ordinary requests a second
    #[arg(long, default_value_t = 200.0)]
    rate: f64,
    /// Only the kinds whose name holds this
    #[arg(long, default_value = "")]
    only: String,
    /// Connections of each kind of attack, instead of what each would make alone
    #[arg(long)]
    connections: Option<usize>,
    /// Use what is built already
    #[arg(long)]
    no_build: bool,
}

/// Builds, fills a server, attacks it and checks the result.
///
/// # Errors
/// When an ordinary request failed, memory grew, or an acknowledged record is missing.
pub(crate) fn run(options: &Options) -> Result<()> {
    let workspace = Workspace::load()?;
    if !options.no_build {
        build::build_and_stage(&workspace, Profile::Release)?;
    }
    let folder = workspace.target_dir.join("soak");
    if folder.exists() {
        fs::remove_dir_all(&folder).with_context(|| format!("clearing {}", folder.display()))?;
    }
    for part in ["data", "logs"] {
        fs::create_dir_all(folder.join(part))?;
    }
    let site = Site::init_at(workspace.binary(Profile::Release), &folder, "hostile", "full", None)?;
    let stock = Stock::fill(&site, &folder, MANY)?;
    let served = site.serve_with(&[("TINYBASE_RATE_LIMIT_ENABLED", "false")])?;
    println!("==> attack for {} s", options.seconds);
    attack(options, served, &stock)
}

fn attack(options: &Options, mut served: Served, stock: &Stock) -> Result<()> {
    let kinds = Attack::ALL.into_iter().filter(|attack| attack.name().contains(&options.only));
    let all: Vec<_> = kinds.map(|attack| (attack, Outcomes::default())).collect();
    ensure!(!all.is_empty(), "no kind has {:?} in its name", options.only);
    let stop = AtomicBool::new(false);
    let (mut health, outcome, memory) = thread::scope(|scope| {
        let mut number = 0;
        for (attack, outcomes) in &all {
            for _ in 0..options.connections.unwrap_or_else(|| attack.connections()) {
                let (from, stop, port) = (address(number), &stop, served.port);
                scope.spawn(move || attack.run(&Target { port, stock, stop, outcomes }, from));
                number += 1;
            }
        }
        let watching = scope.spawn(|| Health::watch(served.port, &stop));
        let load = scope.spawn(|| ordinary::run(served.port, options.rate, &stop));
        let memory = watch_memory(&served, Duration::from_secs(options.seconds));
        stop.store(true, Ordering::Relaxed);
        let health = watching.join().expect("who watches does not panic");
        (health, load.join().expect("a load does not panic"), memory)
    });
    for (attack, outcomes) in &all {
        println!("    {}: {outcomes}", attack.name());
    }
    ensure!(served.process.ended()?.is_none(), "the server ended");
    let mut outcome = outcome?;
    let peak = served.process.memory_kb("VmHWM").unwrap_or(0) / 1024;
    let (p50, p99) = (outcome.percentile_ms(50), outcome.percentile_ms(99));
    println!(
        "    ordinary: {} requests, {} failed, p50 {p50:.1} ms, p99 {p99:.1} ms; /health: p99 {:.1} ms, {} failed",
        outcome.count(),
        outcome.failures,
        health.p99_ms(),
        health.failures,
    );
    let (early, late) = (mean(&memory, 1), mean(&memory, 4));
    println!(
        "    memory: {early:.0} MB in the second fifth, {late:.0} MB in the last, {peak} MB at its peak"
    );
    let missing = ordinary::missing(served.port, &outcome)?;
    println!("    {} creates were acknowledged, {missing} are not there", outcome.acknowledged());
    for what in &outcome.failed {
        println!("    failed: {what}");
    }
    served.process.stop()?;
    ensure!(missing == 0, "{missing} acknowledged records are not there");
    ensure!(outcome.failures == 0, "{} ordinary requests failed", outcome.failures);
    ensure!(health.failures == 0, "/health failed {} times", health.failures);
    ensure!(late <= early * GROWTH_MAX, "memory grew from {early:.0} MB to {late:.0} MB");
    Ok(())
}

/// Returns the resident megabytes, one value per second.
fn watch_memory(served: &Served, time: Duration) -> Vec<f64> {
    let (begun, mut memory) = (Instant::now(), Vec::new());
    while begun.elapsed() < time {
        thread::sleep(LOOK_EVERY);
        memory.push(served.process.memory_kb("VmRSS").unwrap_or(0) as f64 / 1024.0);
    }
    memory
}

/// Returns the mean of one fifth of the figures, counted from 0.
fn mean(figures: &[f64], fifth: usize) -> f64 {
    let length = figures.len();
    let part = &figures[length * fifth / 5..length * (fifth + 1) / 5];
    part.iter().sum::<f64>() / part.len().max(1) as f64
}

//! The cost of extensions: installing one, starting with fifty, and the effect on requests when extensions are enabled
//! and disabled. Every extension is built from the example `notes` with its own name.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use super::paced::{self, Mix};
use super::report::{Goal, Row};
use super::tinybase::{Served, Site};
use super::{Plan, data, figures};
use crate::process::{Running, guarded};
use crate::registry;
use crate::workspace::{Profile, cargo};

/// How many extensions an instance starts with.
const MANY: usize = 50;
/// The approximate size of the package that is installed by name.
const LARGE_BYTES: usize = 5_000_000;
/// How often an extension is enabled, upgraded, rolled back and disabled under load.
const CYCLES: usize = 50;
/// The duration of the load without any change.
const QUIET_TIME: Duration = Duration::from_secs(15);
/// The versions that are switched between.
const VERSIONS: [&str; 2] = ["0.1.0", "0.2.0"];

/// Measures everything.
///
/// # Errors
/// When something cannot be built, published or installed, or a load fails.
pub(super) fn rows(plan: &Plan) -> Result<Vec<Row>> {
    let workshop = Workshop::open(plan)?;
    let mut rows = workshop.install()?;
    rows.extend(workshop.start_with_many()?);
    rows.extend(workshop.cycles()?);
    Ok(rows)
}

/// The place where extensions are built, and the registry they are published to.
struct Workshop<'a> {
    plan: &'a Plan,
    dir: PathBuf,
    tool: PathBuf,
}

impl<'a> Workshop<'a> {
    fn open(plan: &'a Plan) -> Result<Workshop<'a>> {
        let dir = plan.dir.join("data/workshop");
        fs::create_dir_all(&dir)?;
        let tool = registry::tool(&plan.workspace, Profile::Dist);
        let workshop = Workshop { plan, dir, tool };
        workshop.tool(&["init", "packages"])?;
        Ok(workshop)
    }

    fn tool(&self, arguments: &[&str]) -> Result<()> {
        let ran = Command::new(&self.tool).args(arguments).current_dir(&self.dir).output()?;
        if !ran.status.success() {
            bail!("tinybase-registry {arguments:?}: {}", String::from_utf8_lossy(&ran.stderr).trim());
        }
        Ok(())
    }

    /// Builds an extension with this name and version and returns its folder, as an operator would install it.
    fn build(&self, name: &str, version: &str) -> Result<PathBuf> {
        let source = self.dir.join("source").join(name);
        copy_renamed(&self.plan.workspace.root.join("examples/notes"), &source, &|text| {
            let sdk = format!("\"{}/", self.plan.workspace.root.display());
            text.replace("\"../../", &sdk)
                .replace("notes", name)
                .replace("version = \"0.1.0\"", &format!("version = \"{version}\""))
        })?;
        let target = self.plan.dir.join("extensions-target");
        let mut build = cargo();
        build
            .current_dir(&source)
            .args(["build", "--quiet", "--release", "--lib", "--target-dir"])
            .arg(&target);
        if !build.status()?.success() {
            bail!("the extension {name} cannot be built");
        }
        let package = self.dir.join("built").join(format!("{name}-{version}"));
        fs::create_dir_all(&package)?;
        let library = format!("libtinybase_{name}.so");
        fs::copy(target.join("release").join(&library), package.join(&library))?;
        fs::copy(source.join("extension.toml"), package.join("extension.toml"))?;
        crate::build::copy_tree(&source.join("migrations"), &package.join("migrations"))?;
        Ok(package)
    }

    fn publish(&self, package: &Path) -> Result<()> {
        let mut pack = Command::new(self.plan.workspace.binary(Profile::Dist));
        pack.args(["extensions", "pack"]).arg(package).arg("--out").arg(&self.dir);
        let packed = pack.output()?;
        let said = String::from_utf8_lossy(&packed.stdout).into_owned();
        let file = said.split_whitespace().nth(1).with_context(|| format!("pack says {said:?}"))?;
        self.tool(&["publish", "packages", file])
    }

    /// Serves the registry; its root of trust is copied to the site's folder.
    fn serve(&self, site: &Site) -> Result<(Running, String)> {
        let log = self.dir.join("registry.log");
        let mut serve = guarded(&self.tool);
        serve.args(["serve", "packages", "--port", "0"]).current_dir(&self.dir);
        let served = Running::start(&mut serve, &log)?;
        let deadline = Instant::now() + Duration::from_secs(10);
        let url = loop {
            let said = fs::read_to_string(&log)?;
            if let Some((_, url)) = said.lines().next().and_then(|line| line.split_once(" on ")) {
                break url.trim().to_owned();
            }
            if Instant::now() > deadline {
                bail!("the registry does not say where it serves");
            }
            std::thread::sleep(Duration::from_millis(5));
        };
        let roots = site.dir().join("registries");
        fs::create_dir_all(&roots)?;
        fs::copy(self.dir.join("packages/root.json"), roots.join("bench.json"))?;
        Ok((served, format!("bench={url}")))
    }

    /// Measures the time from the command to the serving extension, including verification and probe.
    fn install(&self) -> Result<Vec<Row>> {
        println!("==> measure: install 5 MB");
        let package = self.build("large", "0.1.0")?;
        fs::create_dir_all(package.join("pages"))?;
        fs::write(package.join("pages/data.bin"), noise(LARGE_BYTES))?;
        self.tool(&["delegate", "packages", "large", "cycled", "--publisher", "bench"])?;
        self.publish(&package)?;
        let site = Site::init(self.plan, "install", "full")?;
        let (registry, url) = self.serve(&site)?;
        let served = site.serve_with(&[("TINYBASE_EXTENSIONS_REGISTRIES", &url)])?;
        let run = |arguments: &[&str]| -> Result<Duration> {
            let started = Instant::now();
            let mut command = site.command(arguments);
            let ran = command.env("TINYBASE_EXTENSIONS_REGISTRIES", &url).stdin(Stdio::null()).output()?;
            if !ran.status.success() {
                bail!("{arguments:?}: {}", String::from_utf8_lossy(&ran.stderr).trim());
            }
            Ok(started.elapsed())
        };
        let mut times = Vec::new();
        for _ in 0..self.plan.rounds.max(3) {
            times.push(run(&["extensions", "install", "large", "--yes"])?.as_secs_f64());
            run(&["extensions", "uninstall", "large", "--purge", "--yes"])?;
        }
        served.process.stop()?;
        registry.stop()?;
        Ok(vec![Row::alone("install 5 MB by name into a running server", " s", times, Goal::AtMost(1.5))])
    }

    /// Compares a start with fifty extensions to a start without extensions.
    fn start_with_many(&self) -> Result<Vec<Row>> {
        println!("==> measure: start with {MANY} extensions");
        let (bare, full) = (Site::init(self.plan, "bare", "full")?, Site::init(self.plan, "many", "full")?);
        for number in 0..MANY {
            let package = self.build(&format!("many{number:02}"), "0.1.0")?;
            let ran = full.command(&["extensions", "install", "--yes"]).arg(&package).output()?;
            if !ran.status.success() {
                bail!("installing number {number}: {}", String::from_utf8_lossy(&ran.stderr).trim());
            }
        }
        let (mut starts, mut each, mut memory) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..self.plan.rounds.max(3) {
            let (without, without_kb) = started(&bare)?;
            let (with, with_kb) = started(&full)?;
            starts.push(with);
            each.push((with - without) / MANY as f64);
            memory.push((with_kb - without_kb) / 1024.0 / MANY as f64);
        }
        Ok(vec![
            Row::alone(&format!("start with {MANY} extensions"), " ms", starts, Goal::AtMost(500.0)),
            Row::alone("of that, each extension, its files verified", " ms", each, Goal::AtMost(10.0)),
            Row::alone("memory an extension", " MB", memory, Goal::AtMost(2.0)),
        ])
    }

    /// Measures requests on a collection while another extension is enabled, upgraded, rolled back and disabled.
    fn cycles(&self) -> Result<Vec<Row>> {
        println!("==> measure: {CYCLES} cycles under load");
        for version in VERSIONS {
            self.publish(&self.build("cycled", version)?)?;
        }
        let site = Site::init(self.plan, "cycles", "full")?;
        let (registry, url) = self.serve(&site)?;
        let served = site.serve_with(&[("TINYBASE_EXTENSIONS_REGISTRIES", &url)])?;
        let mix = prepared(&served)?;
        let admin = Admin::sign_in(&served)?;
        admin.send("POST", "", json!({"source": format!("cycled@={}", VERSIONS[0])}))?;
        admin.send("PATCH", "/cycled", json!({"is_enabled": false}))?;

        let most = paced::run_for(&mix, None, self.plan.load_time)?.count() as f64
            / self.plan.load_time.as_secs_f64();
        let rate = most / 2.0;
        let mut quiet = paced::run_for(&mix, Some(rate), QUIET_TIME)?;
        let stop = AtomicBool::new(false);
        let (changed, loaded) = std::thread::scope(|scope| {
            let load = scope.spawn(|| paced::run(&mix, Some(rate), &stop));
            let changed = (0..CYCLES).try_for_each(|_| admin.cycle());
            stop.store(true, Ordering::Relaxed);
            (changed, load.join().expect("a load does not panic"))
        });
        changed?;
        let mut loaded = loaded?;
        served.process.stop()?;
        registry.stop()?;
        for failure in loaded.failures.iter().take(5) {
            println!("    failed: {failure}");
        }
        println!(
            "    {} requests at {rate:.0}/s during {CYCLES} cycles of enable, upgrade, rollback, disable: {} failed",
            loaded.count(),
            loaded.failures.len()
        );
        Ok(vec![
            Row::alone(
                &format!("requests that failed during {CYCLES} cycles"),
                "",
                vec![(quiet.failures.len() + loaded.failures.len()) as f64],
                Goal::AtMost(0.0),
            ),
            Row::beside(
                "p99 during the cycles (second column: without)",
                " ms",
                vec![loaded.p99_ms()],
                vec![quiet.p99_ms()],
                Goal::RatioAtMost(3.0),
            ),
        ])
    }
}

/// Creates a collection with records, and returns its requests.
fn prepared(served: &Served) -> Result<Mix> {
    served.create_collections()?;
    let body = json!({"data": data::record(1, 100)}).to_string();
    let records = "/api/collections/items/records";
    for _ in 0..100 {
        let url = format!("http://127.0.0.1:{}{records}", served.port);
        ureq::post(url).header("Content-Type", "application/json").send(body.as_str())?;
    }
    let stored = figures::get_json(served.port, &format!("{records}?limit=100&count=none"))?;
    Ok(Mix {
        port: served.port,
        reads: figures::paths(&stored["records"])?,
        create: "/api/collections/created/records".to_owned(),
        body,
    })
}

/// A client for the administration of extensions over HTTP.
struct Admin {
    base: String,
    token: String,
}

impl Admin {
    fn sign_in(served: &Served) -> Result<Admin> {
        let base = format!("http://127.0.0.1:{}/api/admin/extensions", served.port);
        Ok(Admin { base, token: served.sign_in()? })
    }

    fn send(&self, method: &str, path: &str, body: Value) -> Result<()> {
        let url = format!("{}{path}", self.base);
        let token = format!("Bearer {}", self.token);
        let request = if method == "PATCH" { ureq::patch(&url) } else { ureq::post(&url) };
        request
            .header("Authorization", token)
            .send_json(&body)
            .with_context(|| format!("{method} {url} {body}"))?;
        Ok(())
    }

    fn cycle(&self) -> Result<()> {
        self.send("PATCH", "/cycled", json!({"is_enabled": true}))?;
        self.send("PATCH", "/cycled", json!({"version": format!("={}", VERSIONS[1])}))?;
        self.send("POST", "/cycled/rollback", json!({}))?;
        self.send("PATCH", "/cycled", json!({"is_enabled": false}))
    }
}

/// Returns the milliseconds until the first response, and the kilobytes of memory at that time.
fn started(site: &Site) -> Result<(f64, f64)> {
    let served = site.serve()?;
    let memory = served.process.memory_kb("VmRSS").context("the server runs")?;
    let time = served.start_time.as_secs_f64() * 1_000.0;
    served.process.stop()?;
    Ok((time, memory as f64))
}

fn copy_renamed(from: &Path, to: &Path, change: &dyn Fn(String) -> String) -> Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let name = entry.file_name();
        if ["target", "tests", "Cargo.lock"].iter().any(|left_out| name == *left_out) {
            continue;
        }
        let target = to.join(&name);
        if entry.file_type()?.is_dir() {
            copy_renamed(&entry.path(), &target, change)?;
        } else {
            fs::write(target, change(fs::read_to_string(entry.path())?))?;
        }
    }
    Ok(())
}

/// Returns incompressible bytes.
fn noise(count: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    };
    (0..count.div_ceil(8)).flat_map(|_| next()).take(count).collect()
}

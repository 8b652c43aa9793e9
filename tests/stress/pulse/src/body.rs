//! The common code of all versions of `pulse`. It counts what the host does with it: runs of its job, events it
//! receives, and which of its instances responds. It never decides which version it is.
//!
//! `STRESS_PULSE` lets one version misbehave: `VERSION WHERE WHAT [ONLY]`, such as `0.2.0 start loop server`. Where:
//! `create`, `start`, `shut_down`. What: see [`misbehave`]. Only: `server` for all but the probe, `probe` for the probe
//! alone.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use tinybase_plugin_api::prelude::*;

struct Pulse {
    host: Host,
    database: Database,
    instance: String,
    runs: AtomicU64,
}

/// Misbehaves if `STRESS_PULSE` names this version and place.
fn misbehave(place: &str) {
    let asked = std::env::var("STRESS_PULSE").unwrap_or_default();
    let words: Vec<&str> = asked.split_whitespace().collect();
    let [version, wanted, what, only @ ..] = &words[..] else { return };
    let is_probe = std::env::args().nth(1).is_some_and(|command| command == "__probe");
    let is_here = only.first().is_none_or(|only| is_probe == (*only == "probe"));
    if *version != env!("CARGO_PKG_VERSION") || *wanted != place || !is_here {
        return;
    }
    match *what {
        "loop" => loop {
            std::hint::spin_loop();
        },
        "park" => loop {
            std::thread::park();
        },
        "abort" => std::process::abort(),
        "exit" => std::process::exit(0),
        "print" => {
            let line = "x".repeat(1 << 20);
            #[allow(clippy::print_stdout, reason = "that it prints is the fault")]
            (0..1024).for_each(|_| println!("{line}"));
        }
        // A child that outlives its parent process.
        "leave" => drop(std::process::Command::new("sleep").arg("86399").spawn()),
        // A child that also leaves the session and is reparented.
        "daemon" => drop(std::process::Command::new("setsid").args(["--fork", "sleep", "86399"]).status()),
        "hog" => {
            let mut held = Vec::new();
            loop {
                held.push(std::hint::black_box(vec![1_u8; 16 << 20]));
            }
        }
        _ => {}
    }
}

#[tinybase_plugin_api::export]
impl Plugin for Pulse {
    fn create(host: Host) -> Result<Pulse> {
        misbehave("create");
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let (database, instance) = (host.database()?, since.as_nanos().to_string());
        Ok(Pulse { host, database, instance, runs: AtomicU64::new(0) })
    }

    fn register(registry: &mut Registry<Pulse>) {
        registry.get("/api/pulse", Pulse::tell);
        registry.get("/api/pulse/slow/{ms}", Pulse::slow);
        registry.get("/api/pulse/heard/{kind}", Pulse::heard);
        registry.get("/api/pulse/more", Pulse::more);
        registry.after("beater.beat", None, Pulse::hear);
        registry.after_durable("beater.beat", None, Pulse::keep);
        registry.every(Duration::from_millis(20), "count", Pulse::count);
    }

    async fn start(self: Arc<Self>) -> Result<()> {
        misbehave("start");
        let fails = std::env::var("STRESS_PULSE_FAILS");
        if crate::START_FAILS || fails.as_deref() == Ok(env!("CARGO_PKG_VERSION")) {
            return Err(Error::new(500, "no_pulse", "this version does not start"));
        }
        let sql = "SELECT count(*) FROM pulse_heard";
        self.database.query(ReadHint::Indexed, sql, &[]).await.map(drop)
    }

    async fn shut_down(self: Arc<Self>) {
        misbehave("shut_down");
        if env!("CARGO_PKG_VERSION") != "0.2.0" || std::env::var("STRESS_PULSE_FLUSH").is_err() {
            return;
        }
        // Remaining data is written to the table that only this version has.
        let flushed = self.database.execute("INSERT INTO pulse_more (id) VALUES (99)", &[]).await;
        let told = if flushed.is_ok() { "flushed" } else { "lost" };
        let sql = "INSERT INTO pulse_heard (kind, beat) VALUES (?1, 1)";
        let _ = self.database.execute(sql, params![told]).await;
    }
}

impl Pulse {
    async fn tell(self: Arc<Self>, _request: Request) -> Result<Response> {
        let runs = self.runs.load(Ordering::Relaxed);
        Response::json(
            &json!({"version": env!("CARGO_PKG_VERSION"), "instance": self.instance, "runs": runs}),
        )
    }

    /// Responds after this many milliseconds.
    async fn slow(self: Arc<Self>, request: Request) -> Result<Response> {
        self.host.sleep(Duration::from_millis(request.param(0).parse().unwrap_or(0))).await?;
        Response::json(&json!({"version": env!("CARGO_PKG_VERSION")}))
    }

    /// Returns the rows of the table that only the second version has; the first version returns none.
    async fn more(self: Arc<Self>, _request: Request) -> Result<Response> {
        if env!("CARGO_PKG_VERSION") != "0.2.0" {
            return Response::json(&json!([]));
        }
        let rows = self.database.query(ReadHint::Scan, "SELECT id FROM pulse_more", &[]).await?;
        Response::json(&rows.iter().map(|row| row.integer(0)).collect::<Result<Vec<_>>>()?)
    }

    /// Returns the numbers of the events it received, the oldest first.
    async fn heard(self: Arc<Self>, request: Request) -> Result<Response> {
        let sql = "SELECT beat FROM pulse_heard WHERE kind = ?1 ORDER BY beat";
        let rows = self.database.query(ReadHint::Scan, sql, params![request.param(0)]).await?;
        Response::json(&rows.iter().map(|row| row.integer(0)).collect::<Result<Vec<_>>>()?)
    }

    async fn hear(self: Arc<Self>, event: Event) -> Result<()> {
        self.note("told", &event).await
    }

    async fn keep(self: Arc<Self>, event: Event) -> Result<()> {
        self.note("kept", &event).await
    }

    async fn note(&self, kind: &str, event: &Event) -> Result<()> {
        let beat = event.payload["beat"].as_i64().unwrap_or(-1);
        let sql = "INSERT INTO pulse_heard (kind, beat) VALUES (?1, ?2)";
        self.database.execute(sql, params![kind, beat]).await.map(drop)
    }

    async fn count(self: Arc<Self>) -> Result<()> {
        self.runs.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }
}

//! `tinybase db copy`: copies an instance from one database into another, run in the folder with its configuration,
//! keys and extensions.

use std::{sync::Arc, time::Instant};

use serde_json::json;

use super::{
    Failure, command_runtime, output,
    site::{HostServices, InstanceDir, keys_dir, open_database, open_or_create_database, services},
};
use crate::{
    config::{Config, DatabaseUrl},
    copy::{Copy, Report, STATEMENT_TIME_MAX, Side},
    db::Database,
    plugins::Console,
};

/// The arguments of `copy`.
#[derive(Debug, clap::Args)]
pub(super) struct Options {
    /// The database to copy, which is only read: sqlite://… or postgres://…
    #[arg(long, value_name = "URL", env = "TINYBASE_COPY_FROM", hide_env_values = true)]
    from: String,
    /// The database to copy into: an empty one, or one that a copy was begun to
    #[arg(long, value_name = "URL", env = "TINYBASE_COPY_TO", hide_env_values = true)]
    to: String,
    /// Go on although a server seems to work on one of them
    #[arg(long)]
    force: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn run(place: &InstanceDir, options: &Options) -> Result<(), Failure> {
    let config = place.config(&[])?;
    let (from, to) = (of(&config, "--from", &options.from)?, of(&config, "--to", &options.to)?);
    if from.database.url == to.database.url {
        return Err(Failure::usage("--from and --to name the same database"));
    }
    if !keys_dir(&config).is_dir() {
        return Err(Failure::new(format!(
            "there are no keys at {}; run this in the folder of the instance, or name it with --dir",
            keys_dir(&config).display()
        )));
    }
    command_runtime(&config)?.block_on(async {
        let source = open_database(&from).await?;
        let copied = match open_or_create_database(&to).await {
            Ok(target) => {
                let copied = copy((&from, &source), (&to, &target), options).await;
                target.shut_down().await;
                copied
            }
            Err(failure) => Err(failure),
        };
        source.shut_down().await;
        copied
    })
}

/// Returns the configuration with the database of a flag in place of its own, and with time for long statements.
fn of(config: &Config, flag: &str, url: &str) -> Result<Arc<Config>, Failure> {
    let mut config = config.clone();
    let read = DatabaseUrl::parse(url)
        .ok_or_else(|| Failure::usage(format!("{flag} must be sqlite://… with a path, or postgres://…")))?;
    config.database.url = match read {
        DatabaseUrl::Sqlite(path) => DatabaseUrl::Sqlite(config.path(path)),
        server => server,
    };
    config.database.query_timeout_ms = u64::try_from(STATEMENT_TIME_MAX.as_millis()).unwrap_or(u64::MAX);
    Ok(Arc::new(config))
}

async fn copy(
    (from, source): (&Arc<Config>, &Arc<dyn Database>),
    (to, target): (&Arc<Config>, &Arc<dyn Database>),
    options: &Options,
) -> Result<(), Failure> {
    let begun = Instant::now();
    let house_of_source = services(from, source, Console::of_command())?;
    let (keys, installed) = (house_of_source.keys(), house_of_source.plugins);
    let HostServices { plugins: asked, .. } = services(to, target, Console::of_command())?;
    let (source, target) = (Side::new(Arc::clone(source)), Side::new(Arc::clone(target)));
    let unserved = (!options.force).then(|| from.node.clone());
    let copy = Copy { source, target, installed, asked, console: Console::of_command(), keys, unserved };
    let report = copy.run().await?;
    let seconds = begun.elapsed().as_secs_f64();
    if options.json {
        return output::json(&json!({
            "tables": report.tables,
            "rows": rows(&report),
            "rows_before": report.rows_before,
            "seconds": (seconds * 1000.0).round() / 1000.0,
        }));
    }
    say(&report, seconds)
}

fn rows(report: &Report) -> u64 {
    report.tables.iter().map(|table| table.rows).sum()
}

fn say(report: &Report, seconds: f64) -> Result<(), Failure> {
    let lines = report.tables.iter().filter(|table| table.rows > 0);
    let lines = lines.map(|table| {
        let short = table.sha256_sum.get(..16).unwrap_or_default();
        [table.name.clone(), format!("{:>10} rows", table.rows), format!("the same on both sides, {short}…")]
    });
    output::table(&lines.collect::<Vec<_>>())?;
    let before = match report.rows_before {
        0 => String::new(),
        rows => format!(", {rows} of them by an earlier run"),
    };
    output::line(format!("{} rows are copied and verified{before}, in {seconds:.1} s", rows(report)))?;
    output::line(
        "Next: set database.url to the target and serve. The keys in .tinybase/keys belong to the data: serve in this \
         folder, or take .tinybase along.",
    )
}

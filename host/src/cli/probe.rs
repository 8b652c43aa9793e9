//! The hidden command that tries an extension out, in a process that nobody needs: what it does is the lifecycle's, what it
//! does it against is made here. It never reads an instance's configuration, and leaves nothing behind but its report.

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Arc,
    time::Duration,
};

use rustix::process::{Resource, Rlimit, Signal, set_parent_process_death_signal, setrlimit};

use super::{
    Failure, build_runtime,
    site::{House, house, open_or_create_database},
};
use crate::{
    config::{Config, DatabaseUrl, Durability},
    db::migrations::Migrator,
    plugins::{
        Console, LoadError,
        package::Package,
        probe::{Phase, Report},
        trial,
    },
};

/// The most bytes that one file may have which the probe, or the extension in it, writes.
const FILE_BYTES_MAX: u64 = 1 << 30;
const WORKER_THREADS: usize = 2;
const BLOCKING_THREADS_MAX: usize = 16;

/// Tries out the extension in the folder that comes first in `arguments`, with its report in the second, in at most so many
/// milliseconds.
pub fn run(arguments: &[std::ffi::OsString]) -> ExitCode {
    let [folder, scratch, timeout_ms] = arguments else { return ExitCode::FAILURE };
    let timeout_ms = timeout_ms.to_str().and_then(|number| number.parse().ok()).unwrap_or(0);
    let (scratch, timeout) = (PathBuf::from(scratch), Duration::from_millis(timeout_ms));
    confine();
    let write = |report: &Report| report.write(&scratch).is_ok();
    let note = |phase| {
        // Where the disk refuses, the last report decides: how far it was.
        write(&Report { phase, refused: None });
    };
    note(Phase::Load);
    let refused = match try_out(Path::new(folder), &scratch, timeout, &note) {
        Ok(()) => None,
        Err(Refusal::Of(error)) => Some((error.code().to_owned(), error.to_string())),
        Err(Refusal::None(failure)) => Some(("probe_failed".to_owned(), failure.message)),
    };
    let is_refused = refused.is_some();
    let is_told = write(&Report { phase: Phase::Done, refused });
    if is_told && !is_refused { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Ends with whoever waits for it, leaves no memory on disk where it crashes, and fills no disk. None of it is needed where
/// a system does not have it.
fn confine() {
    let _ = set_parent_process_death_signal(Some(Signal::KILL));
    let limit = |bytes| Rlimit { current: Some(bytes), maximum: Some(bytes) };
    let _ = setrlimit(Resource::Core, limit(0));
    let _ = setrlimit(Resource::Fsize, limit(FILE_BYTES_MAX));
}

enum Refusal {
    /// No server may load it.
    Of(LoadError),
    /// It could not be tried out.
    None(Failure),
}

fn not_tried(error: impl Into<Failure>) -> Refusal {
    Refusal::None(error.into())
}

fn try_out(
    folder: &Path,
    scratch: &Path,
    timeout: Duration,
    note: &(impl Fn(Phase) + Sync),
) -> Result<(), Refusal> {
    let package = Package::read(folder).map_err(|error| Refusal::Of(error.into()))?;
    trial::open(&package).map_err(Refusal::Of)?;
    let config = Arc::new(stand_in(scratch, timeout));
    let threads = build_runtime(WORKER_THREADS, BLOCKING_THREADS_MAX).map_err(not_tried)?;
    threads.block_on(async {
        let db = open_or_create_database(&config).await.map_err(not_tried)?;
        Migrator::of_host(&*db).upgrade(None).await.map_err(not_tried)?;
        let House { plugins, .. } = house(&config, &db, Console::of_server()).map_err(not_tried)?;
        plugins.try_out(&package, timeout, note).await.map_err(Refusal::Of)
    })
}

/// The configuration of an instance that is nobody's.
fn stand_in(scratch: &Path, timeout: Duration) -> Config {
    let milliseconds = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
    let dir = scratch.join("instance");
    let mut config = Config { dir: dir.clone(), ..Config::default() };
    config.database.url = DatabaseUrl::Sqlite(dir.join("tinybase.db"));
    // Nothing of it is to survive.
    config.database.durability = Durability::Normal;
    config.extensions.dir = dir.join("extensions");
    config.plugins.http_concurrent_max = 0;
    // Whoever waits for `create` gives up first.
    config.plugins.start_timeout_ms = milliseconds(timeout);
    config.plugins.call_timeout_ms = milliseconds(timeout / 8);
    config
}

//! The hidden command that probes an extension in a separate process: the lifecycle defines the steps, and the stand-in
//! instance is created here. It never reads an instance's configuration, and leaves nothing behind but its report: a
//! supervisor, which is the same command, ends everything that the extension started.

use std::{
    ffi::OsString,
    fs, io,
    os::unix::process::CommandExt,
    path::Path,
    process::{Command, ExitCode, Stdio},
    sync::Arc,
    time::{Duration, Instant},
};

use rustix::{
    io::Errno,
    process::{
        Pid, Resource, Rlimit, Signal, WaitOptions, getpid, kill_process, kill_process_group,
        set_child_subreaper, set_parent_process_death_signal, setrlimit, wait,
    },
};

use super::{
    Failure, build_runtime, output,
    site::{HostServices, open_or_create_database, services},
};
use crate::{
    config::{Config, DatabaseUrl, Durability},
    db::migrations::Migrator,
    plugins::{
        Console, LoadError,
        package::Package,
        probe::{COMMAND, Ended, Phase, Report, ends_within},
        trial,
    },
};

/// The largest file in bytes that the probe, or the extension in it, may write.
const FILE_BYTES_MAX: u64 = 1 << 30;
const WORKER_THREADS: usize = 2;
const BLOCKING_THREADS_MAX: usize = 16;

/// The last argument of the inner process, which runs the extension.
const INSIDE: &str = "inside";
/// How much memory the inner process's allocator reserves at a time, in KiB.
const ARENA_RESERVE_KIB: &str = "65536";
/// How long to wait for the end of processes that the extension left running.
const CLEARING_TIMEOUT: Duration = Duration::from_secs(4);

/// Probes the extension in the folder that is the first argument and writes the report into the second. The others are
/// the time limit in milliseconds and the memory limit in bytes.
pub fn run(arguments: &[OsString]) -> ExitCode {
    let (arguments, is_inside) = match arguments {
        [arguments @ .., last] if last == INSIDE => (arguments, true),
        all => (all, false),
    };
    let [folder, scratch, timeout_ms, memory_bytes_max] = arguments else { return ExitCode::FAILURE };
    let number = |text: &OsString| text.to_str().and_then(|number| number.parse().ok()).unwrap_or(0);
    let timeout = Duration::from_millis(number(timeout_ms));
    if !is_inside {
        return match supervise(arguments, timeout) {
            Ok(ended) => {
                // If it cannot be written, nobody waits for it.
                let _ = output::line(ended.line());
                ExitCode::SUCCESS
            }
            Err(_) => ExitCode::FAILURE,
        };
    }
    confine(number(memory_bytes_max));
    inside(Path::new(folder), Path::new(scratch), timeout)
}

/// Runs the inner process, and ends all processes that it started, also those that left its group or its session.
fn supervise(arguments: &[OsString], timeout: Duration) -> io::Result<Ended> {
    let _ = set_parent_process_death_signal(Some(Signal::KILL));
    // Orphans become this process's children. If a system does not support that, they are ended as a group.
    let _ = set_child_subreaper(Some(getpid()));
    let mut command = Command::new(std::env::current_exe()?);
    // Its output is discarded, however much that is.
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).process_group(0);
    // The allocator reserves a gigabyte at a time, which would count towards the limit.
    command.env("MIMALLOC_ARENA_RESERVE", ARENA_RESERVE_KIB);
    let mut child = command.arg(COMMAND).args(arguments).arg(INSIDE).spawn()?;
    let pid = Pid::from_child(&child);
    let has_ended = ends_within(pid, timeout)?;
    let _ = kill_process_group(pid, Signal::KILL);
    let status = child.wait()?;
    clear();
    Ok(if has_ended { Ended::Status(status) } else { Ended::TimedOut })
}

/// Ends all children of this process, including orphans.
fn clear() {
    let begun = Instant::now();
    while begun.elapsed() < CLEARING_TIMEOUT {
        for child in children() {
            let _ = kill_process(child, Signal::KILL);
        }
        match wait(WaitOptions::NOHANG) {
            Err(Errno::INTR) | Ok(Some(_)) => {}
            Ok(None) => std::thread::sleep(Duration::from_millis(1)),
            // There are no more.
            Err(_) => return,
        }
    }
}

/// Returns the children of this process, which has one thread.
fn children() -> Vec<Pid> {
    let own = getpid().as_raw_nonzero();
    let listed = fs::read_to_string(format!("/proc/self/task/{own}/children")).unwrap_or_default();
    listed.split_ascii_whitespace().filter_map(|number| Pid::from_raw(number.parse().ok()?)).collect()
}

/// Probes the extension in this process.
fn inside(folder: &Path, scratch: &Path, timeout: Duration) -> ExitCode {
    let write = |report: &Report| report.write(scratch).is_ok();
    let note = |phase| {
        // If this cannot be written, the last report shows how far it got.
        write(&Report { phase, refused: None });
    };
    note(Phase::Load);
    let refused = match try_out(folder, scratch, timeout, &note) {
        Ok(()) => None,
        Err(Refusal::Of(error)) => Some((error.code().to_owned(), error.to_string())),
        Err(Refusal::None(failure)) => Some(("probe_failed".to_owned(), failure.message)),
    };
    let is_refused = refused.is_some();
    let is_told = write(&Report { phase: Phase::Done, refused });
    if is_told && !is_refused { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Ends with its supervisor, writes no core dump, limits file sizes and its own memory, and is the first to be killed
/// if the machine runs out of memory. Systems that lack any of this are fine.
fn confine(memory_bytes_max: u64) {
    let _ = set_parent_process_death_signal(Some(Signal::KILL));
    let limit = |bytes| Rlimit { current: Some(bytes), maximum: Some(bytes) };
    let _ = setrlimit(Resource::Core, limit(0));
    let _ = setrlimit(Resource::Fsize, limit(FILE_BYTES_MAX));
    let _ = setrlimit(Resource::Data, limit(memory_bytes_max));
    let _ = fs::write("/proc/self/oom_score_adj", "1000");
}

enum Refusal {
    /// A server would refuse to load it.
    Of(LoadError),
    /// It could not be probed.
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
        let HostServices { plugins, .. } = services(&config, &db, Console::of_server()).map_err(not_tried)?;
        plugins.try_out(&package, timeout, note).await.map_err(Refusal::Of)
    })
}

/// Returns the configuration of a stand-in instance.
fn stand_in(scratch: &Path, timeout: Duration) -> Config {
    let milliseconds = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
    let dir = scratch.join("instance");
    let mut config = Config { dir: dir.clone(), ..Config::default() };
    config.database.url = DatabaseUrl::Sqlite(dir.join("tinybase.db"));
    // Nothing of it must be durable.
    config.database.durability = Durability::Normal;
    config.extensions.dir = dir.join("extensions");
    config.plugins.http_concurrent_max = 0;
    // The caller of `create` must time out first.
    config.plugins.start_timeout_ms = milliseconds(timeout);
    config.plugins.call_timeout_ms = milliseconds(timeout / 8);
    config
}

//! The probe: a separate process that opens a new library, then creates, starts and ends its plugin before
//! the serving process does. A library that crashes, exits or hangs does so there. This side starts the
//! process and waits for it; [`super::trial`] runs in it.

use std::{
    fs,
    io::Read,
    os::unix::process::{CommandExt, ExitStatusExt},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    time::{Duration, Instant},
};

use rustix::{
    fs::{OFlags, fcntl_setfl},
    process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, waitid},
};
use serde::{Deserialize, Serialize};

use super::LoadError;

/// The hidden command of the binary that probes.
pub const COMMAND: &str = "__probe";
/// The file in the probe's folder in which the probe reports its progress.
const REPORT_NAME: &str = "report.json";
/// How often to check whether the probe has ended.
const LOOK_EVERY: Duration = Duration::from_millis(2);
/// The maximum size of a report.
const REPORT_BYTES_MAX: u64 = 64 << 10;
/// The maximum length of the line that the probe's supervisor writes.
const LINE_BYTES_MAX: usize = 64;
/// How long the supervisor may take to end what the probe left running.
const CLEARING_TIMEOUT: Duration = Duration::from_secs(5);

/// The limits of a probe.
#[derive(Debug, Clone, Copy)]
pub struct ProbeLimits {
    /// The total time.
    pub timeout: Duration,
    /// The memory of its process and of each child process, in bytes.
    pub memory_bytes_max: u64,
}

impl ProbeLimits {
    /// Returns the limits set in the configuration.
    pub fn of(config: &crate::config::Plugins) -> ProbeLimits {
        ProbeLimits {
            timeout: Duration::from_millis(config.probe_timeout_ms),
            memory_bytes_max: config.probe_memory_bytes_max,
        }
    }
}

/// How the probed process ended, as its supervisor reports it in one line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// It exited or crashed.
    Status(ExitStatus),
    /// It took too long.
    TimedOut,
}

impl Ended {
    /// Returns the supervisor's line.
    pub fn line(self) -> String {
        match self {
            Ended::Status(status) => format!("status {}", status.into_raw()),
            Ended::TimedOut => "timed out".to_owned(),
        }
    }

    fn parse(line: &str) -> Option<Ended> {
        match line.trim().strip_prefix("status ") {
            Some(status) => status.parse().ok().map(|raw| Ended::Status(ExitStatus::from_raw(raw))),
            None => (line.trim() == "timed out").then_some(Ended::TimedOut),
        }
    }
}

/// The phases of a probe, in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Opening the library.
    Load,
    /// Creating the plugin.
    Create,
    /// Running its migrations.
    Migrate,
    /// Starting it.
    Start,
    /// Ending it.
    ShutDown,
    /// All phases are complete.
    Done,
}

/// The probe's report on its progress.
#[derive(Debug, Serialize, Deserialize)]
pub struct Report {
    /// The current phase.
    pub phase: Phase,
    /// Why the extension is refused: code and message.
    pub refused: Option<(String, String)>,
}

impl Phase {
    /// Returns what is to blame for a failure in this phase.
    fn culprit(self) -> &'static str {
        match self {
            Phase::Load | Phase::Done => "the library",
            Phase::Create => "`create` of the plugin",
            Phase::Migrate => "a migration of the extension",
            Phase::Start => "`start` of the plugin",
            Phase::ShutDown => "`shut_down` of the plugin",
        }
    }

    pub(super) fn timeout_words(self, timeout: Duration) -> String {
        let ms = timeout.as_millis();
        match self {
            Phase::Load => format!("the library did not load within {ms} ms"),
            _ => format!("{} did not come back within {ms} ms", self.culprit()),
        }
    }
}

impl Report {
    /// Writes the report into the probe's folder, atomically.
    ///
    /// # Errors
    /// I/O errors.
    pub fn write(&self, folder: &Path) -> std::io::Result<()> {
        let new = folder.join(".report");
        fs::write(&new, serde_json::to_vec(self)?)?;
        fs::rename(new, folder.join(REPORT_NAME))
    }

    fn read(folder: &Path) -> Report {
        let path = folder.join(REPORT_NAME);
        let is_small = fs::metadata(&path).is_ok_and(|file| file.len() <= REPORT_BYTES_MAX);
        let read = is_small.then(|| fs::read(&path).ok()).flatten();
        read.and_then(|bytes| serde_json::from_slice(&bytes).ok())
            .unwrap_or(Report { phase: Phase::Load, refused: None })
    }
}

fn unfit(code: &str, message: String) -> LoadError {
    LoadError::Probe { code: code.to_owned(), message }
}

fn failed(problem: String) -> LoadError {
    unfit("probe_failed", problem)
}

/// Probes the extension in `folder` in a separate process. Blocks.
///
/// # Errors
/// What the probe found, or that it crashed, exited or hung.
pub fn probe(folder: &Path, limits: ProbeLimits) -> Result<(), LoadError> {
    let scratch = tempfile::Builder::new().prefix("tinybase-probe-").tempdir();
    let scratch = scratch.map_err(|error| failed(format!("no folder for the probe: {error}")))?;
    let folder =
        std::path::absolute(folder).map_err(|error| failed(format!("{}: {error}", folder.display())))?;
    let ended = Group::start(&folder, scratch.path(), limits)?.wait(limits.timeout + CLEARING_TIMEOUT)?;
    let report = Report::read(scratch.path());
    match ended {
        Ended::Status(status) => verdict(&report, status),
        Ended::TimedOut => Err(unfit("probe_timeout", report.phase.timeout_words(limits.timeout))),
    }
}

fn verdict(report: &Report, status: ExitStatus) -> Result<(), LoadError> {
    if let Some((code, message)) = &report.refused {
        return Err(unfit(code, format!("{code}: {message}")));
    }
    if report.phase == Phase::Done && status.success() {
        return Ok(());
    }
    let who = report.phase.culprit();
    Err(match status.code() {
        Some(code) => {
            unfit("probe_exited", format!("{who} ended the process that tried it, with exit code {code}"))
        }
        None => unfit("probe_crashed", format!("{who} crashed the process that tried it ({status})")),
    })
}

/// The probe's supervisor, which ends whatever the probe started. If it fails to, its process group is
/// killed, including the probe.
struct Group {
    leader: Child,
    pid: Pid,
}

impl Group {
    fn start(folder: &Path, scratch: &Path, limits: ProbeLimits) -> Result<Group, LoadError> {
        let program: PathBuf =
            std::env::current_exe().map_err(|error| failed(format!("cannot find this program: {error}")))?;
        let mut command = Command::new(program);
        command.arg(COMMAND).arg(folder).arg(scratch);
        command.arg(limits.timeout.as_millis().to_string()).arg(limits.memory_bytes_max.to_string());
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
        command.current_dir(scratch).process_group(0);
        for (name, _) in std::env::vars_os() {
            // The probe must not learn where the real database is.
            if name.to_string_lossy().starts_with("TINYBASE_") {
                command.env_remove(name);
            }
        }
        let leader = command.spawn().map_err(|error| failed(format!("cannot start the probe: {error}")))?;
        let pid = Pid::from_child(&leader);
        Ok(Group { leader, pid })
    }

    /// Waits for the supervisor to end, at most `timeout`. Its process id stays reserved even after it has
    /// ended.
    fn wait(mut self, timeout: Duration) -> Result<Ended, LoadError> {
        if !ends_within(self.pid, timeout)
            .map_err(|error| failed(format!("cannot wait for the probe: {error}")))?
        {
            return Ok(Ended::TimedOut);
        }
        Ended::parse(&self.line())
            .ok_or_else(|| failed("the process that was to try it did not say how that went".to_owned()))
    }

    /// Returns what the ended supervisor left in its pipe. Another process may hold the pipe open.
    fn line(&mut self) -> String {
        let mut line = [0; LINE_BYTES_MAX];
        let Some(mut output) = self.leader.stdout.take() else { return String::new() };
        let read = fcntl_setfl(&output, OFlags::NONBLOCK).map(|()| output.read(&mut line).unwrap_or(0));
        String::from_utf8_lossy(&line[..read.unwrap_or(0)]).into_owned()
    }

    /// Kills the rest of the group. The leader is not reaped yet, so its process id is not reused.
    fn kill(&self) {
        // The group may be empty.
        let _ = kill_process_group(self.pid, Signal::KILL);
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if let Ok(None) = self.leader.try_wait() {
            self.kill();
            let _ = self.leader.wait();
        }
    }
}

/// Returns whether a child process ends within `timeout`. It stays a zombie, so its process id is not reused.
///
/// # Errors
/// If it is not a child of this process.
pub fn ends_within(child: Pid, timeout: Duration) -> rustix::io::Result<bool> {
    let started = Instant::now();
    let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
    loop {
        match waitid(WaitId::Pid(child), options)? {
            Some(_) => return Ok(true),
            None if started.elapsed() < timeout => std::thread::sleep(LOOK_EVERY),
            None => return Ok(false),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn how_it_ended_is_read_as_it_was_written() {
        for ended in
            [Ended::TimedOut, Ended::Status(ExitStatus::from_raw(6)), Ended::Status(ExitStatus::from_raw(0))]
        {
            assert_eq!(Ended::parse(&ended.line()), Some(ended));
        }
        assert_eq!(Ended::parse(""), None);
        assert_eq!(Ended::parse("status x"), None);
    }
}

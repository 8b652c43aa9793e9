//! The probe: a process of its own that opens a new library, makes its plugin, starts and ends it, before the serving process
//! does any of that. So what crashes, exits or never comes back does so there. This is the side that waits for it;
//! [`super::trial`] is what runs in it.

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
/// Where the probe writes how far it is, in its folder.
const REPORT_NAME: &str = "report.json";
/// How often the end of the probe is looked for.
const LOOK_EVERY: Duration = Duration::from_millis(2);
/// The largest report.
const REPORT_BYTES_MAX: u64 = 64 << 10;
/// The longest line of the probe's supervisor.
const LINE_BYTES_MAX: usize = 64;
/// How long the probe's supervisor may take to end what the probe left running.
const CLEARING_TIMEOUT: Duration = Duration::from_secs(5);

/// What a probe may take.
#[derive(Debug, Clone, Copy)]
pub struct ProbeLimits {
    /// In all.
    pub timeout: Duration,
    /// Bytes of memory of its process, and of each that it starts.
    pub memory_bytes_max: u64,
}

impl ProbeLimits {
    /// Those that the configuration sets.
    pub fn of(config: &crate::config::Plugins) -> ProbeLimits {
        ProbeLimits {
            timeout: Duration::from_millis(config.probe_timeout_ms),
            memory_bytes_max: config.probe_memory_bytes_max,
        }
    }
}

/// How the process that tried an extension ended, as its supervisor says in one line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// By itself, or it crashed.
    Status(ExitStatus),
    /// It took too long.
    TimedOut,
}

impl Ended {
    /// The line.
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

/// What a probe does, in this order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// The library is opened.
    Load,
    /// The plugin is made.
    Create,
    /// Its migrations run.
    Migrate,
    /// It is started.
    Start,
    /// It is ended.
    ShutDown,
    /// All of that is done.
    Done,
}

/// What the probe says of itself.
#[derive(Debug, Serialize, Deserialize)]
pub struct Report {
    /// What it is at.
    pub phase: Phase,
    /// Why the extension is refused: code and words.
    pub refused: Option<(String, String)>,
}

impl Phase {
    /// Who is at fault in this phase.
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
    /// Writes it into the probe's folder, whole or not at all.
    ///
    /// # Errors
    /// Those of the disk.
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

/// Has the extension in `folder` probed by a process of its own. Blocks.
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

/// The probe's supervisor, which ends whatever the probe started. Where it does not, its group is killed, and the probe with it.
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
            // It must not learn where the real database is.
            if name.to_string_lossy().starts_with("TINYBASE_") {
                command.env_remove(name);
            }
        }
        let leader = command.spawn().map_err(|error| failed(format!("cannot start the probe: {error}")))?;
        let pid = Pid::from_child(&leader);
        Ok(Group { leader, pid })
    }

    /// Waits for the supervisor's end, at most this long. Its process id stays taken meanwhile and after.
    fn wait(mut self, timeout: Duration) -> Result<Ended, LoadError> {
        if !ends_within(self.pid, timeout)
            .map_err(|error| failed(format!("cannot wait for the probe: {error}")))?
        {
            return Ok(Ended::TimedOut);
        }
        Ended::parse(&self.line())
            .ok_or_else(|| failed("the process that was to try it did not say how that went".to_owned()))
    }

    /// What the supervisor, which has ended, left in its pipe. Somebody else may hold that open.
    fn line(&mut self) -> String {
        let mut line = [0; LINE_BYTES_MAX];
        let Some(mut output) = self.leader.stdout.take() else { return String::new() };
        let read = fcntl_setfl(&output, OFlags::NONBLOCK).map(|()| output.read(&mut line).unwrap_or(0));
        String::from_utf8_lossy(&line[..read.unwrap_or(0)]).into_owned()
    }

    /// Kills what is left of the group. The leader is not reaped yet, so the number is nobody else's.
    fn kill(&self) {
        // There may be nothing left.
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

/// Whether a child ends within this time. It stays a zombie, so that its number is nobody else's.
///
/// # Errors
/// Where it is no child of this process.
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

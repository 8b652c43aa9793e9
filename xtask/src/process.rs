//! Servers as child processes: they end with the command, and their memory is monitored. It never leaves one running.

use std::fs::{self, File};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process};

/// How long a server may take to start or to stop.
const PATIENCE: Duration = Duration::from_secs(30);

/// A process that is killed when this is dropped.
pub(crate) struct Running {
    child: Child,
}

impl Running {
    /// Starts `command` with its output in `log`.
    ///
    /// # Errors
    /// When it cannot be started.
    pub(crate) fn start(command: &mut Command, log: &Path) -> Result<Self> {
        let out = File::create(log).with_context(|| format!("creating {}", log.display()))?;
        let errors = out.try_clone()?;
        let child = command
            .stdin(Stdio::null())
            .stdout(out)
            .stderr(errors)
            .spawn()
            .with_context(|| format!("{:?} cannot be started", command.get_program()))?;
        Ok(Self { child })
    }

    /// Returns kilobytes from `/proc/PID/status`: `VmRSS` for current memory, `VmHWM` for peak memory. None once it has
    /// ended.
    pub(crate) fn memory_kb(&self, key: &str) -> Option<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).ok()?;
        let line = status.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':'))?;
        line.split_whitespace().next()?.parse().ok()
    }

    /// Returns the exit status if it has ended.
    ///
    /// # Errors
    /// When the system cannot say.
    pub(crate) fn ended(&mut self) -> Result<Option<std::process::ExitStatus>> {
        Ok(self.child.try_wait()?)
    }

    /// Sends it the signal to stop and waits until it has ended.
    ///
    /// # Errors
    /// When it does not end within [`PATIENCE`].
    pub(crate) fn stop(mut self) -> Result<()> {
        let id = i32::try_from(self.child.id())
            .ok()
            .and_then(Pid::from_raw)
            .context("a process id is positive")?;
        kill_process(id, Signal::TERM)?;
        let deadline = Instant::now() + PATIENCE;
        while self.child.try_wait()?.is_none() {
            if Instant::now() > deadline {
                bail!("process {} did not end within {} s of SIGTERM", self.child.id(), PATIENCE.as_secs());
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(())
    }

    /// Waits until `url` returns 200, and returns the time since `started`.
    ///
    /// # Errors
    /// When the process ends first, or [`PATIENCE`] runs out.
    pub(crate) fn wait_for(&mut self, url: &str, started: Instant) -> Result<Duration> {
        loop {
            if ureq::get(url).call().is_ok() {
                return Ok(started.elapsed());
            }
            if let Some(status) = self.ended()? {
                bail!("the server ended before it answered {url}: {status}");
            }
            if started.elapsed() > PATIENCE {
                bail!("no answer from {url} within {} s", PATIENCE.as_secs());
            }
            std::thread::sleep(Duration::from_micros(500));
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended by itself, which is fine.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Returns a command for `program` that the system kills when this process dies for any reason.
pub(crate) fn guarded(program: &Path) -> Command {
    let setpriv = Path::new("/usr/bin/setpriv");
    if !setpriv.exists() {
        return Command::new(program);
    }
    let mut command = Command::new(setpriv);
    command.args(["--pdeathsig", "KILL"]).arg(program);
    command
}

/// Returns a port that was free a moment ago.
///
/// # Errors
/// When the system has none.
pub(crate) fn free_port() -> Result<u16> {
    Ok(TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port())
}

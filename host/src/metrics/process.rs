//! Reads the system's figures about this process. It never looks at another process.

use std::{
    sync::LazyLock,
    time::{SystemTime, UNIX_EPOCH},
};

/// A snapshot of the process; figures that the system does not provide are `None`.
#[derive(Debug, Default)]
pub(super) struct Process {
    /// The resident memory in bytes.
    pub(super) resident_bytes: Option<u64>,
    /// The number of open file descriptors.
    pub(super) open_fds: Option<u64>,
    /// The processor time used, in seconds.
    pub(super) cpu_seconds: Option<f64>,
    /// When the process began, in seconds since 1970.
    pub(super) started_at_seconds: f64,
}

static STARTED: LazyLock<SystemTime> = LazyLock::new(SystemTime::now);

/// Records the start of the process.
pub(super) fn note_start() {
    LazyLock::force(&STARTED);
}

/// Reads a snapshot.
pub(super) fn read() -> Process {
    let started = STARTED.duration_since(UNIX_EPOCH).unwrap_or_default();
    Process {
        resident_bytes: resident_bytes(),
        open_fds: std::fs::read_dir("/proc/self/fd").ok().and_then(|fds| fds.count().try_into().ok()),
        cpu_seconds: cpu_seconds(),
        started_at_seconds: started.as_secs_f64(),
    }
}

fn resident_bytes() -> Option<u64> {
    let statm = std::fs::read_to_string("/proc/self/statm").ok()?;
    let pages: u64 = statm.split(' ').nth(1)?.parse().ok()?;
    Some(pages * rustix::param::page_size() as u64)
}

fn cpu_seconds() -> Option<f64> {
    let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
    // The second field is a name in parentheses, which may contain spaces.
    let mut fields = stat.rsplit_once(") ")?.1.split(' ').skip(11);
    let mut ticks = || fields.next()?.parse::<f64>().ok();
    Some((ticks()? + ticks()?) / rustix::param::clock_ticks_per_second() as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_knows_itself() {
        note_start();
        let process = read();
        assert!(process.resident_bytes.unwrap() > 1 << 20);
        assert!(process.open_fds.unwrap() >= 3);
        assert!(process.cpu_seconds.unwrap() >= 0.0);
        assert!(process.started_at_seconds > 1.7e9);
    }
}

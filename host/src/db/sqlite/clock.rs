//! The time that `ValueRef::Now` stands for: RFC 3339 in UTC with microseconds, never decreasing, not even across
//! restarts. The last time is stored in the header of the database file, which stores nothing else for the host.
//!
//! If this machine's clock was ahead and was corrected, the times that were assigned before lie in the future. Records
//! are read in the order of their creation times, so later ones must not get earlier times: each gets the last time
//! plus a microsecond, until the clock has caught up. This is logged, and `/metrics` reports the difference.

use std::{
    path::Path,
    time::{Duration, Instant, SystemTime},
};

use jiff::{SignedDuration, Timestamp};

use super::connection::SqliteConnection;
use crate::metrics::stats;

/// How far a file's time stamp may be behind the clock that wrote it.
const FILE_TIME_LAG_MAX: Duration = Duration::from_millis(10);

/// How often the last time is stored while writes go on.
const KEEP_EVERY: Duration = Duration::from_secs(60);

/// The minimum difference at which a clock that is behind is logged.
const BEHIND_MIN: SignedDuration = SignedDuration::from_secs(2);

/// How often it is logged.
const WARN_EVERY: Duration = Duration::from_secs(3600);

/// The epoch of the stored number, in seconds since 1970: 2020-01-01. The number has 32 bits.
const KEPT_FROM: i64 = 1_577_836_800;

/// A clock that never goes back.
#[derive(Debug, Clone)]
pub(super) struct Clock {
    last: Timestamp,
    text: String,
    kept_at: Option<Instant>,
    /// The number of changed rows when the time was stored.
    changes_kept: u64,
    warned_at: Option<Instant>,
}

impl Clock {
    /// Returns a clock that starts no earlier than the last write to the file at `path` or to its write-ahead log.
    pub(super) fn behind(path: &Path) -> Clock {
        let written = [path.to_owned(), super::wal_path(path)]
            .iter()
            .filter_map(|path| path.metadata().and_then(|metadata| metadata.modified()).ok())
            .max()
            .unwrap_or(SystemTime::UNIX_EPOCH);
        let last = Timestamp::try_from(written + FILE_TIME_LAG_MAX).unwrap_or(Timestamp::UNIX_EPOCH);
        Clock { last, text: String::new(), kept_at: None, changes_kept: 0, warned_at: None }
    }

    /// Moves the clock forward to the time that is stored in the database, if that is later.
    pub(super) fn go_on_behind(&mut self, link: &SqliteConnection) -> rusqlite::Result<()> {
        let kept = link.engine_number("PRAGMA user_version")?;
        // Only if the clock went back; otherwise a server that often restarts would run ahead. The stored time was
        // rounded down, so one second is added.
        if kept > 0
            && let Ok(kept) = Timestamp::from_second(KEPT_FROM + kept)
            && kept > Timestamp::now()
        {
            let behind = kept.saturating_add(SignedDuration::from_secs(1)).unwrap_or(Timestamp::MAX);
            self.last = self.last.max(behind);
        }
        Ok(())
    }

    /// Stores the last time in the database, with a statement that writes a page.
    pub(super) fn keep(&mut self, link: &SqliteConnection) -> rusqlite::Result<()> {
        let seconds = self.last.as_second() - KEPT_FROM;
        link.guard.enter_engine();
        let kept = i32::try_from(seconds).unwrap_or(i32::MAX).max(0);
        link.connection.execute_batch(&format!("PRAGMA user_version = {kept}"))?;
        self.kept_at = Some(Instant::now());
        self.changes_kept = link.connection.total_changes();
        Ok(())
    }

    /// Stores the last time at shutdown, if rows were changed since it was last stored.
    pub(super) fn keep_at_end(&mut self, link: &SqliteConnection) -> rusqlite::Result<()> {
        if link.connection.total_changes() == self.changes_kept { Ok(()) } else { self.keep(link) }
    }

    /// Stores the last time, if rows were changed since and it was stored long enough ago.
    pub(super) fn keep_if_due(&mut self, link: &SqliteConnection) -> rusqlite::Result<()> {
        if self.kept_at.is_some_and(|at| at.elapsed() < KEEP_EVERY) {
            return Ok(());
        }
        self.keep_at_end(link)
    }

    /// Returns the current time, or slightly more than the last one returned if the clock went back.
    pub(super) fn tick(&mut self) -> &str {
        let now = Timestamp::now();
        if now < self.last {
            self.warn_of(self.last.duration_since(now));
        } else if self.warned_at.take().is_some() {
            stats::set_clock_behind(0);
            tracing::info!("the clock has caught up with the times of what is stored");
        }
        self.advance(now)
    }

    fn advance(&mut self, now: Timestamp) -> &str {
        let next = self.last.saturating_add(SignedDuration::from_micros(1)).unwrap_or(Timestamp::MAX);
        if now > self.last || self.text.is_empty() || self.last.duration_since(now) > BEHIND_MIN {
            self.last = if now > self.last { now } else { next };
            self.text.clear();
            use std::fmt::Write;
            write!(self.text, "{:.6}", self.last).expect("writing to a string does not fail");
        }
        &self.text
    }

    fn warn_of(&mut self, behind: SignedDuration) {
        if behind < BEHIND_MIN || self.warned_at.is_some_and(|at| at.elapsed() < WARN_EVERY) {
            return;
        }
        self.warned_at = Some(Instant::now());
        stats::set_clock_behind(behind.as_secs());
        tracing::warn!(
            behind_seconds = behind.as_secs(),
            last = %self.last,
            "clock_behind: this machine's clock is behind the times of what is stored; until it has caught up, what is \
             stored gets the last of those times. Check the clock"
        );
    }
}

/// Returns the current time for a query that uses `Now`.
pub(super) fn now_text() -> String {
    format!("{:.6}", Timestamp::now())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn clock_at(last: Timestamp) -> Clock {
        Clock { last, text: String::new(), kept_at: None, changes_kept: 0, warned_at: None }
    }

    #[test]
    fn a_clock_that_goes_far_back_gives_later_times_all_the_same() {
        let mut clock = clock_at(Timestamp::UNIX_EPOCH);
        let at = |seconds| Timestamp::from_second(seconds).unwrap();
        assert_eq!(clock.advance(at(86_400)), "1970-01-02T00:00:00.000000Z");
        assert_eq!(clock.advance(at(60)), "1970-01-02T00:00:00.000001Z");
        assert_eq!(clock.advance(at(61)), "1970-01-02T00:00:00.000002Z");
        assert_eq!(clock.advance(at(86_401)), "1970-01-02T00:00:01.000000Z");
    }

    #[test]
    fn a_clock_that_goes_back_stands_still() {
        let mut clock = clock_at(Timestamp::UNIX_EPOCH);
        let at = |micros| Timestamp::from_microsecond(micros).unwrap();
        assert_eq!(clock.advance(at(1_500_000)), "1970-01-01T00:00:01.500000Z");
        assert_eq!(clock.advance(at(1_000_000)), "1970-01-01T00:00:01.500000Z");
        assert_eq!(clock.advance(at(1_500_001)), "1970-01-01T00:00:01.500001Z");
    }

    #[test]
    fn a_clock_starts_behind_what_was_written() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let future = SystemTime::now() + Duration::from_secs(3600);
        file.as_file().set_modified(future).unwrap();
        // Without the stored time, the clock would not be this far ahead.
        let soon = format!("{:.6}", Timestamp::now() + SignedDuration::from_secs(1800));
        assert!(Clock::behind(file.path()).tick() > soon.as_str());
    }
}

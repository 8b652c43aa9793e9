//! The time that `ValueRef::Now` stands for: RFC 3339 in UTC with microseconds, never decreasing. It stores nothing.

use std::{
    path::Path,
    time::{Duration, SystemTime},
};

use jiff::Timestamp;

/// A file's time stamp may lie this much behind the clock that wrote it.
const FILE_TIME_LAG_MAX: Duration = Duration::from_millis(10);

/// A clock that never goes back.
#[derive(Debug, Clone)]
pub(super) struct Clock {
    last: Timestamp,
    text: String,
}

impl Clock {
    /// A clock that starts no earlier than the last write to the file at `path` or to its write-ahead log.
    pub(super) fn behind(path: &Path) -> Clock {
        let written = [path.to_owned(), super::wal_path(path)]
            .iter()
            .filter_map(|path| path.metadata().and_then(|metadata| metadata.modified()).ok())
            .max()
            .unwrap_or(SystemTime::UNIX_EPOCH);
        let last = Timestamp::try_from(written + FILE_TIME_LAG_MAX).unwrap_or(Timestamp::UNIX_EPOCH);
        Clock { last, text: String::new() }
    }

    /// The time now, or the last answer where the clock went back.
    pub(super) fn tick(&mut self) -> &str {
        self.advance(Timestamp::now())
    }

    fn advance(&mut self, now: Timestamp) -> &str {
        if now > self.last || self.text.is_empty() {
            self.last = self.last.max(now);
            self.text.clear();
            use std::fmt::Write;
            write!(self.text, "{:.6}", self.last).expect("writing to a string does not fail");
        }
        &self.text
    }
}

/// The time now as a reader sees it, for a query that uses `Now`.
pub(super) fn now_text() -> String {
    format!("{:.6}", Timestamp::now())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_goes_back_stands_still() {
        let mut clock = Clock { last: Timestamp::UNIX_EPOCH, text: String::new() };
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
        let now = now_text();
        assert!(Clock::behind(file.path()).tick() > now.as_str());
    }
}

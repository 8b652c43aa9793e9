//! Times as the database writes them: RFC 3339 in UTC with microseconds, which can be compared as text. Only the
//! database's clock is used, so nodes whose clocks differ agree on what is due.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use tinybase_plugin_api::prelude::*;

/// A point in time on the database's clock.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd)]
pub(crate) struct Moment(Timestamp);

impl Moment {
    /// Returns the current time.
    pub(crate) async fn now(database: Database) -> Result<Moment> {
        let rows = database.query(ReadHint::Indexed, "SELECT CAST(?1 AS TEXT)", params![Value::Now]).await?;
        let row = rows.first().ok_or_else(|| Error::internal("no_time", "the database tells no time"))?;
        Moment::read(row.text(0)?)
    }

    /// Parses a stored time.
    pub(crate) fn read(text: &str) -> Result<Moment> {
        let parsed =
            text.parse().map_err(|error| Error::internal("stored_time", format!("{text:?}: {error}")));
        parsed.map(Moment)
    }

    /// Returns the time after this duration, at most the maximum time.
    pub(crate) fn after(self, duration: Duration) -> Moment {
        let duration = SignedDuration::try_from(duration).unwrap_or(SignedDuration::MAX);
        Moment(self.0.saturating_add(duration).unwrap_or(Timestamp::MAX))
    }

    /// Returns the time before this duration, at least the minimum time.
    pub(crate) fn before(self, duration: Duration) -> Moment {
        let duration = SignedDuration::try_from(duration).unwrap_or(SignedDuration::MAX);
        Moment(self.0.saturating_sub(duration).unwrap_or(Timestamp::MIN))
    }

    /// Returns the seconds since 1970.
    pub(crate) fn seconds(self) -> i64 {
        self.0.as_second()
    }

    /// Returns the stored form.
    pub(crate) fn text(self) -> String {
        format!("{:.6}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_keep_their_form_so_that_they_compare_as_text() {
        let moment = Moment::read("2026-11-24T19:00:00.000001Z").unwrap();
        assert_eq!(moment.text(), "2026-11-24T19:00:00.000001Z");
        assert_eq!(moment.after(Duration::from_hours(5)).text(), "2026-11-25T00:00:00.000001Z");
        assert_eq!(moment.before(Duration::from_micros(1)).text(), "2026-11-24T19:00:00.000000Z");
        assert!(moment.after(Duration::MAX) > moment);
        assert!(Moment::read("yesterday").is_err());
    }
}

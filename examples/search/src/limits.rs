//! All limits of the extension.

use std::time::Duration;

/// The maximum number of fields of an index.
pub const FIELDS_MAX: usize = 8;
/// The maximum number of distinct weights of an index: PostgreSQL supports four.
pub const WEIGHTS_MAX: usize = 4;
/// The smallest weight of a field.
pub const WEIGHT_MIN: f64 = 0.1;
/// The largest weight of a field.
pub const WEIGHT_MAX: f64 = 10.0;
/// The indexed bytes of one field of a record; text after them is not found.
pub const FIELD_BYTES_MAX: usize = 64 << 10;
/// The maximum bytes of text written by one batch while an index is built.
pub const BATCH_BYTES_MAX: usize = 2 << 20;

/// The maximum length of a query in bytes.
pub const QUERY_BYTES_MAX: usize = 512;
/// The maximum number of words, phrases and prefixes in a query.
pub const QUERY_TERMS_MAX: usize = 16;
/// The minimum number of characters of a prefix.
pub const PREFIX_CHARS_MIN: usize = 2;
/// The maximum number of collections searched by one request.
pub const COLLECTIONS_MAX: usize = 10;
/// The maximum number of hits on a page.
pub const LIMIT_MAX: usize = 100;
/// The default number of hits on a page.
pub const LIMIT_DEFAULT: usize = 20;
/// The maximum number of hits that a page may skip.
pub const OFFSET_MAX: usize = 1_000;
/// The maximum number of records requested at once, as `records@1` allows.
pub const READ_IDS_MAX: usize = 200;
/// The bytes of records from which memory is reserved for them.
pub const RESERVED_BYTES_MIN: usize = 256 << 10;
/// How often a search is retried because its index was replaced meanwhile.
pub const ATTEMPTS_MAX: usize = 3;

/// The interval at which pending and ended builds are processed.
pub const BUILD_EVERY: Duration = Duration::from_secs(1);
/// The interval at which indexes are compared with the collections' schemas.
pub const WATCH_EVERY: Duration = Duration::from_secs(5);
/// The interval at which indexes are compared with the number of records, and old deletions are removed.
pub const TIDY_EVERY: Duration = Duration::from_secs(60);
/// How long a node holds the lease on a build after its last page, in milliseconds.
pub const HOLD_MS: i64 = 15_000;
/// The pause of a build after an error, in milliseconds.
pub const RETRY_MS: i64 = 10_000;
/// How long a deleted record is remembered, in milliseconds: longer than the delay of any of its events.
pub const GONE_MS: i64 = 24 * 3_600_000;
/// The rows of an ended index that are deleted at once.
pub const CLEAR_ROWS_MAX: i64 = 1_000;

//! Every limit, by name.

use std::time::Duration;

/// Fields of one index.
pub const FIELDS_MAX: usize = 8;
/// Different weights of one index: PostgreSQL tells four apart.
pub const WEIGHTS_MAX: usize = 4;
/// The smallest weight of a field.
pub const WEIGHT_MIN: f64 = 0.1;
/// The largest weight of a field.
pub const WEIGHT_MAX: f64 = 10.0;
/// Bytes of one field of a record that are indexed; what stands behind them is not found.
pub const FIELD_BYTES_MAX: usize = 64 << 10;
/// Bytes of text that are written with one batch while an index is built.
pub const BATCH_BYTES_MAX: usize = 2 << 20;

/// Bytes of a query.
pub const QUERY_BYTES_MAX: usize = 512;
/// Words, phrases and prefixes of a query.
pub const QUERY_TERMS_MAX: usize = 16;
/// Characters of a prefix, at least.
pub const PREFIX_CHARS_MIN: usize = 2;
/// Collections that one request searches.
pub const COLLECTIONS_MAX: usize = 10;
/// Hits of one page.
pub const LIMIT_MAX: usize = 100;
/// Hits of a page where the caller does not say.
pub const LIMIT_DEFAULT: usize = 20;
/// Hits that a page may pass over.
pub const OFFSET_MAX: usize = 1_000;
/// Records that are asked for at once, as `records@1` takes them.
pub const READ_IDS_MAX: usize = 200;
/// Bytes of records from which on room is reserved for them.
pub const RESERVED_BYTES_MIN: usize = 256 << 10;
/// How often a search begins again because its index was replaced meanwhile.
pub const ATTEMPTS_MAX: usize = 3;

/// How often is looked for an index that is to be built, or one that ended.
pub const BUILD_EVERY: Duration = Duration::from_secs(1);
/// How often indexes are held against the collections' schemas.
pub const WATCH_EVERY: Duration = Duration::from_secs(5);
/// How often indexes are held against the number of records, and what was deleted long ago is forgotten.
pub const TIDY_EVERY: Duration = Duration::from_secs(60);
/// For how long a node that builds an index is left alone with it, in milliseconds, from its last page on.
pub const HOLD_MS: i64 = 15_000;
/// How long a build waits that has failed, in milliseconds.
pub const RETRY_MS: i64 = 10_000;
/// For how long a deleted record is remembered, in milliseconds: longer than any event of it may be late.
pub const GONE_MS: i64 = 24 * 3_600_000;
/// Rows of an index that ended that are deleted at once.
pub const CLEAR_ROWS_MAX: i64 = 1_000;

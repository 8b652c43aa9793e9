//! Every limit of this extension, by name. It holds numbers and never behaviour.

/// Fields of one collection.
pub const FIELDS_MAX: usize = 200;
/// Fields of one collection that have a column of their own (indexed, unique, references).
pub const COLUMN_FIELDS_MAX: usize = 64;
/// Bytes of a collection's or field's name.
pub const NAME_BYTES_MAX: usize = 100;
/// Characters of a collection's label.
pub const LABEL_CHARS_MAX: usize = 200;
/// Characters of a field's description.
pub const DESCRIPTION_CHARS_MAX: usize = 2_000;
/// Bytes of a field's pattern.
pub const PATTERN_BYTES_MAX: usize = 1_000;
/// Bytes that a compiled pattern may take.
pub const PATTERN_PROGRAM_BYTES_MAX: usize = 256 * 1024;
/// Bytes of a collection's options, as JSON.
pub const OPTIONS_BYTES_MAX: usize = 64 * 1024;

/// Levels of arrays and objects within a record's data, the data itself being the first.
pub const DATA_DEPTH_MAX: usize = 32;
/// Bytes of a record's data as stored.
pub const DATA_BYTES_MAX: usize = 1024 * 1024;
/// Faults that one answer lists; what is beyond is left out.
pub const FAULTS_MAX: usize = 50;

/// Bytes of a filter expression.
pub const FILTER_BYTES_MAX: usize = 32 * 1024;
/// Levels of parentheses and `not` within a filter.
pub const FILTER_DEPTH_MAX: usize = 32;
/// Comparisons of one filter.
pub const FILTER_TERMS_MAX: usize = 100;
/// Entries of one `in (…)` list.
pub const FILTER_LIST_MAX: usize = 500;
/// Wildcards of one `like` pattern.
pub const LIKE_WILDCARDS_MAX: usize = 16;
/// Steps of one dotted path.
pub const PATH_STEPS_MAX: usize = 16;

/// Records of one page.
pub const PAGE_LIMIT_MAX: u64 = 1_000;
/// Records of a page where the caller does not say.
pub const PAGE_LIMIT_DEFAULT: u64 = 100;
/// Rows that a statement may pass over and answer, by key or index, to be run on the calling thread.
pub const SHORT_ROWS_MAX: u64 = 250;
/// The largest offset.
pub const PAGE_OFFSET_MAX: u64 = i64::MAX as u64;
/// Keys of one sort.
pub const SORT_KEYS_MAX: usize = 8;
/// Names of one `fields` list.
pub const PICK_FIELDS_MAX: usize = 100;
/// Paths of one `expand` list.
pub const EXPAND_PATHS_MAX: usize = 10;
/// References followed one after another by `expand`.
pub const EXPAND_DEPTH_MAX: usize = 3;
/// Bytes of a cursor.
pub const CURSOR_BYTES_MAX: usize = 8 * 1024;
/// Functions of one aggregate.
pub const AGGREGATE_FUNCTIONS_MAX: usize = 20;
/// Fields that one aggregate groups by.
pub const AGGREGATE_GROUPS_MAX: usize = 5;
/// How often a write is made anew because others changed what it rests on.
pub const WRITE_ATTEMPTS_MAX: usize = 8;
/// How often a request is answered anew because the schema changed under it.
pub const SCHEMA_ATTEMPTS_MAX: usize = 8;
/// Operations of one batch.
pub const BATCH_OPERATIONS_MAX: usize = 1_000;
/// Records that another extension reads at once by their ids.
pub const SERVICE_IDS_MAX: usize = 200;
/// Records of one page that another extension reads.
pub const SERVICE_PAGE_MAX: u64 = 500;
/// Records of such a page where the extension does not say.
pub const SERVICE_PAGE_DEFAULT: u64 = 100;
/// Failing records that a change of a schema lists.
pub const FAILURES_LISTED_MAX: usize = 100;
/// Records that a change of a schema reads at once.
pub const ALTER_PAGE_ROWS: usize = 500;
/// How long a change of a schema may take before it is undone.
pub const ALTER_TIME_MAX: std::time::Duration = std::time::Duration::from_secs(15 * 60);

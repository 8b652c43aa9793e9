//! Every limit of this extension, by name. Numbers only, no behavior.

/// Fields of one collection.
pub const FIELDS_MAX: usize = 200;
/// Fields of one collection with a column (indexed, unique, references).
pub const COLUMN_FIELDS_MAX: usize = 64;
/// Bytes of a collection's or field's name.
pub const NAME_BYTES_MAX: usize = 100;
/// Bytes of a collection's schema as JSON when it is created or changed.
pub const SCHEMA_BYTES_MAX: usize = 1024 * 1024;
/// Characters of a collection's label.
pub const LABEL_CHARS_MAX: usize = 200;
/// Characters of a field's description.
pub const DESCRIPTION_CHARS_MAX: usize = 2_000;
/// Bytes of a field's pattern.
pub const PATTERN_BYTES_MAX: usize = 1_000;
/// Bytes of a compiled pattern.
pub const PATTERN_PROGRAM_BYTES_MAX: usize = 256 * 1024;
/// Steps to match one text against one pattern: the text's bytes times the compiled pattern's bytes. At most a few
/// milliseconds.
pub const PATTERN_STEPS_MAX: usize = 32 * 1024 * 1024;
/// Bytes of the table that matches longer texts at one step per byte. If a pattern needs a larger table, its texts are
/// limited in length.
pub const PATTERN_TABLE_BYTES_MAX: usize = 1024 * 1024;
/// Bytes of a collection's options, as JSON.
pub const OPTIONS_BYTES_MAX: usize = 64 * 1024;

/// Levels of arrays and objects within a record's data, the data itself included.
pub const DATA_DEPTH_MAX: usize = 32;
/// Members of a record's data as received.
pub const DATA_MEMBERS_MAX: usize = 2_000;
/// Bytes of a record's data as stored.
pub const DATA_BYTES_MAX: usize = 1024 * 1024;
/// Faults listed in one response; further ones are left out.
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
/// Bytes of one `like` pattern.
pub const LIKE_PATTERN_BYTES_MAX: usize = 1_000;
/// Comparisons of a filter that may run on a request's own thread, for a few records.
pub const SHORT_TERMS_MAX: usize = 8;
/// Steps of one dotted path.
pub const PATH_STEPS_MAX: usize = 16;

/// Records of one page.
pub const PAGE_LIMIT_MAX: u64 = 1_000;
/// Records of a page by default.
pub const PAGE_LIMIT_DEFAULT: u64 = 100;
/// Rows that a statement may skip and return, by key or index, to still run on the calling thread.
pub const SHORT_ROWS_MAX: u64 = 250;
/// The largest offset.
pub const PAGE_OFFSET_MAX: u64 = i64::MAX as u64;
/// Keys of one sort.
pub const SORT_KEYS_MAX: usize = 8;
/// Names of one `fields` list.
pub const PICK_FIELDS_MAX: usize = 100;
/// Paths of one `expand` list.
pub const EXPAND_PATHS_MAX: usize = 10;
/// Depth of references followed by `expand`.
pub const EXPAND_DEPTH_MAX: usize = 3;
/// Bytes of a cursor.
pub const CURSOR_BYTES_MAX: usize = 8 * 1024;
/// Functions of one aggregate.
pub const AGGREGATE_FUNCTIONS_MAX: usize = 20;
/// Fields that one aggregate groups by.
pub const AGGREGATE_GROUPS_MAX: usize = 5;
/// Attempts at a write while others keep changing the data it depends on.
pub const WRITE_ATTEMPTS_MAX: usize = 8;
/// Attempts at a request while the schema keeps changing.
pub const SCHEMA_ATTEMPTS_MAX: usize = 8;
/// Total bytes of the schemas of collections that the API documentation describes individually.
pub const DESCRIBED_BYTES_MAX: usize = 2 * 1024 * 1024;
/// References between records that are deleted together, if these may form chains.
pub const CASCADE_REFERENCES_MAX: usize = 200_000;
/// Time limit for deleting such records; then the deletion is rolled back.
pub const CASCADE_TIME_MAX: std::time::Duration = std::time::Duration::from_secs(30);
/// Statements applied at once during such a deletion, and records deleted by one of these statements.
pub const CASCADE_STATEMENTS_MAX: usize = 1_000;
/// Memory of one request, as a multiple of the maximum response size.
pub const MEMORY_ANSWERS_MAX: usize = 3;
/// Bytes that a request may use without a reservation.
pub const UNRESERVED_BYTES_MAX: usize = 64 * 1024;
/// Minimum bytes per reservation.
pub const RESERVED_PART_BYTES: usize = 1024 * 1024;
/// Bytes of JSON that are parsed or checked without waiting for a turn at heavy work: a fraction of a millisecond.
pub const LIGHT_BYTES_MAX: usize = 32 * 1024;
/// Bytes of a body that is parsed without estimating its memory: whatever its content, it takes little.
pub const BODY_UNMEASURED_BYTES_MAX: usize = 4 * 1024;
/// Operations of one batch.
pub const BATCH_OPERATIONS_MAX: usize = 1_000;
/// Records searched for the reference that prevents a deletion.
pub const REFERRERS_FOLLOWED_MAX: usize = 10_000;
/// Records that another extension reads by id in one call.
pub const SERVICE_IDS_MAX: usize = 200;
/// Records of one page for another extension.
pub const SERVICE_PAGE_MAX: u64 = 500;
/// Records of such a page by default.
pub const SERVICE_PAGE_DEFAULT: u64 = 100;
/// Failing records listed for a schema change.
pub const FAILURES_LISTED_MAX: usize = 100;
/// Records that a schema change, an export or another extension processes at once.
pub const WORK_PAGE_ROWS: u64 = 500;
/// Bytes of records processed at once; a larger record is a page on its own.
pub const WORK_PAGE_BYTES: usize = 2 * 1024 * 1024;
/// Bytes of memory for the parsed records of one response to another extension.
pub const SERVICE_PAGE_MEMORY_BYTES: usize = 32 * 1024 * 1024;
/// Time limit of a schema change; then it is rolled back.
pub const ALTER_TIME_MAX: std::time::Duration = std::time::Duration::from_secs(15 * 60);

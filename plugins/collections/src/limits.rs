//! Every limit of this extension, by name. It holds numbers and never behaviour.

/// Fields of one collection.
pub const FIELDS_MAX: usize = 200;
/// Fields of one collection that have a column of their own (indexed, unique, references).
pub const COLUMN_FIELDS_MAX: usize = 64;
/// Bytes of a collection's or field's name.
pub const NAME_BYTES_MAX: usize = 100;
/// Bytes of a collection's schema, as JSON, when it is made or changed.
pub const SCHEMA_BYTES_MAX: usize = 1024 * 1024;
/// Characters of a collection's label.
pub const LABEL_CHARS_MAX: usize = 200;
/// Characters of a field's description.
pub const DESCRIPTION_CHARS_MAX: usize = 2_000;
/// Bytes of a field's pattern.
pub const PATTERN_BYTES_MAX: usize = 1_000;
/// Bytes that a compiled pattern may take.
pub const PATTERN_PROGRAM_BYTES_MAX: usize = 256 * 1024;
/// Steps that matching one text against one pattern may take: the text's bytes times the compiled pattern's. A few
/// milliseconds at the worst.
pub const PATTERN_STEPS_MAX: usize = 32 * 1024 * 1024;
/// Bytes of the table that matches longer texts, a step a byte; where a pattern would need a larger one, texts are limited.
pub const PATTERN_TABLE_BYTES_MAX: usize = 1024 * 1024;
/// Bytes of a collection's options, as JSON.
pub const OPTIONS_BYTES_MAX: usize = 64 * 1024;

/// Levels of arrays and objects within a record's data, the data itself being the first.
pub const DATA_DEPTH_MAX: usize = 32;
/// Members of a record's data as they are given.
pub const DATA_MEMBERS_MAX: usize = 2_000;
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
/// Bytes of one `like` pattern.
pub const LIKE_PATTERN_BYTES_MAX: usize = 1_000;
/// Comparisons of a filter that a request's own thread may make with a few records.
pub const SHORT_TERMS_MAX: usize = 8;
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
/// How often a write is made again because others changed what it rests on.
pub const WRITE_ATTEMPTS_MAX: usize = 8;
/// How often a request is answered again because the schema changed under it.
pub const SCHEMA_ATTEMPTS_MAX: usize = 8;
/// Bytes of the schemas of those collections that the API's documentation describes one by one.
pub const DESCRIBED_BYTES_MAX: usize = 2 * 1024 * 1024;
/// References between records that are deleted together, where those may refer to one another in chains.
pub const CASCADE_REFERENCES_MAX: usize = 200_000;
/// How long deleting them may take before it is undone.
pub const CASCADE_TIME_MAX: std::time::Duration = std::time::Duration::from_secs(30);
/// Statements that are applied at once while they are deleted, and records that one of those deletes.
pub const CASCADE_STATEMENTS_MAX: usize = 1_000;
/// Bytes that a request may hold, in answers of the largest size.
pub const MEMORY_ANSWERS_MAX: usize = 3;
/// Bytes that a request holds without room reserved for them.
pub const UNRESERVED_BYTES_MAX: usize = 64 * 1024;
/// Bytes for which room is reserved at once, at least.
pub const RESERVED_PART_BYTES: usize = 1024 * 1024;
/// Bytes of JSON that are read or checked without a turn at heavy work: a fraction of a millisecond.
pub const LIGHT_BYTES_MAX: usize = 32 * 1024;
/// Bytes of a body that is parsed without a look at what that takes: not much, whatever stands in it.
pub const BODY_UNMEASURED_BYTES_MAX: usize = 4 * 1024;
/// Operations of one batch.
pub const BATCH_OPERATIONS_MAX: usize = 1_000;
/// Records that are looked through for the reference that keeps another from being deleted.
pub const REFERRERS_FOLLOWED_MAX: usize = 10_000;
/// Records that another extension reads at once by their ids.
pub const SERVICE_IDS_MAX: usize = 200;
/// Records of one page that another extension reads.
pub const SERVICE_PAGE_MAX: u64 = 500;
/// Records of such a page where the extension does not say.
pub const SERVICE_PAGE_DEFAULT: u64 = 100;
/// Failing records that a change of a schema lists.
pub const FAILURES_LISTED_MAX: usize = 100;
/// Records that a change of a schema, an export or another extension works through at once.
pub const WORK_PAGE_ROWS: u64 = 500;
/// Bytes of records that are worked through at once; one larger record is a page of its own.
pub const WORK_PAGE_BYTES: usize = 2 * 1024 * 1024;
/// Memory that the records of one answer to another extension may take once they are parsed, in bytes.
pub const SERVICE_PAGE_MEMORY_BYTES: usize = 32 * 1024 * 1024;
/// How long a change of a schema may take before it is undone.
pub const ALTER_TIME_MAX: std::time::Duration = std::time::Duration::from_secs(15 * 60);

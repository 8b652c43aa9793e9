//! A connection to the file, with its pragmas, its guard, and a cache of prepared statements per scope. It binds packed
//! parameters and packs rows; it knows nothing of threads or transactions.

use std::{path::Path, sync::Arc, time::Duration};

use rusqlite::{
    Batch, CachedStatement, Connection, OpenFlags, Statement, config::DbConfig,
    fallible_iterator::FallibleIterator, types::ValueRef as SqlRef,
};
use tinybase_abi::codec::{CodecError, Reader, RowsWriter, ValueRef};
use tinybase_package::boundary::host_prefix;

use super::{SqliteOptions, clock, errors, functions, guard::Guard, joins, made};
use crate::{
    db::{DbError, SqlOwner},
    memory::{Gathering, NoRoom},
};

/// The purpose of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    /// Writes; there is only one.
    Writer,
    /// Copies the write-ahead log to the database file, and writes nothing.
    Checkpointer,
    /// Runs short reads.
    ShortReader,
    /// Runs reads of unknown cost.
    Reader,
}

/// A guarded connection.
#[derive(Debug)]
pub(super) struct SqliteConnection {
    pub(super) connection: Connection,
    pub(super) guard: Arc<Guard>,
    rows_bytes_max: usize,
    extension_rows_bytes_max: usize,
    keyed_sql: String,
    must_undo: bool,
    /// The extension in whose name the last changing statement ran.
    last_writer: Option<Arc<str>>,
}

/// The effect of one statement of a batch.
pub(super) struct Effect {
    /// The number of affected rows.
    pub(super) affected: u64,
    /// Its packed rows; empty for a statement without columns.
    pub(super) rows: Vec<u8>,
}

impl SqliteConnection {
    /// Opens the database file, which must exist.
    pub(super) fn open(options: &SqliteOptions, role: Role) -> rusqlite::Result<SqliteConnection> {
        let access = match role {
            Role::Writer | Role::Checkpointer => OpenFlags::SQLITE_OPEN_READ_WRITE,
            Role::ShortReader | Role::Reader => OpenFlags::SQLITE_OPEN_READ_ONLY,
        };
        let mut connection =
            Connection::open_with_flags(&options.path, access | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
        connection.busy_timeout(options.busy_timeout)?;
        set_pragmas(&connection, options, role)?;
        connection.set_prepared_statement_cache_capacity(options.statement_cache_entries);
        let guard = Guard::install(&mut connection)?;
        functions::install(&connection, &guard)?;
        Ok(SqliteConnection {
            connection,
            guard,
            rows_bytes_max: options.rows_bytes_max,
            extension_rows_bytes_max: options.extension_rows_bytes_max,
            keyed_sql: String::new(),
            must_undo: false,
            last_writer: None,
        })
    }

    /// Returns the size limit of a result for `scope`, in bytes.
    pub(super) fn rows_bytes_max(&self, scope: &SqlOwner) -> usize {
        match scope {
            SqlOwner::Host => self.rows_bytes_max,
            SqlOwner::Extension(_) => self.extension_rows_bytes_max,
        }
    }

    /// Runs one statement that changes nothing; returns packed rows.
    pub(super) fn query(
        &mut self,
        scope: &SqlOwner,
        sql: &str,
        params: &[u8],
        time_max: Duration,
    ) -> Result<Vec<u8>, DbError> {
        let bytes_max = self.rows_bytes_max(scope);
        self.query_within(scope, sql, params, time_max, bytes_max)
    }

    /// Like [`Self::query`], with a size limit for the rows.
    pub(super) fn query_within(
        &mut self,
        scope: &SqlOwner,
        sql: &str,
        params: &[u8],
        time_max: Duration,
        bytes_max: usize,
    ) -> Result<Vec<u8>, DbError> {
        let key = key_sql(&mut self.keyed_sql, scope, sql)?;
        self.guard.enter(scope, time_max);
        let mut statement = read(&self.connection, &self.guard, (scope, sql, key), time_max)?;
        if !statement.readonly() {
            return Err(DbError::Sql("a query may not change anything; apply a batch for that".to_owned()));
        }
        bind(&mut statement, &mut Reader::new(params), None).map_err(|fault| fault.explain(&self.guard))?;
        pack_rows(&mut statement, bytes_max).map_err(|fault| fault.explain(&self.guard))
    }

    /// Runs one statement of a batch. Its parameters are read from `params`.
    ///
    /// A statement without parameters may be a script: several statements, each ended by `;`.
    pub(super) fn execute(
        &mut self,
        scope: &SqlOwner,
        sql: &str,
        params: &mut Reader<'_>,
        now: &str,
        time_max: Duration,
    ) -> Result<Effect, DbError> {
        self.flush_tables_of_others(scope).map_err(errors::map)?;
        let bytes_max = self.rows_bytes_max(scope);
        let key = key_sql(&mut self.keyed_sql, scope, sql)?;
        self.guard.enter(scope, time_max);
        let changes_before = self.connection.total_changes();
        if looks_like_script(sql) && params.clone().u32()? == 0 {
            params.u32()?;
            return self.execute_script(scope, sql, time_max);
        }
        let mut statement = read(&self.connection, &self.guard, (scope, sql, key), time_max)?;
        if self.guard.altered() {
            statement.discard();
            let given = params.u32()? as usize;
            if given != 0 {
                return Err(errors::map(rusqlite::Error::InvalidParameterCount(given, 0)));
            }
            return self.execute_script(scope, sql, time_max);
        }
        // SQLite calls the authorizer while it parses a statement. Statements that create something are parsed again
        // each time, and checked.
        let mut made = self.guard.take_made();
        let rows = if made.is_empty() {
            let rows = self.run(&mut statement, params, now, bytes_max)?;
            drop(statement);
            rows
        } else {
            statement.discard();
            let mut alone = self.connection.prepare(key).map_err(|error| self.guard.explain(error))?;
            self.run(&mut alone, params, now, bytes_max)?
        };
        let changed = self.connection.total_changes() != changes_before;
        let affected = if changed { self.connection.changes() } else { 0 };
        made.extend(self.guard.take_made());
        self.check(scope, &made, time_max)?;
        Ok(Effect { affected, rows })
    }

    /// Makes full-text tables write out what they have buffered since another extension changed them. A savepoint makes
    /// them do so now, in the engine's name. Later they would do it during this extension's statement, and be denied.
    fn flush_tables_of_others(&mut self, scope: &SqlOwner) -> rusqlite::Result<()> {
        let SqlOwner::Extension(name) = scope else { return Ok(()) };
        if self.last_writer.as_ref().is_some_and(|last| Arc::ptr_eq(last, name) || last == name) {
            return Ok(());
        }
        if self.last_writer.replace(Arc::clone(name)).is_some() && !self.connection.is_autocommit() {
            self.engine("SAVEPOINT tb_flush")?;
            self.engine("RELEASE tb_flush")?;
        }
        Ok(())
    }

    fn run(
        &self,
        statement: &mut Statement<'_>,
        params: &mut Reader<'_>,
        now: &str,
        bytes_max: usize,
    ) -> Result<Vec<u8>, DbError> {
        bind(statement, params, Some(now)).map_err(|fault| fault.explain(&self.guard))?;
        if statement.column_count() == 0 {
            statement.raw_execute().map_err(|error| self.guard.explain(error))?;
            return Ok(Vec::new());
        }
        pack_rows(statement, bytes_max).map_err(|fault| fault.explain(&self.guard))
    }

    /// Runs a script. SQLite does not report the new name of an `ALTER TABLE … RENAME TO` in advance, so an extension's
    /// script is checked for it afterwards.
    fn execute_script(&mut self, scope: &SqlOwner, sql: &str, time_max: Duration) -> Result<Effect, DbError> {
        joins::check(&self.connection, &self.guard, scope, sql)?;
        let others_before = self.tables_of_others(scope)?;
        let changes_before = self.connection.total_changes();
        let key = key_sql(&mut self.keyed_sql, scope, sql)?.to_owned();
        let mut made = Vec::new();
        if let Err(error) = self.run_each(scope, &key, time_max, &mut made) {
            // SQLite does not count schema changes, so earlier statements of the script may have left some.
            self.must_undo = true;
            return Err(error);
        }
        self.check(scope, &made, time_max)?;
        let affected = self.connection.total_changes() - changes_before;
        if let SqlOwner::Extension(name) = scope
            && self.tables_of_others(scope)? != others_before
        {
            self.must_undo = true;
            let table = "a table without its prefix, by renaming one".to_owned();
            return Err(DbError::Denied { scope: name.to_string(), table });
        }
        Ok(Effect { affected, rows: Vec::new() })
    }

    /// Runs the statements one by one. Each is authorized on its own: a schema change by one gives the next no rights.
    fn run_each(
        &self,
        scope: &SqlOwner,
        script: &str,
        time_max: Duration,
        made: &mut Vec<made::Made>,
    ) -> Result<(), DbError> {
        let mut statements = Batch::new(&self.connection, script);
        loop {
            self.guard.enter(scope, time_max);
            let Some(mut statement) = statements.next().map_err(|error| self.guard.explain(error))? else {
                return Ok(());
            };
            let run = statement.query([]).and_then(|mut rows| {
                while rows.next()?.is_some() {}
                Ok(())
            });
            run.map_err(|error| self.guard.explain(error))?;
            made.extend(self.guard.take_made());
        }
    }

    /// Checks what statements of an extension have created. What is not allowed must be undone.
    fn check(&mut self, scope: &SqlOwner, made: &[made::Made], time_max: Duration) -> Result<(), DbError> {
        let SqlOwner::Extension(name) = scope else { return Ok(()) };
        if made.is_empty() {
            return Ok(());
        }
        let checked = made::check(self, name, made, time_max);
        self.must_undo |= checked.is_err();
        checked
    }

    /// Runs one of the engine's own queries with one name as parameter, which returns two texts per row.
    pub(super) fn engine_pairs(&self, sql: &str, name: &str) -> Result<Vec<(String, String)>, DbError> {
        self.guard.enter_engine();
        let pairs = self.connection.prepare_cached(sql).and_then(|mut statement| {
            statement.query_map([name], |row| Ok((row.get(0)?, row.get(1)?)))?.collect()
        });
        pairs.map_err(|error| self.guard.explain(error))
    }

    fn tables_of_others(&self, scope: &SqlOwner) -> Result<i64, DbError> {
        let SqlOwner::Extension(name) = scope else { return Ok(0) };
        self.guard.enter_engine();
        let count = "SELECT count(*) FROM sqlite_master
                     WHERE type IN ('table', 'view') AND name NOT LIKE 'sqlite!_%' ESCAPE '!' AND lower(substr(name, 1, length(?1))) <> lower(?1)";
        let counted = self
            .connection
            .prepare_cached(count)
            .and_then(|mut statement| statement.query_row([format!("{name}_")], |row| row.get(0)));
        counted.map_err(|error| self.guard.explain(error))
    }

    /// Returns and resets whether a statement left changes that are not allowed, so that its transaction must be
    /// undone.
    pub(super) fn take_must_undo(&mut self) -> bool {
        std::mem::take(&mut self.must_undo)
    }

    /// Runs one of the engine's own statements.
    pub(super) fn engine(&self, sql: &str) -> rusqlite::Result<()> {
        self.guard.enter_engine();
        self.connection.prepare_cached(sql)?.raw_execute().map(drop)
    }

    /// Reads one number with one of the engine's own statements.
    pub(super) fn engine_number(&self, sql: &str) -> rusqlite::Result<i64> {
        self.guard.enter_engine();
        self.connection.prepare_cached(sql)?.query_row([], |row| row.get(0))
    }
}

/// Prepares a statement, or takes it from the cache. One that joins by column names is checked, and then prepared
/// again.
fn read<'c>(
    connection: &'c Connection,
    guard: &Guard,
    (scope, sql, key): (&SqlOwner, &str, &str),
    time_max: Duration,
) -> Result<CachedStatement<'c>, DbError> {
    let statement = connection.prepare_cached(key).map_err(|error| guard.explain(error))?;
    if !guard.was_asked() || !joins::may_join(sql) {
        return Ok(statement);
    }
    statement.discard();
    joins::check(connection, guard, scope, sql)?;
    guard.enter(scope, time_max);
    connection.prepare_cached(key).map_err(|error| guard.explain(error))
}

fn set_pragmas(connection: &Connection, options: &SqliteOptions, role: Role) -> rusqlite::Result<()> {
    let cache_bytes = match role {
        Role::ShortReader => options.page_cache_bytes,
        Role::Writer => options.writer_cache_bytes,
        Role::Reader | Role::Checkpointer => options.scan_cache_bytes,
    };
    let cache_kib = cache_bytes / 1024;
    match role {
        Role::Writer => {
            let mode: String = connection.query_row("PRAGMA journal_mode = WAL", [], |row| row.get(0))?;
            if mode != "wal" {
                return Err(rusqlite::Error::UserFunctionError(
                    "its file system does not allow a write-ahead log; use a local disk".into(),
                ));
            }
            // An empty transaction, so that the log exists from here on.
            connection.execute_batch("PRAGMA wal_autocheckpoint = 0; BEGIN IMMEDIATE; COMMIT;")?;
            // A log that long reads made grow beyond its limit is truncated when it is restarted.
            connection.execute_batch(&format!("PRAGMA journal_size_limit = {}", options.wal_bytes_max))?;
        }
        Role::Checkpointer => {}
        Role::ShortReader | Role::Reader => connection.execute_batch("PRAGMA query_only = ON")?,
    }
    // Otherwise a statement whose plan depends on a bound value, such as that of a LIMIT, is prepared again at each
    // call.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    // Nobody may write to the shadow tables of a virtual table, or to the schema itself.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_DEFENSIVE, true)?;
    // NORMAL syncs around checkpoints; the syncer syncs each commit.
    connection.execute_batch("PRAGMA synchronous = NORMAL")?;
    // What a read sorts or groups may be as large as the data: beyond a cache it spills to a file.
    let temp_store = match role {
        Role::ShortReader | Role::Reader => "FILE",
        Role::Writer | Role::Checkpointer => "MEMORY",
    };
    connection.execute_batch(&format!(
        "PRAGMA foreign_keys = ON; PRAGMA trusted_schema = OFF; PRAGMA temp_store = {temp_store};
         PRAGMA cache_size = -{cache_kib}; PRAGMA mmap_size = 0;"
    ))
}

/// Returns the text under which a statement is prepared. An extension's begins with its name as a comment, so that a
/// statement prepared in one scope is never run in another.
fn key_sql<'a>(buffer: &'a mut String, scope: &SqlOwner, sql: &'a str) -> Result<&'a str, DbError> {
    let SqlOwner::Extension(name) = scope else { return Ok(sql) };
    if name.is_empty()
        || host_prefix(name).is_some()
        || !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'))
    {
        return Err(DbError::Denied {
            scope: name.to_string(),
            table: "any table: its name is no name, or the host's".to_owned(),
        });
    }
    buffer.clear();
    for part in ["/*", name, "*/", sql] {
        buffer.push_str(part);
    }
    Ok(buffer)
}

/// Whether the text continues after a `;`, or may contain only a comment. A false positive also runs, but without the
/// statement cache.
pub(super) fn looks_like_script(sql: &str) -> bool {
    let text = sql.trim();
    text.is_empty() || text.starts_with("--") || text.trim_end_matches(';').contains(';')
}

/// Why a statement failed, before the guard was consulted.
enum Fault {
    Sql(rusqlite::Error),
    Own(DbError),
}

impl Fault {
    fn explain(self, guard: &Guard) -> DbError {
        match self {
            Fault::Sql(error) => guard.explain(error),
            Fault::Own(error) => error,
        }
    }
}

impl From<rusqlite::Error> for Fault {
    fn from(error: rusqlite::Error) -> Fault {
        Fault::Sql(error)
    }
}

impl From<CodecError> for Fault {
    fn from(error: CodecError) -> Fault {
        Fault::Own(DbError::Codec(error))
    }
}

fn bind(statement: &mut Statement<'_>, params: &mut Reader<'_>, now: Option<&str>) -> Result<(), Fault> {
    let wanted = statement.parameter_count();
    let given = params.values(|position, value| {
        if position >= wanted {
            return Err(Fault::Sql(rusqlite::Error::InvalidParameterCount(position + 1, wanted)));
        }
        bind_one(statement, position + 1, value, now).map_err(Fault::Sql)
    })?;
    if given == wanted {
        Ok(())
    } else {
        Err(Fault::Sql(rusqlite::Error::InvalidParameterCount(given, wanted)))
    }
}

fn bind_one(
    statement: &mut Statement<'_>,
    at: usize,
    value: ValueRef<'_>,
    now: Option<&str>,
) -> rusqlite::Result<()> {
    match value {
        ValueRef::Null => statement.raw_bind_parameter(at, rusqlite::types::Null),
        ValueRef::Integer(number) => statement.raw_bind_parameter(at, number),
        ValueRef::Real(number) => statement.raw_bind_parameter(at, number),
        ValueRef::Text(text) => statement.raw_bind_parameter(at, text),
        ValueRef::Blob(bytes) => statement.raw_bind_parameter(at, bytes),
        ValueRef::Now => match now {
            Some(now) => statement.raw_bind_parameter(at, now),
            None => statement.raw_bind_parameter(at, clock::now_text()),
        },
    }
}

fn pack_rows(statement: &mut Statement<'_>, bytes_max: usize) -> Result<Vec<u8>, Fault> {
    let (mut writer, mut gathering) = (None, Gathering::default());
    let mut rows = statement.raw_query();
    while let Some(row) = rows.next()? {
        // SQLite may prepare the statement again on its first step, so the columns are read after it.
        let writer = writer.get_or_insert_with(|| start_rows(row.as_ref()));
        for column in 0..row.as_ref().column_count() {
            let value = read_value(row.get_ref(column)?)?;
            if writer.len_bytes() + len_bytes(value) > bytes_max {
                return Err(Fault::Own(DbError::TooLarge { bytes_max }));
            }
            writer.push(value);
        }
        writer.end_row();
        gathering.grow_to(writer.len_bytes()).map_err(|NoRoom| Fault::Own(DbError::NoRoom))?;
    }
    drop(rows);
    Ok(writer.unwrap_or_else(|| start_rows(statement)).finish())
}

/// Returns how many bytes a value takes, without its tag.
fn len_bytes(value: ValueRef<'_>) -> usize {
    match value {
        ValueRef::Text(text) => text.len(),
        ValueRef::Blob(bytes) => bytes.len(),
        _ => 8,
    }
}

fn start_rows(statement: &Statement<'_>) -> RowsWriter {
    RowsWriter::new(
        (0..statement.column_count())
            .map(|column| statement.column_name(column).expect("a statement names each of its columns")),
    )
}

fn read_value(value: SqlRef<'_>) -> Result<ValueRef<'_>, Fault> {
    Ok(match value {
        SqlRef::Null => ValueRef::Null,
        SqlRef::Integer(number) => ValueRef::Integer(number),
        SqlRef::Real(number) => ValueRef::Real(number),
        SqlRef::Blob(bytes) => ValueRef::Blob(bytes),
        SqlRef::Text(bytes) => ValueRef::Text(std::str::from_utf8(bytes).map_err(|_| {
            Fault::Own(DbError::Sql(
                "a text in the database is not UTF-8; cast it to a blob to read it".to_owned(),
            ))
        })?),
    })
}

/// Returns the path of the write-ahead log for the database file at `path`.
pub(super) fn wal_path(path: &Path) -> std::path::PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push("-wal");
    name.into()
}

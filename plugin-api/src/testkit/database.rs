//! A real SQLite in memory behind the `database` interface: the same answers and error codes as the host's, on one
//! connection. It never touches a file.

use std::{
    fs,
    path::Path,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
};

use rusqlite::{
    Connection, ErrorCode,
    hooks::{AuthAction, AuthContext, Authorization},
    types::{ToSqlOutput, Value as SqlValue, ValueRef as SqlRef},
};
use tinybase_abi::{
    codec::{BatchResultWriter, CodecError, Expect, Reader, RowsWriter, ValueRef},
    error::RawError,
};

use super::clock::{Clock, lock};

/// The time that the clock starts at: 2026-01-01T00:00:00Z, in seconds since 1970.
const EPOCH_SECONDS: i64 = 1_767_225_600;

/// The code of a statement that writes what its extension may not.
const DENIED: &str = "db_denied";

pub(super) struct TestDatabase {
    connection: Mutex<Connection>,
    gate: Arc<Gate>,
    transaction: Mutex<Transactions>,
    clock: Clock,
    applied: Mutex<i64>,
}

#[derive(Default)]
struct Transactions {
    open: Option<u64>,
    begun: u64,
}

/// Lets through writes to the extension's own tables alone.
struct Gate {
    prefix: String,
    open: AtomicBool,
    denied: Mutex<Option<String>>,
}

impl Gate {
    fn authorize(&self, context: &AuthContext<'_>) -> Authorization {
        let table = match context.action {
            AuthAction::Insert { table_name }
            | AuthAction::Update { table_name, .. }
            | AuthAction::Delete { table_name }
            | AuthAction::CreateTable { table_name }
            | AuthAction::DropTable { table_name }
            | AuthAction::AlterTable { table_name, .. }
            | AuthAction::CreateIndex { table_name, .. }
            | AuthAction::CreateTrigger { table_name, .. } => table_name,
            AuthAction::Transaction { .. } | AuthAction::Savepoint { .. } => "(a transaction of its own)",
            AuthAction::Attach { .. } | AuthAction::Detach { .. } => "(another file)",
            _ => return Authorization::Allow,
        };
        let own = table.starts_with(&self.prefix) || table.starts_with("sqlite_");
        if own || self.open.load(Ordering::Relaxed) {
            return Authorization::Allow;
        }
        *lock(&self.denied) = Some(table.to_owned());
        Authorization::Deny
    }
}

/// One value on its way into a statement.
struct Parameter<'a>(ValueRef<'a>, &'a str);

impl rusqlite::ToSql for Parameter<'_> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(match self.0 {
            ValueRef::Null => ToSqlOutput::Owned(SqlValue::Null),
            ValueRef::Integer(number) => ToSqlOutput::Owned(SqlValue::Integer(number)),
            ValueRef::Real(number) => ToSqlOutput::Owned(SqlValue::Real(number)),
            ValueRef::Text(text) => ToSqlOutput::Borrowed(SqlRef::Text(text.as_bytes())),
            ValueRef::Blob(bytes) => ToSqlOutput::Borrowed(SqlRef::Blob(bytes)),
            ValueRef::Now => ToSqlOutput::Borrowed(SqlRef::Text(self.1.as_bytes())),
        })
    }
}

/// Why a statement failed.
enum Failure {
    Sql(rusqlite::Error),
    Raw(RawError),
}

impl From<rusqlite::Error> for Failure {
    fn from(error: rusqlite::Error) -> Failure {
        Failure::Sql(error)
    }
}

impl From<CodecError> for Failure {
    fn from(error: CodecError) -> Failure {
        Failure::Raw(RawError::new(500, "db_codec", error.to_string()))
    }
}

impl TestDatabase {
    pub(super) fn open(extension: &str, clock: Clock) -> Result<TestDatabase, String> {
        let mut connection = Connection::open_in_memory().map_err(|error| error.to_string())?;
        connection.pragma_update(None, "foreign_keys", true).map_err(|error| error.to_string())?;
        let gate = Arc::new(Gate {
            prefix: format!("{extension}_"),
            open: AtomicBool::new(false),
            denied: Mutex::default(),
        });
        let asked = Arc::clone(&gate);
        connection
            .authorizer(Some(move |context: AuthContext<'_>| asked.authorize(&context)))
            .map_err(|error| error.to_string())?;
        let connection = Mutex::new(connection);
        Ok(TestDatabase { connection, gate, transaction: Mutex::default(), clock, applied: Mutex::new(0) })
    }

    /// Applies every `migrations/sqlite/*.up.sql` of the extension in order, then every `.down.sql` backwards and all
    /// of it once more, so that both ways are seen to work.
    pub(super) fn migrate(&self, folder: &Path) -> Result<(), String> {
        let folder = folder.join("migrations").join("sqlite");
        let up = scripts(&folder, ".up.sql")?;
        let mut down = scripts(&folder, ".down.sql")?;
        down.reverse();
        if up.len() != down.len() {
            return Err(format!("{}: each .up.sql needs its .down.sql", folder.display()));
        }
        for (name, script) in up.iter().chain(&down).chain(&up) {
            let connection = lock(&self.connection);
            connection.execute_batch(script).map_err(|error| {
                let words = self.explain(Failure::Sql(error)).words();
                format!("{}: {}", folder.join(name).display(), words.message)
            })?;
        }
        Ok(())
    }

    /// The clock's time as the database writes it, later than every time before.
    fn now(&self, connection: &Connection) -> Result<String, RawError> {
        let mut applied = lock(&self.applied);
        let elapsed = i64::try_from(self.clock.now().as_micros()).unwrap_or(i64::MAX);
        *applied = elapsed.max(*applied + 1);
        let (seconds, micros) = (EPOCH_SECONDS + *applied / 1_000_000, *applied % 1_000_000);
        let sql = "SELECT strftime('%Y-%m-%dT%H:%M:%S', ?1, 'unixepoch') || printf('.%06dZ', ?2)";
        connection
            .query_row(sql, [seconds, micros], |row| row.get(0))
            .map_err(|error| self.explain(error.into()))
    }

    pub(super) fn query(&self, sql: &str, params: &[u8]) -> Result<Vec<u8>, RawError> {
        let connection = lock(&self.connection);
        let now = self.now(&connection)?;
        let outcome = (|| {
            let mut statement = connection.prepare(sql)?;
            if !statement.readonly() {
                return Err(Failure::Raw(RawError::new(
                    500,
                    "db_sql",
                    "a query must not write: use `apply`",
                )));
            }
            bind(&mut statement, &mut Reader::new(params), &now)?;
            Ok(read_rows(&mut statement)?)
        })();
        outcome.map_err(|failure| self.explain(failure))
    }

    /// Applies a packed batch together or not at all.
    pub(super) fn apply(&self, transaction: Option<u64>, batch: &[u8]) -> Result<Vec<u8>, RawError> {
        self.within(transaction)?;
        let connection = lock(&self.connection);
        let now = self.now(&connection)?;
        self.engine(&connection, "SAVEPOINT batch")?;
        match self.apply_statements(&connection, batch, &now) {
            Ok(result) => {
                self.engine(&connection, "RELEASE batch")?;
                Ok(result)
            }
            Err(failure) => {
                let error = self.explain(failure);
                self.engine(&connection, "ROLLBACK TO batch")?;
                self.engine(&connection, "RELEASE batch")?;
                Err(error)
            }
        }
    }

    fn apply_statements(&self, connection: &Connection, batch: &[u8], now: &str) -> Result<Vec<u8>, Failure> {
        let mut reader = Reader::new(batch);
        let count = reader.u32()?;
        let mut result = BatchResultWriter::new(now);
        for position in 0..count {
            let head = reader.statement()?;
            let before = connection.total_changes();
            let rows = if is_script(head.sql) && reader.clone().u32()? == 0 {
                reader.u32()?;
                connection.execute_batch(head.sql)?;
                Vec::new()
            } else {
                let mut statement = connection.prepare(head.sql)?;
                bind(&mut statement, &mut reader, now)?;
                let rows = read_rows(&mut statement)?;
                if statement.column_count() == 0 { Vec::new() } else { rows }
            };
            let affected = if connection.total_changes() == before { 0 } else { connection.changes() };
            let met = match head.expect {
                Expect::Any => true,
                Expect::Exactly(wanted) => affected == wanted,
                Expect::AtLeast(wanted) => affected >= wanted,
            };
            if !met {
                let message = format!("statement {position} affected {affected} rows");
                let details = format!("{{\"statement\":{position},\"affected\":{affected}}}");
                let error = RawError::with_details(500, "db_condition", &message, &details);
                return Err(Failure::Raw(error));
            }
            result.push(affected, &rows);
        }
        Ok(result.finish())
    }

    pub(super) fn begin(&self) -> Result<u64, RawError> {
        let mut transactions = lock(&self.transaction);
        if transactions.open.is_some() {
            return Err(RawError::new(503, "db_busy", "another transaction is open"));
        }
        self.engine(&lock(&self.connection), "BEGIN IMMEDIATE")?;
        transactions.begun += 1;
        transactions.open = Some(transactions.begun);
        Ok(transactions.begun)
    }

    pub(super) fn end(&self, transaction: u64, commit: bool) -> Result<(), RawError> {
        self.within(Some(transaction))?;
        self.engine(&lock(&self.connection), if commit { "COMMIT" } else { "ROLLBACK" })?;
        lock(&self.transaction).open = None;
        Ok(())
    }

    /// Whether a call belongs to the transaction that is open, or there is none and it wants none.
    pub(super) fn within(&self, transaction: Option<u64>) -> Result<(), RawError> {
        match (transaction, lock(&self.transaction).open) {
            (wanted, open) if wanted == open => Ok(()),
            (None, _) => Err(RawError::new(
                503,
                "db_busy",
                "a transaction is open: a write beside it would wait for its end, and the test with it",
            )),
            _ => Err(RawError::new(500, "db_closed", "this transaction has ended")),
        }
    }

    /// Runs a statement of the engine's own.
    fn engine(&self, connection: &Connection, sql: &str) -> Result<(), RawError> {
        self.gate.open.store(true, Ordering::Relaxed);
        let outcome = connection.execute_batch(sql);
        self.gate.open.store(false, Ordering::Relaxed);
        outcome.map_err(|error| self.explain(error.into()))
    }

    fn explain(&self, failure: Failure) -> RawError {
        let denied = lock(&self.gate.denied).take();
        match (failure, denied) {
            (_, Some(table)) => {
                let own = &self.gate.prefix;
                RawError::new(500, DENIED, format!("{table} is not a table of this extension: write {own}…"))
            }
            (Failure::Raw(error), None) => error,
            (Failure::Sql(error), None) => sql_error(&error),
        }
    }
}

fn sql_error(error: &rusqlite::Error) -> RawError {
    let message = error.to_string();
    let extended = error.sqlite_error().map_or(0, |failure| failure.extended_code);
    match (error.sqlite_error_code(), extended) {
        (Some(ErrorCode::ConstraintViolation), 2067 | 1555 | 2579) => unique(&message),
        (Some(ErrorCode::ConstraintViolation), 787) => {
            RawError::new(409, "db_foreign_key", "a reference does not hold")
        }
        (Some(ErrorCode::ConstraintViolation), _) => RawError::new(500, "db_constraint", message),
        _ => RawError::new(500, "db_sql", message),
    }
}

/// Reads `UNIQUE constraint failed: t.a, t.b`.
fn unique(message: &str) -> RawError {
    let (_, what) = message.split_once("failed: ").unwrap_or(("", message));
    let parts: Vec<_> = what.split(", ").map(|part| part.split_once('.').unwrap_or(("", part))).collect();
    let table = parts.first().map_or("", |(table, _)| table);
    let columns: Vec<_> = parts.iter().map(|(_, column)| *column).collect();
    let details = serde_json::json!({"table": table, "columns": columns}).to_string();
    let message = format!("a value for {} is already taken", columns.join(", "));
    RawError::with_details(409, "db_unique", &message, &details)
}

fn bind(statement: &mut rusqlite::Statement<'_>, reader: &mut Reader<'_>, now: &str) -> Result<(), Failure> {
    let count = reader.values(|position, value| {
        Ok::<(), Failure>(statement.raw_bind_parameter(position + 1, Parameter(value, now))?)
    })?;
    if count != statement.parameter_count() {
        let wanted = statement.parameter_count();
        let message = format!("the statement has {wanted} parameters, {count} were given");
        return Err(Failure::Raw(RawError::new(500, "db_sql", message)));
    }
    Ok(())
}

fn read_rows(statement: &mut rusqlite::Statement<'_>) -> Result<Vec<u8>, rusqlite::Error> {
    let columns: Vec<_> = statement.column_names().map(str::to_owned).collect();
    let mut writer = RowsWriter::new(columns.iter().map(String::as_str));
    let mut rows = statement.raw_query();
    while let Some(row) = rows.next()? {
        for column in 0..columns.len() {
            let value = row.get_ref(column)?;
            writer.push(match value {
                SqlRef::Null => ValueRef::Null,
                SqlRef::Integer(number) => ValueRef::Integer(number),
                SqlRef::Real(number) => ValueRef::Real(number),
                SqlRef::Text(_) => ValueRef::Text(value.as_str()?),
                SqlRef::Blob(bytes) => ValueRef::Blob(bytes),
            });
        }
        writer.end_row();
    }
    Ok(writer.finish())
}

fn is_script(sql: &str) -> bool {
    sql.trim_end().trim_end_matches(';').contains(';')
}

fn scripts(folder: &Path, ending: &str) -> Result<Vec<(String, String)>, String> {
    let Ok(entries) = fs::read_dir(folder) else { return Ok(Vec::new()) };
    let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    let mut names: Vec<_> = names.filter(|name| name.ends_with(ending)).collect();
    names.sort();
    let read = |name: String| {
        let script = fs::read_to_string(folder.join(&name)).map_err(|error| format!("{name}: {error}"))?;
        Ok((name, script))
    };
    names.into_iter().map(read).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_rfc_3339_and_never_the_same_twice() {
        let clock = Clock::default();
        let database = TestDatabase::open("notes", clock.clone()).unwrap();
        let now = || database.now(&lock(&database.connection)).unwrap();
        assert_eq!(
            (now(), now()),
            ("2026-01-01T00:00:00.000001Z".into(), "2026-01-01T00:00:00.000002Z".into())
        );
        clock.run(clock.sleep(std::time::Duration::from_hours(24 * 789)));
        assert_eq!(now(), "2028-02-29T00:00:00.000000Z");
    }

    fn batch(statements: &[(&str, Expect)]) -> Vec<u8> {
        let mut writer = tinybase_abi::codec::BatchWriter::default();
        for (sql, expect) in statements {
            writer.push(sql, [], *expect);
        }
        writer.finish()
    }

    #[test]
    fn a_batch_is_applied_together_or_not_at_all_within_its_own_tables() {
        let database = TestDatabase::open("notes", Clock::default()).unwrap();
        let apply = |statements: &[(&str, Expect)]| {
            let outcome = database.apply(None, &batch(statements));
            outcome.map(|_| ()).map_err(|error| error.words().code)
        };
        let any = Expect::Any;
        let table = "CREATE TABLE notes_a(x UNIQUE, y REFERENCES notes_a(x), z NOT NULL DEFAULT 1)";
        assert_eq!(apply(&[(table, any), ("INSERT INTO notes_a(x) VALUES (1)", Expect::Exactly(1))]), Ok(()));
        for (sql, expect, code) in [
            ("INSERT INTO notes_a(x) VALUES (1)", any, "db_unique"),
            ("INSERT INTO notes_a(x, y) VALUES (2, 9)", any, "db_foreign_key"),
            ("INSERT INTO notes_a(x, z) VALUES (2, NULL)", any, "db_constraint"),
            ("DELETE FROM notes_a WHERE x = 5", Expect::AtLeast(1), "db_condition"),
            ("CREATE TABLE other(x)", any, "db_denied"),
            ("ATTACH 'x' AS x", any, "db_denied"),
            ("COMMIT", any, "db_denied"),
            ("NONSENSE", any, "db_sql"),
        ] {
            let outcome = apply(&[("INSERT INTO notes_a(x) VALUES (7)", any), (sql, expect)]);
            assert_eq!(outcome, Err(code.to_owned()), "{sql}");
        }
        let rows = database.query("SELECT count(*) FROM notes_a", &0u32.to_le_bytes()).unwrap();
        assert_eq!(rows, {
            let mut writer = RowsWriter::new(["count(*)"].into_iter());
            writer.push(ValueRef::Integer(1));
            writer.end_row();
            writer.finish()
        });
    }
}

//! An in-memory SQLite behind the `database` interface, with the same results and error codes as the host's, on one
//! connection. It never touches a file.

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicBool, Ordering},
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

use super::{Sql, lock};

/// The code for a statement that writes to a table outside the extension's own.
const DENIED: &str = "db_denied";

/// The host's table that an extension may reference.
const USERS: &str = "CREATE TABLE tb_users (id TEXT PRIMARY KEY)";

pub(super) struct Sqlite {
    connection: Mutex<Connection>,
    gate: Arc<Gate>,
}

/// Allows writes only to the extension's own tables.
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

/// A value to bind to a statement.
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

/// The reason why a statement failed.
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

impl Sqlite {
    pub(super) fn open(extension: &str) -> Result<Sqlite, String> {
        let mut connection = Connection::open_in_memory().map_err(|error| error.to_string())?;
        connection.pragma_update(None, "foreign_keys", true).map_err(|error| error.to_string())?;
        connection.execute_batch(USERS).map_err(|error| error.to_string())?;
        let gate = Arc::new(Gate {
            prefix: format!("{extension}_"),
            open: AtomicBool::new(false),
            denied: Mutex::default(),
        });
        let asked = Arc::clone(&gate);
        connection
            .authorizer(Some(move |context: AuthContext<'_>| asked.authorize(&context)))
            .map_err(|error| error.to_string())?;
        Ok(Sqlite { connection: Mutex::new(connection), gate })
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
                let error = RawError::with_details(409, "db_condition", &message, &details);
                return Err(Failure::Raw(error));
            }
            result.push(affected, &rows);
        }
        Ok(result.finish())
    }

    /// Runs a statement of the engine itself, outside the gate.
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

impl Sql for Sqlite {
    fn number(&self) -> u8 {
        0
    }

    fn query(&self, _in_transaction: bool, sql: &str, params: &[u8], now: &str) -> Result<Vec<u8>, RawError> {
        let connection = lock(&self.connection);
        let outcome = (|| {
            let mut statement = connection.prepare(sql)?;
            if !statement.readonly() {
                return Err(Failure::Raw(RawError::new(
                    500,
                    "db_sql",
                    "a query must not write: use `apply`",
                )));
            }
            bind(&mut statement, &mut Reader::new(params), now)?;
            Ok(read_rows(&mut statement)?)
        })();
        outcome.map_err(|failure| self.explain(failure))
    }

    fn apply(&self, _in_transaction: bool, batch: &[u8], now: &str) -> Result<Vec<u8>, RawError> {
        let connection = lock(&self.connection);
        self.engine(&connection, "SAVEPOINT batch")?;
        match self.apply_statements(&connection, batch, now) {
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

    fn migrate(&self, script: &str) -> Result<(), RawError> {
        lock(&self.connection).execute_batch(script).map_err(|error| self.explain(error.into()))
    }

    fn begin(&self) -> Result<(), RawError> {
        self.engine(&lock(&self.connection), "BEGIN IMMEDIATE")
    }

    fn end(&self, commit: bool) -> Result<(), RawError> {
        self.engine(&lock(&self.connection), if commit { "COMMIT" } else { "ROLLBACK" })
    }

    fn add_user(&self, id: &str) -> Result<(), RawError> {
        let connection = lock(&self.connection);
        self.gate.open.store(true, Ordering::Relaxed);
        let added = connection.execute("INSERT OR IGNORE INTO tb_users (id) VALUES (?1)", [id]);
        self.gate.open.store(false, Ordering::Relaxed);
        added.map(|_| ()).map_err(|error| self.explain(error.into()))
    }

    /// The database ends with the process.
    fn close(&self) {}
}

fn sql_error(error: &rusqlite::Error) -> RawError {
    let message = error.to_string();
    let extended = error.sqlite_error().map_or(0, |failure| failure.extended_code);
    match (error.sqlite_error_code(), extended) {
        (Some(ErrorCode::ConstraintViolation), 2067 | 1555 | 2579) => unique(&message),
        (Some(ErrorCode::ConstraintViolation), 787) => {
            RawError::new(409, "db_foreign_key", "a reference does not hold")
        }
        (Some(ErrorCode::ConstraintViolation), _) => RawError::new(400, "db_constraint", message),
        _ if is_too_deep(&message) => RawError::new(500, "db_statement_too_deep", message),
        _ => RawError::new(500, "db_sql", message),
    }
}

/// Returns whether SQLite rejected a statement because of its nesting depth, which has no error code of its own.
fn is_too_deep(message: &str) -> bool {
    ["Expression tree is too large", "parser stack overflow", "Recursion limit", "too many terms in compound"]
        .iter()
        .any(|words| message.contains(words))
}

/// Parses `UNIQUE constraint failed: t.a, t.b`.
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

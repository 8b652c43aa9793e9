//! Runs one call on one connection, atomically, and maps failures to the server's error codes. It does not know the
//! test host.

use futures_util::StreamExt;
use serde_json::json;
use sqlx::{
    AssertSqlSafe, Column, Either, Executor, PgConnection, SqlSafeStr, Statement,
    postgres::{PgDatabaseError, PgStatement},
};
use tinybase_abi::{
    codec::{BatchResultWriter, CodecError, Expect, Reader, RowsWriter},
    error::RawError,
};
use tinybase_postgres::{
    StatementError,
    scope::{self, StatementKind},
    server_error::{ServerError, UNIQUE_COLUMNS},
    text::{is_script, number_params},
    values::{self, Param, Wire},
};

/// One call.
pub(super) enum Step<'a> {
    /// A read, with packed parameters.
    Query(&'a str, &'a [u8]),
    /// A packed batch.
    Apply(&'a [u8]),
    /// The statements of a migration.
    Script(&'a str),
}

/// The reason why a step failed.
enum Failure {
    Told(RawError),
    /// The columns are looked up after the step is rolled back, before the error is returned.
    Unique {
        table: String,
        constraint: String,
    },
}

/// Creates an error that states whether the same call may succeed later.
fn error(status: u16, code: &str, message: &str, retryable: bool) -> RawError {
    let mut error = RawError::new(status, code, message);
    error.retryable = retryable.into();
    error
}

fn with_details(status: u16, code: &str, message: &str, details: &serde_json::Value) -> Failure {
    Failure::Told(RawError::with_details(status, code, message, &details.to_string()))
}

impl From<CodecError> for Failure {
    fn from(fault: CodecError) -> Failure {
        StatementError::from(fault).into()
    }
}

impl From<StatementError> for Failure {
    fn from(fault: StatementError) -> Failure {
        let message = fault.to_string();
        match fault {
            StatementError::Denied { table, .. } => {
                with_details(500, "db_denied", &message, &json!({"table": table}))
            }
            StatementError::TooDeep { .. } => {
                Failure::Told(error(500, "db_statement_too_deep", &message, false))
            }
            StatementError::Sql(_) => Failure::Told(error(500, "db_sql", &message, false)),
            StatementError::InvalidValue(_) => Failure::Told(error(422, "db_invalid_value", &message, false)),
            StatementError::Codec(_) => Failure::Told(error(500, "db_codec", &message, false)),
        }
    }
}

impl From<sqlx::Error> for Failure {
    fn from(fault: sqlx::Error) -> Failure {
        of(&fault, ServerError::of)
    }
}

/// Maps an error that the server reports while it parses a statement.
fn of_reading(fault: sqlx::Error) -> Failure {
    of(&fault, ServerError::of_reading)
}

fn of(fault: &sqlx::Error, meaning: fn(&PgDatabaseError) -> ServerError) -> Failure {
    let server = fault.as_database_error().and_then(|fault| fault.try_downcast_ref::<PgDatabaseError>());
    let Some(server) = server else {
        return Failure::Told(error(503, "db_unavailable", &fault.to_string(), true));
    };
    Failure::Told(match meaning(server) {
        ServerError::Unique { table, constraint } => return Failure::Unique { table, constraint },
        ServerError::ForeignKey => error(409, "db_foreign_key", "a reference does not hold", false),
        ServerError::Constraint(problem) => error(400, "db_constraint", &problem, false),
        ServerError::InvalidValue(problem) => error(422, "db_invalid_value", &problem, false),
        ServerError::Stale(problem) => error(503, "db_schema_changed", &problem, true),
        ServerError::Cancelled => {
            error(504, "db_timeout", "the statement took longer than a test may wait", true)
        }
        ServerError::Contended | ServerError::Busy => error(503, "db_busy", "the database is busy", true),
        ServerError::DiskFull(problem) => error(507, "disk_full", &problem, true),
        ServerError::Lost(problem) => error(503, "db_unavailable", &problem, true),
        ServerError::TooDeep(problem) => error(500, "db_statement_too_deep", &problem, false),
        ServerError::Sql(problem) => error(500, "db_sql", &problem, false),
    })
}

/// Runs a step between `begin` and `keep`. If it fails, `undo` rolls back this step only.
pub(super) async fn enclosed(
    link: &mut PgConnection,
    extension: &str,
    [begin, keep, undo]: [&'static str; 3],
    step: &Step<'_>,
    now: &str,
) -> Result<Vec<u8>, RawError> {
    engine(link, begin).await?;
    let done = match run(link, extension, step, now).await {
        Ok(answer) => sqlx::raw_sql(keep).execute(&mut *link).await.map(|_| answer).map_err(Failure::from),
        Err(failure) => {
            engine(link, undo).await?;
            Err(failure)
        }
    };
    match done {
        Ok(answer) => Ok(answer),
        Err(Failure::Told(error)) => Err(error),
        Err(Failure::Unique { table, constraint }) => Err(unique(link, &table, constraint).await),
    }
}

async fn run(
    link: &mut PgConnection,
    extension: &str,
    step: &Step<'_>,
    now: &str,
) -> Result<Vec<u8>, Failure> {
    match step {
        Step::Query(sql, params) => {
            let prepared = Prepared::new(link, extension, sql).await?;
            if prepared.kind != StatementKind::Read {
                let message = "a query must change nothing; apply it in a batch".to_owned();
                return Err(StatementError::Sql(message).into());
            }
            let (_, rows) = prepared.execute(link, &mut Reader::new(params), now).await?;
            Ok(rows.unwrap_or_else(|| prepared.rows()).finish())
        }
        Step::Apply(packed) => apply(link, extension, packed, now).await,
        Step::Script(sql) => script(link, extension, sql).await.map(|_| Vec::new()),
    }
}

async fn apply(
    link: &mut PgConnection,
    extension: &str,
    packed: &[u8],
    now: &str,
) -> Result<Vec<u8>, Failure> {
    let mut reader = Reader::new(packed);
    let mut result = BatchResultWriter::new(now);
    for position in 0..reader.u32()? {
        let head = reader.statement()?;
        let (affected, rows) = if reader.clone().u32()? == 0 && is_script(head.sql) {
            reader.u32()?;
            (script(link, extension, head.sql).await?, None)
        } else {
            let prepared = Prepared::new(link, extension, head.sql).await?;
            prepared.execute(link, &mut reader, now).await?
        };
        let met = match head.expect {
            Expect::Any => true,
            Expect::Exactly(wanted) => affected == wanted,
            Expect::AtLeast(wanted) => affected >= wanted,
        };
        if !met {
            let message = format!("statement {position} affected {affected} rows");
            let details = json!({"statement": position, "affected": affected});
            return Err(with_details(409, "db_condition", &message, &details));
        }
        result.push(affected, &rows.map(RowsWriter::finish).unwrap_or_default());
    }
    Ok(result.finish())
}

async fn script(link: &mut PgConnection, extension: &str, sql: &str) -> Result<u64, Failure> {
    scope::check(Some(extension), sql)?;
    Ok(sqlx::raw_sql(AssertSqlSafe(sql)).execute(link).await.map_err(of_reading)?.rows_affected())
}

/// A prepared statement.
struct Prepared {
    sql: String,
    statement: PgStatement,
    kind: StatementKind,
    columns: Vec<Wire>,
}

impl Prepared {
    async fn new(link: &mut PgConnection, extension: &str, sql: &str) -> Result<Prepared, Failure> {
        let sql = number_params(sql);
        let kind = scope::check(Some(extension), &sql)?;
        let statement = link.prepare(AssertSqlSafe(sql.clone()).into_sql_str()).await.map_err(of_reading)?;
        let columns = statement.columns().iter().map(|column| Wire::of(column.type_info())).collect();
        Ok(Prepared { sql, statement, kind, columns })
    }

    /// Begins the rows of the result.
    fn rows(&self) -> RowsWriter {
        RowsWriter::new(self.statement.columns().iter().map(Column::name))
    }

    /// Executes the statement. Returns the number of affected rows, and the returned rows if there are any.
    async fn execute(
        &self,
        link: &mut PgConnection,
        params: &mut Reader<'_>,
        now: &str,
    ) -> Result<(u64, Option<RowsWriter>), Failure> {
        let wanted: Vec<Param> = match self.statement.parameters() {
            Some(Either::Left(infos)) => infos.iter().cloned().map(Param::new).collect(),
            _ => Vec::new(),
        };
        let arguments = values::encode(params, &wanted, now)?;
        let mut rows = (!self.columns.is_empty()).then(|| self.rows());
        let mut affected = 0;
        let query = sqlx::query_with(AssertSqlSafe(self.sql.clone()), arguments);
        let mut answers = link.fetch_many(query);
        while let Some(answer) = answers.next().await {
            match answer? {
                Either::Left(done) => affected += done.rows_affected(),
                Either::Right(row) => {
                    if let Some(rows) = &mut rows {
                        values::pack_row(&row, &self.columns, rows)?;
                    }
                }
            }
        }
        if self.kind == StatementKind::Read {
            affected = 0;
        }
        Ok((affected, rows))
    }
}

/// Describes a unique violation: the table and the columns of the constraint, or the constraint's name if it is on an
/// expression.
async fn unique(link: &mut PgConnection, table: &str, constraint: String) -> RawError {
    let asked = sqlx::query_scalar(UNIQUE_COLUMNS).bind(&constraint).fetch_all(link).await;
    let mut columns: Vec<String> = asked.unwrap_or_default();
    if columns.is_empty() {
        columns.push(constraint);
    }
    let details = json!({"table": table, "columns": columns}).to_string();
    let message = format!("a value for {} is already taken", columns.join(", "));
    RawError::with_details(409, "db_unique", &message, &details)
}

/// Runs a statement of the engine itself.
pub(super) async fn engine(link: &mut PgConnection, sql: &'static str) -> Result<(), RawError> {
    told(sqlx::raw_sql(sql).execute(link).await)
}

/// Adds a user that statements can reference.
pub(super) async fn add_user(link: &mut PgConnection, id: &str) -> Result<(), RawError> {
    told(
        sqlx::query("INSERT INTO tb_users (id) VALUES ($1) ON CONFLICT DO NOTHING")
            .bind(id)
            .execute(link)
            .await,
    )
}

fn told<T>(done: Result<T, sqlx::Error>) -> Result<(), RawError> {
    match done.map_err(Failure::from) {
        Ok(_) => Ok(()),
        Err(Failure::Told(error)) => Err(error),
        Err(Failure::Unique { table, constraint }) => {
            let message = format!("a value for {constraint} of {table} is already taken");
            Err(RawError::new(409, "db_unique", message))
        }
    }
}

//! Real databases for the tests of SQL: SQLite in memory and, if `TINYBASE_TEST_POSTGRES_URL` is set, a PostgreSQL
//! schema per test. A test runs on each of them and expects the same results.

use std::{
    env, process,
    sync::atomic::{AtomicU32, Ordering},
};

use rusqlite::types::Value;
use sqlx::{AssertSqlSafe, Column, Connection as _, PgConnection, Row, TypeInfo, ValueRef};
use tokio::runtime::Runtime;

use crate::{dialect::Dialect, sql_value::SqlValue};

/// The host's tables that the extension's tables depend on.
const HOST: [(Dialect, &str); 2] = [
    (Dialect::Sqlite, "PRAGMA foreign_keys=ON; CREATE TABLE tb_users(id TEXT PRIMARY KEY);"),
    (
        Dialect::Postgres,
        "CREATE TABLE tb_users(id TEXT COLLATE \"C\" PRIMARY KEY);
         CREATE FUNCTION tb_note_change() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';",
    ),
];
const MIGRATIONS: [(Dialect, &str); 4] = [
    (Dialect::Sqlite, include_str!("../migrations/sqlite/0001_catalog.up.sql")),
    (Dialect::Sqlite, include_str!("../migrations/sqlite/0002_numbers.up.sql")),
    (Dialect::Postgres, include_str!("../migrations/postgres/0001_catalog.up.sql")),
    (Dialect::Postgres, include_str!("../migrations/postgres/0002_numbers.up.sql")),
];

/// A database with the extension's own tables.
pub(crate) struct Store {
    pub(crate) dialect: Dialect,
    engine: Engine,
}

enum Engine {
    Sqlite(rusqlite::Connection),
    Postgres(Box<Server>),
}

struct Server {
    runtime: Runtime,
    connection: Option<PgConnection>,
    schema: String,
    prepared: u32,
}

/// Returns every available test database.
pub(crate) fn stores() -> Vec<Store> {
    let mut engines = vec![Engine::Sqlite(rusqlite::Connection::open_in_memory().unwrap())];
    match env::var("TINYBASE_TEST_POSTGRES_URL") {
        Ok(url) => engines.push(Engine::Postgres(Box::new(Server::connect(&url)))),
        Err(_) => eprintln!("on SQLite alone: TINYBASE_TEST_POSTGRES_URL names no PostgreSQL"),
    }
    engines.into_iter().map(Store::new).collect()
}

impl Store {
    fn new(engine: Engine) -> Store {
        let dialect = match engine {
            Engine::Sqlite(_) => Dialect::Sqlite,
            Engine::Postgres(_) => Dialect::Postgres,
        };
        let mut store = Store { dialect, engine };
        for (_, script) in HOST.iter().chain(&MIGRATIONS).filter(|(of, _)| *of == dialect) {
            store.script(script);
        }
        store
    }

    /// Runs statements; returns an error as text.
    pub(crate) fn try_script(&mut self, sql: &str) -> Result<(), String> {
        match &mut self.engine {
            Engine::Sqlite(connection) => connection.execute_batch(sql).map_err(|error| error.to_string()),
            Engine::Postgres(server) => server.run(sql).map(drop).map_err(|error| error.to_string()),
        }
    }

    /// Runs statements.
    pub(crate) fn script(&mut self, sql: &str) {
        self.try_script(sql).unwrap_or_else(|error| panic!("{:?}: {sql}: {error}", self.dialect));
    }

    /// Runs a statement with parameters; returns its rows.
    pub(crate) fn try_rows(&mut self, sql: &str, params: &[SqlValue]) -> Result<Vec<Vec<SqlValue>>, String> {
        match &mut self.engine {
            Engine::Sqlite(connection) => {
                sqlite_rows(connection, sql, params).map_err(|error| error.to_string())
            }
            Engine::Postgres(server) => {
                let rows = server.run_with(sql, params).map_err(|error| error.to_string())?;
                Ok(rows.iter().map(|row| (0..row.len()).map(|at| value(row, at)).collect()).collect())
            }
        }
    }

    /// Runs a statement with parameters; returns its rows.
    pub(crate) fn rows(&mut self, sql: &str, params: &[SqlValue]) -> Vec<Vec<SqlValue>> {
        self.try_rows(sql, params).unwrap_or_else(|error| panic!("{:?}: {sql}: {error}", self.dialect))
    }

    /// Returns the first value of the first row.
    pub(crate) fn value(&mut self, sql: &str) -> SqlValue {
        self.rows(sql, &[])[0][0].clone()
    }
}

fn sqlite_rows(
    connection: &rusqlite::Connection,
    sql: &str,
    params: &[SqlValue],
) -> rusqlite::Result<Vec<Vec<SqlValue>>> {
    let mut statement = connection.prepare(sql)?;
    let params = params.iter().map(|value| match value {
        SqlValue::Integer(number) => Value::Integer(*number),
        SqlValue::Real(number) => Value::Real(*number),
        SqlValue::Text(text) => Value::Text(text.clone()),
        _ => Value::Null,
    });
    let width = statement.column_count();
    let rows = statement.query_map(rusqlite::params_from_iter(params), |row| {
        let value = |at| {
            Ok(match row.get::<_, Value>(at)? {
                Value::Integer(number) => SqlValue::Integer(number),
                Value::Real(number) => SqlValue::Real(number),
                Value::Text(text) => SqlValue::Text(text),
                _ => SqlValue::Null,
            })
        };
        (0..width).map(value).collect()
    })?;
    rows.collect()
}

impl Server {
    fn connect(url: &str) -> Server {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let connection = runtime.block_on(PgConnection::connect(url)).unwrap();
        let schema = format!("collections_{}_{}", process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let mut server = Server { runtime, connection: Some(connection), schema, prepared: 0 };
        let make =
            format!("CREATE SCHEMA {0}; SET search_path = {0}; SET extra_float_digits = 1", server.schema);
        server.run(&make).unwrap();
        server
    }

    fn run(&mut self, sql: &str) -> Result<Vec<sqlx::postgres::PgRow>, sqlx::Error> {
        let connection = self.connection.as_mut().expect("the connection ends with the server");
        self.runtime.block_on(sqlx::raw_sql(AssertSqlSafe(sql)).fetch_all(connection))
    }
}

impl Server {
    /// Prepares the statement, so that the server infers the types of its parameters as it does for the host.
    fn run_with(
        &mut self,
        sql: &str,
        params: &[SqlValue],
    ) -> Result<Vec<sqlx::postgres::PgRow>, sqlx::Error> {
        if params.is_empty() {
            return self.run(sql);
        }
        self.prepared += 1;
        let name = format!("test_{}", self.prepared);
        let (explain, prepared) = sql.strip_prefix("EXPLAIN ").map_or(("", sql), |rest| ("EXPLAIN ", rest));
        self.run(&format!("PREPARE {name} AS {}", prepared.replace('?', "$")))?;
        let values: Vec<String> = params.iter().map(literal).collect();
        let rows = self.run(&format!("{explain}EXECUTE {name}({})", values.join(",")));
        self.run(&format!("DEALLOCATE {name}"))?;
        rows
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.run(&format!("DROP SCHEMA {} CASCADE", self.schema));
        if let Some(connection) = self.connection.take() {
            let _ = self.runtime.block_on(connection.close());
        }
    }
}

/// Formats a value as a literal of the parameter's type.
fn literal(value: &SqlValue) -> String {
    match value {
        SqlValue::Null => "NULL".to_owned(),
        SqlValue::Integer(number) => format!("'{number}'"),
        SqlValue::Real(number) => format!("'{number:?}'"),
        SqlValue::Text(text) => format!("'{}'", text.replace('\'', "''")),
        other => panic!("no value of these tests: {other:?}"),
    }
}

/// Returns a value as the host's engine returns it.
fn value(row: &sqlx::postgres::PgRow, at: usize) -> SqlValue {
    let raw = row.try_get_raw(at).unwrap();
    if raw.is_null() {
        return SqlValue::Null;
    }
    let text = raw.as_str().unwrap().to_owned();
    match row.columns()[at].type_info().name() {
        "BOOL" => SqlValue::Integer((text == "t").into()),
        "INT2" | "INT4" | "INT8" => SqlValue::Integer(text.parse().unwrap()),
        "FLOAT8" => SqlValue::Real(text.parse().unwrap()),
        "NUMERIC" => match text.parse() {
            Ok(number) => SqlValue::Integer(number),
            Err(_) => SqlValue::Real(text.parse().unwrap()),
        },
        _ => SqlValue::Text(text),
    }
}

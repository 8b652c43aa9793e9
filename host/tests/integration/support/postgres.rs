//! A database per test on the PostgreSQL server in `TINYBASE_TEST_POSTGRES_URL`, for tests that are about that engine.

use std::{
    env,
    sync::Arc,
    time::{Duration, Instant},
};

use sqlx::{AssertSqlSafe, Connection, PgConnection};
use tinybase_abi::codec::{Expect, Value, pack_values};
use tinybase_host::db::{
    Database, DbError, Query, ReadHint, SqlOwner,
    postgres::{Postgres, PostgresOptions},
};

use super::db::{Done, Statement, batch, unpack_done, unpack_rows};

const NONE: [Value; 0] = [];
/// How long a test waits for a condition.
pub(crate) const LONG: Duration = Duration::from_secs(20);

/// A database that is dropped at the end of its test.
pub(crate) struct FreshPostgres {
    pub(crate) db: Arc<Postgres>,
    pub(crate) server: String,
    pub(crate) name: String,
    pub(crate) options: PostgresOptions,
}

impl FreshPostgres {
    pub(crate) async fn open() -> Option<FreshPostgres> {
        FreshPostgres::open_with(|_| {}).await
    }

    pub(crate) async fn open_with(choose: impl FnOnce(&mut PostgresOptions)) -> Option<FreshPostgres> {
        let Ok(server) = env::var("TINYBASE_TEST_POSTGRES_URL") else {
            println!("skipped: TINYBASE_TEST_POSTGRES_URL names no PostgreSQL server");
            return None;
        };
        let name = format!("test_{}", uuid::Uuid::new_v4().simple());
        run_on(&server, &format!("CREATE DATABASE {name}")).await;
        let base = server.rsplit_once('/').unwrap().0;
        let mut options = PostgresOptions::new(format!("{base}/{name}"));
        choose(&mut options);
        let db = Postgres::open(&options).await.unwrap();
        Some(FreshPostgres { db, server, name, options })
    }

    pub(crate) async fn run(&self, statements: &[Statement<'_>]) -> Result<Done, DbError> {
        self.run_as(&SqlOwner::Host, statements).await
    }

    pub(crate) async fn run_as(
        &self,
        scope: &SqlOwner,
        statements: &[Statement<'_>],
    ) -> Result<Done, DbError> {
        Ok(unpack_done(&self.db.apply(scope, batch(statements)).await?))
    }

    pub(crate) async fn script(&self, sql: &str) {
        self.run(&[(sql, &NONE, Expect::Any)]).await.unwrap();
    }

    pub(crate) async fn rows(&self, sql: &str, params: &[Value]) -> Result<Vec<Vec<Value>>, DbError> {
        self.rows_as(&SqlOwner::Host, sql, params, None).await
    }

    pub(crate) async fn rows_as(
        &self,
        scope: &SqlOwner,
        sql: &str,
        params: &[Value],
        deadline: Option<Duration>,
    ) -> Result<Vec<Vec<Value>>, DbError> {
        let params = pack_values(params.iter().map(Value::as_ref));
        let query = Query { scope, sql, params: &params, hint: ReadHint::Indexed, deadline };
        Ok(unpack_rows(&self.db.query(query).await?))
    }

    pub(crate) async fn end(self) {
        self.db.shut_down().await;
        run_on(&self.server, &format!("DROP DATABASE {} WITH (FORCE)", self.name)).await;
    }
}

pub(crate) async fn run_on(server: &str, sql: &str) {
    let mut connection = PgConnection::connect(server).await.unwrap();
    sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut connection).await.unwrap();
}

pub(crate) async fn wait_until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let ends_at = Instant::now() + LONG;
    while !holds().await {
        assert!(Instant::now() < ends_at, "{what} did not come about");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

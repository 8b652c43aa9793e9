//! A database on a PostgreSQL server, owned by one test host. Statements are interpreted by the same code as in the
//! server. It touches no other database of that server and never retries.

mod run;

use std::{panic::resume_unwind, sync::Mutex, thread, time::Duration};

use sqlx::{AssertSqlSafe, ConnectOptions, Connection, Executor, PgConnection, postgres::PgConnectOptions};
use tinybase_abi::error::RawError;
use tokio::runtime::{Builder, Runtime};
use uuid::Uuid;

use self::run::Step;
use super::{Sql, lock};

/// The timeout of a statement, including lock waits. A test that blocks itself fails after it.
const STATEMENT_TIMEOUT: Duration = Duration::from_secs(10);

/// The host's objects that an extension's tables may depend on: the ids of users, and the function that notifies other
/// nodes.
const HOST: &str = "CREATE TABLE tb_users (id TEXT COLLATE \"C\" PRIMARY KEY);
    CREATE FUNCTION tb_note_change() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';";

/// The statements that begin, keep and undo a batch, outside and inside a transaction.
const ALONE: [&str; 3] = ["BEGIN", "COMMIT", "ROLLBACK"];
const WITHIN: [&str; 3] = [
    "SAVEPOINT tb_step",
    "RELEASE SAVEPOINT tb_step",
    "ROLLBACK TO SAVEPOINT tb_step; RELEASE SAVEPOINT tb_step",
];

pub(super) struct Postgres {
    runtime: Runtime,
    links: Mutex<Option<Links>>,
    server: PgConnectOptions,
    /// The database's name.
    name: String,
    extension: String,
}

/// The connections. A transaction has its own, so that reads outside it do not see its uncommitted changes.
struct Links {
    beside: PgConnection,
    open: PgConnection,
}

impl Postgres {
    pub(super) fn open(server: &str, extension: &str) -> Result<Postgres, String> {
        let reason = |error: sqlx::Error| format!("the PostgreSQL server of the tests: {error}");
        let server: PgConnectOptions = server.parse().map_err(reason)?;
        let server = server
            // Each statement is prepared again, so that none is older than the schema.
            .statement_cache_capacity(0)
            .options([
                ("statement_timeout", STATEMENT_TIMEOUT.as_millis().to_string().as_str()),
                ("client_min_messages", "warning"),
            ])
            .disable_statement_logging();
        let runtime =
            Builder::new_current_thread().enable_all().build().map_err(|error| error.to_string())?;
        let name = format!("tinybase_test_{}", Uuid::new_v4().simple());
        let database =
            Postgres { runtime, links: Mutex::new(None), server, name, extension: extension.to_owned() };
        let links = database.wait(database.make()).map_err(reason)?;
        *lock(&database.links) = Some(links);
        Ok(database)
    }

    async fn make(&self) -> Result<Links, sqlx::Error> {
        let create = format!("CREATE DATABASE {} TEMPLATE template0 ENCODING 'UTF8'", self.name);
        let mut connection = self.server.connect().await?;
        connection.execute(AssertSqlSafe(create)).await?;
        connection.close().await?;
        let own = self.server.clone().database(&self.name);
        let (mut beside, open) = (own.connect().await?, own.connect().await?);
        beside.execute(HOST).await?;
        Ok(Links { beside, open })
    }

    async fn remove(&self, links: Links) -> Result<(), sqlx::Error> {
        links.beside.close().await?;
        links.open.close().await?;
        let drop = format!("DROP DATABASE IF EXISTS {} WITH (FORCE)", self.name);
        let mut connection = self.server.connect().await?;
        connection.execute(AssertSqlSafe(drop)).await?;
        connection.close().await
    }

    /// Waits for `work` on a separate thread, since the calling thread may already be inside another runtime.
    fn wait<T: Send>(&self, work: impl Future<Output = T> + Send) -> T {
        let waited = thread::scope(|scope| scope.spawn(|| self.runtime.block_on(work)).join());
        waited.unwrap_or_else(|panic| resume_unwind(panic))
    }

    /// Runs a step on the connection it belongs to.
    fn step(&self, in_transaction: bool, step: &Step<'_>, now: &str) -> Result<Vec<u8>, RawError> {
        let mut links = lock(&self.links);
        let links = links.as_mut().ok_or_else(ended)?;
        let (link, enclosure) =
            if in_transaction { (&mut links.open, WITHIN) } else { (&mut links.beside, ALONE) };
        self.wait(run::enclosed(link, &self.extension, enclosure, step, now))
    }

    /// Runs a statement of the engine itself on the connection for transactions.
    fn engine(&self, sql: &'static str) -> Result<(), RawError> {
        let mut links = lock(&self.links);
        let links = links.as_mut().ok_or_else(ended)?;
        self.wait(run::engine(&mut links.open, sql))
    }
}

fn ended() -> RawError {
    RawError::new(503, "db_closed", "the test host has ended")
}

impl Sql for Postgres {
    fn number(&self) -> u8 {
        1
    }

    fn query(&self, in_transaction: bool, sql: &str, params: &[u8], now: &str) -> Result<Vec<u8>, RawError> {
        self.step(in_transaction, &Step::Query(sql, params), now)
    }

    fn apply(&self, in_transaction: bool, batch: &[u8], now: &str) -> Result<Vec<u8>, RawError> {
        self.step(in_transaction, &Step::Apply(batch), now)
    }

    fn migrate(&self, script: &str) -> Result<(), RawError> {
        self.step(false, &Step::Script(script), "").map(|_| ())
    }

    fn begin(&self) -> Result<(), RawError> {
        self.engine("BEGIN")
    }

    fn end(&self, commit: bool) -> Result<(), RawError> {
        self.engine(if commit { "COMMIT" } else { "ROLLBACK" })
    }

    fn add_user(&self, id: &str) -> Result<(), RawError> {
        let mut links = lock(&self.links);
        let links = links.as_mut().ok_or_else(ended)?;
        self.wait(run::add_user(&mut links.beside, id))
    }

    fn close(&self) {
        let links = lock(&self.links).take();
        if let Some(links) = links {
            // The server, and the database with it, may be gone already.
            let _ = self.wait(self.remove(links));
        }
    }
}

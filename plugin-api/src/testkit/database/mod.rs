//! The database of the test host: one transaction at a time, and a clock that never returns the same time twice. Each
//! engine that runs SQL has its own file, and returns the same results and error codes as the server's.

#[cfg(feature = "testkit-postgres")]
mod postgres;
mod sqlite;

use std::{fs, path::Path, sync::Mutex};

use jiff::Timestamp;
use tinybase_abi::error::RawError;

use super::clock::{Clock, lock};

/// The clock's start time: 2026-01-01T00:00:00Z, in microseconds since 1970.
const EPOCH_MICROS: i64 = 1_767_225_600_000_000;

/// The environment variable with the PostgreSQL server for tests: the URL of a user that may create databases.
#[cfg(feature = "testkit-postgres")]
pub const POSTGRES_URL_VARIABLE: &str = "TINYBASE_TEST_POSTGRES_URL";

/// The engine on which a test host stores the extension's data.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TestEngine {
    /// An in-memory SQLite.
    Sqlite,
    /// A database of its own on a PostgreSQL server, dropped with the test host.
    #[cfg(feature = "testkit-postgres")]
    Postgres {
        /// The URL of a user that may create databases.
        server: String,
    },
}

impl TestEngine {
    /// Returns PostgreSQL if the environment variable `TINYBASE_TEST_POSTGRES_URL` is set and the feature
    /// `testkit-postgres` is on, otherwise SQLite. The same tests can run on either.
    pub fn of_environment() -> TestEngine {
        #[cfg(feature = "testkit-postgres")]
        if let Some(server) = std::env::var(POSTGRES_URL_VARIABLE).ok().filter(|url| !url.is_empty()) {
            return TestEngine::Postgres { server };
        }
        TestEngine::Sqlite
    }

    /// Returns the folder of the engine's migrations in `migrations`.
    pub fn folder(&self) -> &'static str {
        match self {
            TestEngine::Sqlite => "sqlite",
            #[cfg(feature = "testkit-postgres")]
            TestEngine::Postgres { .. } => "postgres",
        }
    }
}

/// An engine that runs SQL. `in_transaction` states whether a call belongs to the open transaction.
trait Sql: Send + Sync {
    /// Returns the number of the engine in the interface.
    fn number(&self) -> u8;
    /// Reads. Returns packed rows.
    fn query(&self, in_transaction: bool, sql: &str, params: &[u8], now: &str) -> Result<Vec<u8>, RawError>;
    /// Applies a packed batch atomically. Returns a packed result.
    fn apply(&self, in_transaction: bool, batch: &[u8], now: &str) -> Result<Vec<u8>, RawError>;
    /// Runs a migration.
    fn migrate(&self, script: &str) -> Result<(), RawError>;
    fn begin(&self) -> Result<(), RawError>;
    fn end(&self, commit: bool) -> Result<(), RawError>;
    /// Adds a user that statements can reference.
    fn add_user(&self, id: &str) -> Result<(), RawError>;
    /// Releases what would outlive the process.
    fn close(&self);
}

pub(super) struct TestDatabase {
    sql: Box<dyn Sql>,
    migrations: &'static str,
    transaction: Mutex<Transactions>,
    clock: Clock,
    /// The last time that was returned, in microseconds on the clock.
    told: Mutex<i64>,
}

#[derive(Default)]
struct Transactions {
    open: Option<u64>,
    begun: u64,
}

impl TestDatabase {
    pub(super) fn open(engine: &TestEngine, extension: &str, clock: Clock) -> Result<TestDatabase, String> {
        let sql: Box<dyn Sql> = match engine {
            TestEngine::Sqlite => Box::new(sqlite::Sqlite::open(extension)?),
            #[cfg(feature = "testkit-postgres")]
            TestEngine::Postgres { server } => Box::new(postgres::Postgres::open(server, extension)?),
        };
        let migrations = engine.folder();
        Ok(TestDatabase { sql, migrations, transaction: Mutex::default(), clock, told: Mutex::new(0) })
    }

    /// Returns the number of the engine in the interface.
    pub(super) fn engine(&self) -> u8 {
        self.sql.number()
    }

    /// Applies every `.up.sql` of the extension's migrations for this engine in order, then every `.down.sql` in
    /// reverse, then every `.up.sql` again. This tests both directions.
    pub(super) fn migrate(&self, folder: &Path) -> Result<(), String> {
        let folder = folder.join("migrations").join(self.migrations);
        let up = scripts(&folder, ".up.sql")?;
        let mut down = scripts(&folder, ".down.sql")?;
        down.reverse();
        if up.len() != down.len() {
            return Err(format!("{}: each .up.sql needs its .down.sql", folder.display()));
        }
        for (name, script) in up.iter().chain(&down).chain(&up) {
            self.sql
                .migrate(script)
                .map_err(|error| format!("{}: {}", folder.join(name).display(), error.words().message))?;
        }
        Ok(())
    }

    /// Returns the clock's time as the database writes it, always later than the previous one.
    fn now(&self) -> String {
        let mut told = lock(&self.told);
        let elapsed = i64::try_from(self.clock.now().as_micros()).unwrap_or(i64::MAX);
        *told = elapsed.max(*told + 1);
        let now = Timestamp::from_microsecond(EPOCH_MICROS.saturating_add(*told)).unwrap_or(Timestamp::MAX);
        now.strftime("%Y-%m-%dT%H:%M:%S%.6fZ").to_string()
    }

    pub(super) fn query(
        &self,
        transaction: Option<u64>,
        sql: &str,
        params: &[u8],
    ) -> Result<Vec<u8>, RawError> {
        if transaction.is_some() {
            self.within(transaction)?;
        }
        self.sql.query(transaction.is_some(), sql, params, &self.now())
    }

    /// Applies a packed batch atomically.
    pub(super) fn apply(&self, transaction: Option<u64>, batch: &[u8]) -> Result<Vec<u8>, RawError> {
        self.within(transaction)?;
        self.sql.apply(transaction.is_some(), batch, &self.now())
    }

    pub(super) fn begin(&self) -> Result<u64, RawError> {
        let mut transactions = lock(&self.transaction);
        if transactions.open.is_some() {
            return Err(RawError::new(503, "db_busy", "another transaction is open"));
        }
        self.sql.begin()?;
        transactions.begun += 1;
        transactions.open = Some(transactions.begun);
        Ok(transactions.begun)
    }

    pub(super) fn end(&self, transaction: u64, commit: bool) -> Result<(), RawError> {
        self.within(Some(transaction))?;
        lock(&self.transaction).open = None;
        self.sql.end(commit)
    }

    /// Checks that a call belongs to the open transaction, or that neither the call nor the database has one.
    fn within(&self, transaction: Option<u64>) -> Result<(), RawError> {
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

    /// Adds a user that statements can reference, in the one column of `tb_users` that an extension may use.
    pub(super) fn add_user(&self, id: &str) -> Result<(), RawError> {
        self.sql.add_user(id)
    }

    /// Releases what would outlive the process. Every later call fails.
    pub(super) fn close(&self) {
        self.sql.close();
    }
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
mod tests;

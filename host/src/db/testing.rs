//! Shared by tests of several nodes: a PostgreSQL database per test, which each node opens itself. It is never part of
//! the program.

use std::sync::Arc;

use tinybase_test_postgres::server_url;

use super::{
    Database,
    migrations::Migrator,
    postgres::{Postgres, PostgresOptions},
};
use crate::sql::HostSql;

/// A database with the host's tables. It is dropped with this value.
pub(crate) struct OnPostgres(tinybase_test_postgres::Database);

impl OnPostgres {
    /// Creates and migrates a database. Returns `None` if the run has no PostgreSQL server: SQLite has one node.
    pub(crate) async fn migrated() -> Option<OnPostgres> {
        let database = OnPostgres(tinybase_test_postgres::Database::create(&server_url()?).unwrap());
        let db = database.open().await;
        Migrator::of_host(&*db).upgrade(None).await.unwrap();
        db.shut_down().await;
        Some(database)
    }

    /// Opens the database as another node.
    pub(crate) async fn node(&self) -> HostSql {
        HostSql::new(self.open().await)
    }

    /// Shifts the database's clock relative to the machine's, for nodes that open the database from now on: `1 hour` is
    /// ahead. It does so with a function of the same name that the server finds before its own.
    pub(crate) fn move_clock(&self, apart: &str) {
        let moved = format!(
            "CREATE SCHEMA moved; CREATE FUNCTION moved.clock_timestamp() RETURNS timestamptz LANGUAGE sql \
             AS $$ SELECT pg_catalog.clock_timestamp() + interval '{apart}' $$; \
             DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET search_path = moved, pg_catalog, public', \
             current_database()); END $$"
        );
        self.0.run(&moved).unwrap();
    }

    async fn open(&self) -> Arc<dyn Database> {
        Postgres::open(&PostgresOptions::new(self.0.url())).await.unwrap()
    }
}

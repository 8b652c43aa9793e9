//! What tests of several nodes share: a PostgreSQL database of the test's own, which each node opens for itself. It is never
//! part of the program.

use std::sync::Arc;

use tinybase_test_postgres::server_url;

use super::{
    Database,
    migrations::Migrator,
    postgres::{Postgres, PostgresOptions},
};
use crate::sql::HostSql;

/// A database with the host's tables, which is dropped with this.
pub(crate) struct OnPostgres(tinybase_test_postgres::Database);

impl OnPostgres {
    /// `None` where the run has no PostgreSQL server: SQLite has one node.
    pub(crate) async fn migrated() -> Option<OnPostgres> {
        let database = OnPostgres(tinybase_test_postgres::Database::create(&server_url()?).unwrap());
        let db = database.open().await;
        Migrator::of_host(&*db).upgrade(None).await.unwrap();
        db.shut_down().await;
        Some(database)
    }

    /// The database as a further node opens it.
    pub(crate) async fn node(&self) -> HostSql {
        HostSql::new(self.open().await)
    }

    /// Sets the clock of the database apart from that of the machine, for nodes that open it from now on: `1 hour` is ahead.
    /// What the server answers by itself comes from a function of the same name that is found first.
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

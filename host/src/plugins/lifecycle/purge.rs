//! Removes an extension: its row and, if requested, all of its data in the database and on disk.

use tinybase_abi::codec::{BatchWriter, Expect, Value, ValueRef};
use tinybase_package::boundary::host_prefix;

use super::{
    change::ChangeError,
    crash_point::crash_point,
    executor::ChangeExecutor,
    journal::{self, Step},
};
use crate::{
    db::{Engine, SqlOwner},
    plugins::{Plugins, store},
    sql::text,
};

const SQLITE_TABLES: &str = "SELECT type, name FROM sqlite_master WHERE type IN ('table', 'view') \
     AND substr(name, 1, ?1) = ?2 ORDER BY type DESC, name";
const POSTGRES_TABLES: &str = "SELECT CASE relkind WHEN 'v' THEN 'view' WHEN 'm' THEN 'materialized view' \
     WHEN 'S' THEN 'sequence' ELSE 'table' END, relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
     WHERE n.nspname = current_schema() AND relkind IN ('r', 'p', 'v', 'm', 'S') AND NOT relispartition \
     AND left(relname, CAST(?1 AS INTEGER)) = ?2 ORDER BY 1 DESC, 2";

impl ChangeExecutor<'_> {
    /// Removes the extension, which is already out of service on every node.
    pub(super) async fn remove(&mut self) -> Result<(), ChangeError> {
        self.step(Step::Removed).await?;
        let name = self.entry.name.clone();
        let mut batch = BatchWriter::default();
        store::push_remove(&mut batch, &name);
        let before = self.entry.details.before.as_ref();
        store::push_entry(&mut batch, &self.entry.who, self.entry.kind.action(), before, None);
        if self.entry.details.purge {
            self.plugins.purge(&name, batch).await?;
        } else {
            self.plugins.store.apply(batch).await.map_err(journal::lost)?;
        }
        crash_point();
        self.plugins.forget_packages(&name, &[]).await;
        if self.entry.details.purge {
            self.plugins.forget_data(&name);
        }
        crash_point();
        Ok(())
    }
}

impl Plugins {
    /// Deletes an extension's data folder on this machine. Failures are logged, and the files stay.
    pub(in crate::plugins) fn forget_data(&self, name: &str) {
        let folder = self.shared.data_dir.join(name);
        if let Err(error) = std::fs::remove_dir_all(&folder)
            && error.kind() != std::io::ErrorKind::NotFound
        {
            tracing::warn!(plugin = name, %error, "its data folder could not be taken away: {}", folder.display());
        }
        if let Err(error) = self.forget_snapshots(name) {
            tracing::warn!(plugin = name, %error, "snapshots from before its updates could not be taken away");
        }
    }

    /// Returns the extensions whose names begin with `name` and `_`. Older versions of the host allowed such
    /// names.
    async fn names_within(&self, name: &str) -> Result<Vec<String>, ChangeError> {
        let prefix = format!("{name}_");
        let installed = self.store.all().await?;
        Ok(installed.into_iter().map(|other| other.name).filter(|other| other.starts_with(&prefix)).collect())
    }

    /// Drops every table of an extension, deletes its migration records and settings, and applies `batch`, all
    /// in one transaction.
    async fn purge(&self, name: &str, mut batch: BatchWriter) -> Result<(), ChangeError> {
        let prefix = format!("{name}_");
        let length = i64::try_from(prefix.len()).expect("a name is short");
        let engine = self.shared.database.engine();
        let list = if engine == Engine::Sqlite { SQLITE_TABLES } else { POSTGRES_TABLES };
        let tables = self.store.scan(list, &[Value::Integer(length), Value::Text(prefix)]).await?;
        let mut drop = BatchWriter::default();
        if engine == Engine::Sqlite {
            // Tables may reference each other. It only matters that none is left in the end.
            drop.push("PRAGMA defer_foreign_keys = ON", [], Expect::Any);
        }
        let others = self.names_within(name).await?;
        let is_others = |table: &str| others.iter().any(|other| table.starts_with(&format!("{other}_")));
        for row in &tables {
            let (kind, table) = (text(row, 0), text(row, 1));
            if host_prefix(name).is_some() || is_others(&table) {
                tracing::warn!(
                    plugin = name,
                    table,
                    "the table stays: its name is the host's or another extension's"
                );
                continue;
            }
            let table = table.replace('"', "\"\"");
            let others = if engine == Engine::Postgres { " CASCADE" } else { "" };
            drop.push(&format!("DROP {kind} IF EXISTS \"{table}\"{others}"), [], Expect::Any);
        }
        batch.push("DELETE FROM tb_migrations WHERE owner = ?1", [ValueRef::Text(name)], Expect::Any);
        let settings = format!("ext.{name}.");
        let length = i64::try_from(settings.len()).expect("a name is short");
        let params = [ValueRef::Integer(length), ValueRef::Text(&settings)];
        batch.push(
            "DELETE FROM tb_settings WHERE substr(key, 1, CAST(?1 AS INTEGER)) = ?2",
            params,
            Expect::Any,
        );
        let mut transaction =
            self.shared.database.begin(&SqlOwner::Host, self.shared.limits.migration_timeout).await?;
        transaction.apply(drop.finish()).await?;
        transaction.apply(batch.finish()).await?;
        transaction.commit().await?;
        if host_prefix(name).is_none() && others.is_empty() {
            self.shared.database.forget_extension(name).await?;
        }
        self.shared.settings.forget_cached();
        Ok(())
    }
}

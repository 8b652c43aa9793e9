//! Makes the target's tables as the source has them: the host's and every extension's migrations, all in their newest
//! version. It copies no rows.

use std::collections::BTreeMap;

use sha2::{Digest, Sha256};

use super::{CopyError, NOT_COPIED, side::Side, tables, tables::Table};
use crate::{
    db::{DbError, migrations::Migrator},
    plugins::{
        migrations,
        package::{Package, hex},
    },
};

/// Refuses a source whose tables are not those that this program and its extensions would make.
///
/// # Errors
/// [`CopyError::SourceBehind`], [`CopyError::OneEngine`], and what the migrations themselves say.
pub async fn check_source(source: &Side, target: &Side, packages: &[Package]) -> Result<(), CopyError> {
    check_newest(&Migrator::of_host(&**source.database()), "the host").await?;
    for package in packages {
        let name = &package.manifest.name;
        let migrations = migrations::of(package, source.engine())?;
        let (source_count, target_count) =
            (migrations.len(), migrations::of(package, target.engine())?.len());
        if source_count != target_count {
            return Err(CopyError::OneEngine { name: name.clone(), source_count, target_count });
        }
        let migrator = Migrator::of_extension(&**source.database(), name, migrations)?;
        check_newest(&migrator, &format!("the extension {name}")).await?;
    }
    Ok(())
}

async fn check_newest(migrator: &Migrator<'_>, owner: &str) -> Result<(), CopyError> {
    migrator.current().await?;
    let missing = migrator.history().await?.iter().filter(|entry| entry.applied_at.is_none()).count();
    if missing == 0 { Ok(()) } else { Err(CopyError::SourceBehind { owner: owner.to_owned(), missing }) }
}

/// What tells this source, and the form of its tables, from any other: in hex.
///
/// # Errors
/// Those of its query.
pub async fn fingerprint(source: &Side, tables: &BTreeMap<String, Table>) -> Result<String, DbError> {
    // The times at which an instance's migrations ran are its own.
    let applied = "SELECT owner, version, checksum, applied_at FROM tb_migrations ORDER BY owner, version";
    let applied = source.rows(applied, &[]).await?;
    let mut hash = Sha256::new();
    hash.update(format!("{:?}{applied:?}", source.engine()));
    for table in tables.values().filter(|table| !NOT_COPIED.contains(&table.name.as_str())) {
        hash.update(format!("{:?}{:?}", table.name, table.columns));
    }
    Ok(hex(&hash.finalize()))
}

/// Runs every migration on the target. What ran before is not run again.
///
/// # Errors
/// Those of the migrations.
pub async fn make(target: &Side, packages: &[Package]) -> Result<(), CopyError> {
    let database = &**target.database();
    Migrator::of_host(database).upgrade(None).await?;
    for package in packages {
        let migrations = migrations::of(package, target.engine())?;
        Migrator::of_extension(database, &package.manifest.name, migrations)?.upgrade(None).await?;
    }
    Ok(())
}

/// The tables that hold anything after the migrations alone: their rows are replaced, not added to.
///
/// # Errors
/// Those of its queries.
pub async fn is_filled(target: &Side, table: &Table) -> Result<bool, DbError> {
    let sql = format!("SELECT 1 FROM {} LIMIT 1", super::side::quoted(&table.name));
    Ok(!target.rows(&sql, &[]).await?.is_empty())
}

/// Whether the database has none but the tables of an unfinished copy, or none at all; else the name of one.
///
/// # Errors
/// Those of its query.
pub async fn first_table(target: &Side) -> Result<Option<String>, DbError> {
    Ok(tables::list(target).await?.into_keys().next())
}

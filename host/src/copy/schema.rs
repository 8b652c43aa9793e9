//! Creates the target's tables like the source's: runs all migrations of the host and of every extension. It copies no
//! rows.

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

/// Refuses a source that does not have exactly the migrations of this program and its extensions.
///
/// # Errors
/// [`CopyError::SourceBehind`], [`CopyError::OneEngine`], and those of the migrations.
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

/// Returns a hash that identifies this source and the structure of its tables, in hex.
///
/// # Errors
/// Those of its query.
pub async fn fingerprint(source: &Side, tables: &BTreeMap<String, Table>) -> Result<String, DbError> {
    // The times at which migrations ran differ between instances.
    let applied = "SELECT owner, version, checksum, applied_at FROM tb_migrations ORDER BY owner, version";
    let applied = source.rows(applied, &[]).await?;
    let mut hash = Sha256::new();
    hash.update(format!("{:?}{applied:?}", source.engine()));
    for table in tables.values().filter(|table| !NOT_COPIED.contains(&table.name.as_str())) {
        hash.update(format!("{:?}{:?}", table.name, table.columns));
    }
    Ok(hex(&hash.finalize()))
}

/// Runs the target's missing migrations.
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

/// Whether a table has rows after the migrations alone: they are replaced, not added to.
///
/// # Errors
/// Those of its queries.
pub async fn is_filled(target: &Side, table: &Table) -> Result<bool, DbError> {
    let sql = format!("SELECT 1 FROM {} LIMIT 1", super::side::quoted(&table.name));
    Ok(!target.rows(&sql, &[]).await?.is_empty())
}

/// Returns the name of a table of the database; `None` if it has none.
///
/// # Errors
/// Those of its query.
pub async fn first_table(target: &Side) -> Result<Option<String>, DbError> {
    Ok(tables::list(target).await?.into_keys().next())
}

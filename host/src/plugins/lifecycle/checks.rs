//! Checks whether a change is allowed: the package's requirements, its dependencies and dependents, and
//! whether it can be reverted. Changes nothing.

use semver::Version;
use tinybase_package::boundary::shares_tables;

use super::change::ChangeError;
use crate::{
    db::{
        Database,
        migrations::{Migration, Migrator},
    },
    plugins::{LoadError, Plugins, dependencies, migrations, package::Package, store::Installed},
    sql::text,
};

/// Checks whether a package is compatible with what is installed.
pub(super) fn check_package(
    package: &Package,
    installed: &[Installed],
    is_enabled: bool,
) -> Result<(), ChangeError> {
    check_range(package)?;
    check_prefix(&package.manifest.name, installed.iter().map(|other| other.name.as_str()))?;
    if is_enabled {
        dependencies::check_needs(&package.manifest, installed)?;
    }
    dependencies::check_needed_version(&package.manifest.name, &package.manifest.version, installed)?;
    Ok(())
}

/// Checks whether a package works with this host.
pub(super) fn check_range(package: &Package) -> Result<(), LoadError> {
    let host = Version::parse(env!("CARGO_PKG_VERSION")).expect("cargo checks the package's version");
    if package.manifest.host.matches(&host) {
        return Ok(());
    }
    Err(LoadError::HostRange { range: package.manifest.host.to_string(), host: host.to_string() })
}

/// Checks that no extension's name is another's followed by `_`, since tables are told apart by their prefix.
pub(in crate::plugins) fn check_prefix<'n>(
    name: &str,
    others: impl IntoIterator<Item = &'n str>,
) -> Result<(), LoadError> {
    let taken = others.into_iter().find(|other| *other != name && shares_tables(name, other));
    match taken {
        Some(other) => Err(LoadError::PrefixTaken { name: name.to_owned(), other: other.to_owned() }),
        None => Ok(()),
    }
}

/// Returns the version of an extension's tables, according to the migration records.
pub(super) async fn tables_version(db: &dyn Database, package: &Package) -> Result<u32, ChangeError> {
    let migrator = Migrator::of_extension(
        db,
        &package.manifest.name,
        migrations::of(package, db.engine()).map_err(LoadError::from)?,
    )?;
    let history = migrator.history().await?;
    Ok(history
        .iter()
        .filter(|entry| entry.applied_at.is_some())
        .map(|entry| entry.version)
        .max()
        .unwrap_or(0))
}

/// Checks that each of these migrations can be reverted.
pub(super) fn check_way_back(name: &str, migrations: &[Migration]) -> Result<(), ChangeError> {
    let Some(one) = migrations.iter().find(|migration| migration.down.trim().is_empty()) else {
        return Ok(());
    };
    let (version, title) = (one.version, &one.title);
    Err(ChangeError::new(
        "no_way_back",
        format!(
            "migration {version} ({title}) of {name} cannot be reverted: it has no down script, so the version before \
             could not be brought back; nothing was changed"
        ),
    ))
}

impl Plugins {
    /// Checks that no uninstalled extension left tables whose names could belong to this one.
    pub(super) async fn check_tables_left(&self, name: &str) -> Result<(), ChangeError> {
        let rows =
            self.store.rows("SELECT DISTINCT owner FROM tb_migrations WHERE owner <> 'host'", &[]).await?;
        let owners: Vec<String> = rows.iter().map(|row| text(row, 0)).collect();
        Ok(check_prefix(name, owners.iter().map(String::as_str))?)
    }

    /// Returns the row of an extension.
    pub(super) async fn installed(&self, name: &str) -> Result<Installed, ChangeError> {
        self.store.find(name).await?.ok_or_else(|| ChangeError::not_installed(name))
    }
}

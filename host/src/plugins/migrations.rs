//! The migrations of an extension, in the form that the database's migrator expects.

use std::borrow::Cow;

use super::package::{Package, PackageError};
use crate::db::{Engine, migrations::Migration};

/// Returns the migrations of a package for an engine, in order.
///
/// # Errors
/// If a file cannot be read or has a wrong name.
pub fn of(package: &Package, engine: Engine) -> Result<Vec<Migration>, PackageError> {
    let folder = match engine {
        Engine::Sqlite => "sqlite",
        Engine::Postgres => "postgres",
    };
    let files = package.migrations(folder)?.into_iter();
    let migration = |files: tinybase_package::unpacked::MigrationFiles| Migration {
        version: files.version,
        title: Cow::Owned(files.title),
        up: Cow::Owned(files.up),
        down: Cow::Owned(files.down),
    };
    Ok(files.map(migration).collect())
}

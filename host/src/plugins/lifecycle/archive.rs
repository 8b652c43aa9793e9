//! The installed packages, stored in the database for installations with several nodes. A node without a
//! package fetches it from there. With SQLite there is one node, and its folder has the packages. Bytes are
//! checked against the package's hash before they are used.

use std::{
    fs,
    path::{Component, Path, PathBuf},
};

use tinybase_abi::codec::{BatchWriter, Expect, Value, ValueRef};

use super::change::ChangeError;
use crate::{
    db::Engine,
    plugins::{
        LoadError, Plugins, install,
        manifest::FILE_NAME,
        package::Package,
        store::{self, Installed},
    },
    sql::text,
};

/// The size of a stored part, in bytes.
const PART_BYTES: usize = 1 << 20;

const HAS: &str = "SELECT 1 FROM tb_extension_archives WHERE hash = ?1 AND path = ?2";
const LIST: &str = "SELECT path, part FROM tb_extension_archives WHERE hash = ?1 ORDER BY path, part";
const READ: &str = "SELECT content FROM tb_extension_archives WHERE hash = ?1 AND path = ?2 AND part = ?3";
const WRITE: &str = "INSERT INTO tb_extension_archives (hash, path, part, name, content) VALUES (?1, ?2, ?3, ?4, ?5) \
     ON CONFLICT DO NOTHING";

impl Plugins {
    /// Stores a package for other nodes.
    pub(super) async fn archive(&self, package: &Package) -> Result<(), ChangeError> {
        if self.shared.database.engine() == Engine::Sqlite || self.is_archived(&package.hash).await? {
            return Ok(());
        }
        // The manifest is stored last: if it is there, the package is complete.
        let mut files = package.files().map_err(LoadError::from)?;
        files.sort_by_key(|file| file == Path::new(FILE_NAME));
        for file in files {
            let path = package.folder.join(&file);
            let content =
                fs::read(&path).map_err(|error| LoadError::file(&path.display().to_string(), &error))?;
            let name = file.to_string_lossy();
            let mut parts: Vec<&[u8]> = content.chunks(PART_BYTES).collect();
            if parts.is_empty() {
                parts.push(&[]);
            }
            for (part, number) in parts.into_iter().zip(0..) {
                let params = [
                    ValueRef::Text(&package.hash),
                    ValueRef::Text(&name),
                    ValueRef::Integer(number),
                    ValueRef::Text(&package.manifest.name),
                    ValueRef::Blob(part),
                ];
                let mut batch = BatchWriter::default();
                batch.push(WRITE, params, Expect::Any);
                self.store.apply(batch).await?;
            }
        }
        Ok(())
    }

    /// Stores an installed package for other nodes, if this node has it and the database does not.
    pub(in crate::plugins) async fn archive_if_missing(
        &self,
        installed: &Installed,
    ) -> Result<(), ChangeError> {
        let folder = self.folder_of(&installed.name, &installed.folder_name());
        if self.shared.database.engine() == Engine::Sqlite || self.is_archived(&installed.hash).await? {
            return Ok(());
        }
        match Package::read(&folder) {
            Ok(package) if package.hash == installed.hash => self.archive(&package).await,
            _ => Ok(()),
        }
    }

    async fn is_archived(&self, hash: &str) -> Result<bool, ChangeError> {
        let found =
            self.store.scan(HAS, &[Value::Text(hash.to_owned()), Value::Text(FILE_NAME.to_owned())]).await?;
        Ok(!found.is_empty())
    }

    /// Fetches the package with this hash into its folder, if it is missing there and the database has it.
    pub(in crate::plugins) async fn fetch(
        &self,
        name: &str,
        version: &str,
        hash: &str,
    ) -> Result<(), ChangeError> {
        let target = self.folder_of(name, &store::folder_name(version, hash));
        if self.shared.database.engine() == Engine::Sqlite
            || target.exists()
            || !self.is_archived(hash).await?
        {
            return Ok(());
        }
        let staging = self.folder.join(format!(".fetched-{}-{name}", std::process::id()));
        let _ = fs::remove_dir_all(&staging);
        let fetched = self.fetch_into(&staging, hash).await;
        let fetched = fetched.and_then(|()| {
            let package = Package::read(&staging).map_err(LoadError::from)?;
            if package.hash != hash {
                return Err(LoadError::FilesChanged.into());
            }
            Ok(install::place(&package, &target)?)
        });
        let _ = fs::remove_dir_all(&staging);
        fetched
    }

    async fn fetch_into(&self, staging: &Path, hash: &str) -> Result<(), ChangeError> {
        for row in self.store.scan(LIST, &[Value::Text(hash.to_owned())]).await? {
            let (path, part) = (text(&row, 0), row.get(1).cloned().unwrap_or(Value::Null));
            let key = [Value::Text(hash.to_owned()), Value::Text(path.clone()), part];
            let content = match self.store.scan(READ, &key).await?.pop().and_then(|mut row| row.pop()) {
                Some(Value::Blob(content)) => content,
                _ => Vec::new(),
            };
            let target = staging.join(relative(&path)?);
            let file = |error| LoadError::file(&target.display().to_string(), &error);
            if let Some(folder) = target.parent() {
                fs::create_dir_all(folder).map_err(file)?;
            }
            let mut into = fs::File::options().create(true).append(true).open(&target).map_err(file)?;
            std::io::Write::write_all(&mut into, &content).map_err(file)?;
        }
        Ok(())
    }

    /// Deletes every package of an extension except `kept` (by hash), from this node's folder and from the
    /// database. Deletion failures are ignored; leftovers are harmless.
    pub(in crate::plugins) async fn forget_packages(&self, name: &str, kept: &[String]) {
        let folder = self.folder.join(name);
        let is_kept = |entry: &str| {
            kept.iter().any(|hash| entry.ends_with(&format!("-{}", hash.get(..16).unwrap_or(hash))))
        };
        for entry in fs::read_dir(&folder).into_iter().flatten().flatten() {
            if !is_kept(&entry.file_name().to_string_lossy())
                && let Err(error) = fs::remove_dir_all(entry.path())
            {
                tracing::warn!(plugin = name, %error, "a version that is not needed any more stays: {}", entry.path().display());
            }
        }
        if kept.is_empty() {
            // Removes the folder only if it is empty.
            let _ = fs::remove_dir(&folder);
        }
        if self.shared.database.engine() == Engine::Postgres {
            let [first, second] = [0, 1].map(|at| kept.get(at).map_or("", String::as_str));
            let mut batch = BatchWriter::default();
            let sql = "DELETE FROM tb_extension_archives WHERE name = ?1 AND hash NOT IN (?2, ?3)";
            batch.push(sql, [name, first, second].map(ValueRef::Text), Expect::Any);
            if let Err(error) = self.store.apply(batch).await {
                tracing::warn!(plugin = name, %error, "a version that is not needed any more stays in the database");
            }
        }
    }
}

/// Returns the path if it stays below its folder. The path comes from the database and is not trusted.
fn relative(path: &str) -> Result<PathBuf, ChangeError> {
    let path = PathBuf::from(path);
    if path.components().all(|part| matches!(part, Component::Normal(_))) {
        return Ok(path);
    }
    Err(ChangeError::new("package_invalid", format!("{} is no path of a package", path.display())))
}

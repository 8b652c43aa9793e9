//! Installs an unpacked extension: reads it, probes it, copies it, moves it into place by a rename, and
//! records it. A failed installation leaves nothing behind.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use super::{LoadError, Plugins, package::Package, probe, store::folder_name};
use crate::audit::Actor;

/// The folder next to the program that contains the built-in extensions.
const BUNDLED_FOLDER: &str = "extensions";

/// Returns the extensions bundled with this program, sorted by name.
///
/// # Errors
/// If the program's folder cannot be read or a bundled extension is malformed.
pub fn bundled() -> Result<Vec<Package>, LoadError> {
    let program = std::env::current_exe().map_err(|error| LoadError::file("this program", &error))?;
    let folder = program.parent().unwrap_or(Path::new("/")).join(BUNDLED_FOLDER);
    let entries = match fs::read_dir(&folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(LoadError::file(&folder.display().to_string(), &error)),
    };
    let mut folders: Vec<PathBuf> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
    folders.retain(|folder| folder.is_dir());
    folders.sort();
    folders.iter().map(|folder| Package::read(folder).map_err(LoadError::from)).collect()
}

impl Plugins {
    /// Installs and enables the bundled extensions that are not installed yet. Returns their names.
    ///
    /// # Errors
    /// See [`LoadError`].
    pub async fn install_bundled(&self, actor: &Actor) -> Result<Vec<String>, LoadError> {
        let installed = self.store.all().await?;
        let mut new = Vec::new();
        let bundled = bundled()?;
        self.check_set(&bundled)?;
        for package in bundled {
            let name = package.manifest.name.clone();
            if self.set.includes(&name) && !installed.iter().any(|row| row.name == name) {
                self.install_builtin(package, actor).await?;
                new.push(name);
            }
        }
        Ok(new)
    }

    /// Updates installed built-in extensions to the version bundled with this program.
    ///
    /// # Errors
    /// See [`LoadError`].
    pub async fn follow_bundled(&self) -> Result<(), LoadError> {
        let installed = self.store.all().await?;
        let bundled = bundled()?;
        self.check_set(&bundled)?;
        for package in bundled {
            let known = installed.iter().find(|row| row.is_builtin && row.name == package.manifest.name);
            let gone = known.is_some_and(|row| !self.folder_of(&row.name, &row.folder_name()).exists());
            if known.is_some_and(|row| row.hash != package.hash) || gone {
                tracing::info!(plugin = package.manifest.name, version = %package.manifest.version, "brought up to date");
                self.install_builtin(package, &Actor::system()).await?;
            }
        }
        Ok(())
    }

    /// Refuses a set with a name that is not bundled with this program. Otherwise a misspelt name would go
    /// unnoticed.
    fn check_set(&self, bundled: &[Package]) -> Result<(), LoadError> {
        let known: Vec<&str> = bundled.iter().map(|package| package.manifest.name.as_str()).collect();
        match self.set.names().iter().find(|name| !known.contains(&name.as_str())) {
            Some(name) => Err(LoadError::UnknownInSet { name: name.clone(), known: known.join(", ") }),
            None => Ok(()),
        }
    }

    /// Copies a bundled extension into place and records it. It was built and tested with this program. Its
    /// migrations run when it is loaded.
    async fn install_builtin(&self, package: Package, actor: &Actor) -> Result<(), LoadError> {
        let folder = folder_name(&package.manifest.version.to_string(), &package.hash);
        let target = self.folder_of(&package.manifest.name, &folder);
        let limits = self.shared.limits.probe;
        let source = package.clone();
        let placed = tokio::task::spawn_blocking(move || {
            probe::probe(&source.folder, limits)?;
            place(&source, &target)
        });
        placed.await.map_err(|error| LoadError::Panicked(error.to_string()))??;
        Ok(self.store.put_builtin(&package, actor).await?)
    }
}

/// Copies a package's files into a temporary folder and renames that into place. On failure nothing is left.
pub(super) fn place(package: &Package, target: &Path) -> Result<(), LoadError> {
    if target.exists() && Package::read(target).is_ok_and(|there| there.hash == package.hash) {
        return Ok(());
    }
    let parent = target.parent().expect("an extension's folder is below the extensions' folder");
    fs::create_dir_all(parent).map_err(fault(parent))?;
    let staging = parent.join(format!(".staging-{}", std::process::id()));
    let _ = fs::remove_dir_all(&staging);
    let placed = copy_files(package, &staging).and_then(|()| {
        if target.exists() {
            // Damaged files of the same package are replaced as a whole.
            fs::remove_dir_all(target).map_err(fault(target))?;
        }
        fs::rename(&staging, target).map_err(fault(target))?;
        fs::File::open(parent).and_then(|folder| folder.sync_all()).map_err(fault(parent))
    });
    if placed.is_err() {
        let _ = fs::remove_dir_all(&staging);
        // Removes the folder only if it is empty.
        let _ = fs::remove_dir(parent);
    }
    placed
}

fn copy_files(package: &Package, staging: &Path) -> Result<(), LoadError> {
    for file in package.files()? {
        let to = staging.join(&file);
        let folder = to.parent().expect("a file of a package is in a folder");
        fs::create_dir_all(folder).map_err(fault(folder))?;
        fs::copy(package.folder.join(&file), &to).map_err(fault(&to))?;
        fs::File::open(&to).and_then(|file| file.sync_all()).map_err(fault(&to))?;
    }
    Ok(())
}

fn fault(path: &Path) -> impl Fn(io::Error) -> LoadError {
    let path = path.display().to_string();
    move |error| LoadError::file(&path, &error)
}

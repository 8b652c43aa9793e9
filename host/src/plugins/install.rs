//! Installs an unpacked extension: read, probe, copy into place by a rename, write down. What fails leaves no trace.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use super::{LoadError, Plugins, package::Package, probe, store::folder_name};
use crate::audit::Actor;

/// The folder beside the program in which built-in extensions come.
const BUNDLED_FOLDER: &str = "extensions";

/// The extensions that came with this program, in the order of their names.
///
/// # Errors
/// Where the program's folder cannot be read or a bundled extension is malformed.
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
    /// Installs and enables what came with this program and is not there yet. Answers the names of what is new.
    ///
    /// # Errors
    /// See [`LoadError`].
    pub async fn install_bundled(&self, actor: &Actor) -> Result<Vec<String>, LoadError> {
        let installed = self.store.all().await?;
        let mut new = Vec::new();
        for package in bundled()? {
            let name = package.manifest.name.clone();
            if !installed.iter().any(|row| row.name == name) {
                self.install(package, true, actor).await?;
                new.push(name);
            }
        }
        Ok(new)
    }

    /// Brings built-in extensions that are installed to the version that came with this program.
    ///
    /// # Errors
    /// See [`LoadError`].
    pub async fn follow_bundled(&self) -> Result<(), LoadError> {
        let installed = self.store.all().await?;
        for package in bundled()? {
            let known = installed.iter().find(|row| row.is_builtin && row.name == package.manifest.name);
            let gone = known.is_some_and(|row| !self.folder_of(&row.name, &row.folder_name()).exists());
            if known.is_some_and(|row| row.hash != package.hash) || gone {
                tracing::info!(plugin = package.manifest.name, version = %package.manifest.version, "brought up to date");
                self.install(package, true, &Actor::system()).await?;
            }
        }
        Ok(())
    }

    /// Installs an unpacked extension and enables it.
    ///
    /// # Errors
    /// Where it does not fit this host, its library does not pass the probe, or the disk or database refuses.
    pub async fn install(&self, package: Package, is_builtin: bool, actor: &Actor) -> Result<(), LoadError> {
        check_range(&package)?;
        self.check_prefix(&package).await?;
        let target = self.folder_of(
            &package.manifest.name,
            &folder_name(&package.manifest.version.to_string(), &package.hash),
        );
        let timeout = self.shared.limits.probe_timeout;
        let source = package.clone();
        let placed = tokio::task::spawn_blocking(move || {
            probe::probe(&source.folder, timeout)?;
            place(&source, &target)
        });
        placed.await.map_err(|error| LoadError::Panicked(error.to_string()))??;
        Ok(self.store.put(&package, is_builtin, actor).await?)
    }
}

impl Plugins {
    /// Tables are told apart by their prefix: no extension's name may be another's with `_` behind it.
    async fn check_prefix(&self, package: &Package) -> Result<(), LoadError> {
        let name = &package.manifest.name;
        let overlaps =
            |other: &str| name.starts_with(&format!("{other}_")) || other.starts_with(&format!("{name}_"));
        match self.store.all().await?.into_iter().find(|installed| overlaps(&installed.name)) {
            Some(other) => Err(LoadError::PrefixTaken { name: name.clone(), other: other.name }),
            None => Ok(()),
        }
    }
}

fn check_range(package: &Package) -> Result<(), LoadError> {
    let host = semver::Version::parse(env!("CARGO_PKG_VERSION")).expect("cargo checks the package's version");
    if !package.manifest.host.matches(&host) {
        return Err(LoadError::HostRange {
            range: package.manifest.host.to_string(),
            host: host.to_string(),
        });
    }
    Ok(())
}

/// Copies a package's files into a folder of its own and renames that into place.
fn place(package: &Package, target: &Path) -> Result<(), LoadError> {
    let fault = |path: &Path| {
        let path = path.display().to_string();
        move |error: io::Error| LoadError::file(&path, &error)
    };
    if target.exists() && Package::read(target).is_ok_and(|there| there.hash == package.hash) {
        return Ok(());
    }
    let parent = target.parent().expect("an extension's folder is below the extensions' folder");
    fs::create_dir_all(parent).map_err(fault(parent))?;
    let staging = parent.join(format!(".staging-{}", std::process::id()));
    let _ = fs::remove_dir_all(&staging);
    for file in package.files()? {
        let to = staging.join(&file);
        let folder = to.parent().expect("a file of a package is in a folder");
        fs::create_dir_all(folder).map_err(fault(folder))?;
        fs::copy(package.folder.join(&file), &to).map_err(fault(&to))?;
        fs::File::open(&to).and_then(|file| file.sync_all()).map_err(fault(&to))?;
    }
    if target.exists() {
        // Damaged files of the same package: they are replaced as a whole.
        fs::remove_dir_all(target).map_err(fault(target))?;
    }
    fs::rename(&staging, target).map_err(fault(target))?;
    fs::File::open(parent).and_then(|folder| folder.sync_all()).map_err(fault(parent))
}

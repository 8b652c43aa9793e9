//! Copies of registries, and a look at one as a whole. A copy is the same bytes: it needs no keys and can be trusted as little or
//! as much as what it was made from.

use std::{fs, path::Path};

use serde::Serialize;
use tempfile::TempDir;

use super::{edit::Stage, metadata, metadata_folder, read_root, targets_folder};
use crate::{
    client::Registry,
    entry::{Entry, REVOKED_NAME},
    error::{Code, RegistryError},
    source::{Limits, Location, Source},
};

/// What was found in a registry that is whole.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Checked {
    /// How many archives, all fetched and hashed.
    pub archives: usize,
    /// How many bytes they have together.
    pub bytes: u64,
    /// How many versions are revoked.
    pub revoked: usize,
    /// Each role with when its metadata is past its end.
    pub expires: Vec<(String, String)>,
    /// Files that say nothing that this version understands.
    pub unreadable: Vec<String>,
}

/// Verifies everything in a registry's folder, every archive as well.
///
/// # Errors
/// The first thing that is wrong.
pub async fn verify(folder: &Path, limits: &Limits) -> Result<Checked, RegistryError> {
    let scratch = scratch()?;
    let registry = Registry::open(&source(folder, false)?, &scratch.path().join("known"), limits).await?;
    for entry in registry.entries() {
        let path = registry.fetch(entry, scratch.path(), &|_, _| ()).await?;
        fs::remove_file(&path).map_err(RegistryError::io(&path))?;
    }
    Ok(Checked {
        archives: registry.entries().len(),
        bytes: registry.entries().iter().map(|entry| entry.archive.bytes).sum(),
        revoked: registry.revocations().len(),
        expires: expirations(&registry),
        unreadable: registry.unreadable().to_vec(),
    })
}

fn source(folder: &Path, allow_expired: bool) -> Result<Source, RegistryError> {
    Ok(Source {
        name: folder.display().to_string(),
        location: Location::Path(folder.to_owned()),
        root: read_root(&folder.join("root.json"))?,
        allow_expired,
    })
}

/// Lists what a registry's folder has, whether or not its metadata has expired.
///
/// # Errors
/// Where it is not as it was signed.
pub async fn list(folder: &Path, limits: &Limits) -> Result<Vec<Entry>, RegistryError> {
    let scratch = scratch()?;
    let registry = Registry::open(&source(folder, true)?, &scratch.path().join("known"), limits).await?;
    Ok(registry.entries().to_vec())
}

fn expirations(registry: &Registry) -> Vec<(String, String)> {
    let repository = registry.metadata();
    let mut all = vec![
        ("root".to_owned(), repository.root().signed.expires),
        ("timestamp".to_owned(), repository.timestamp().signed.expires),
        ("snapshot".to_owned(), repository.snapshot().signed.expires),
        ("targets".to_owned(), repository.targets().signed.expires),
    ];
    for role in repository.targets().signed.delegations.iter().flat_map(|delegations| &delegations.roles) {
        if let Some(targets) = &role.targets {
            all.push((role.name.clone(), targets.signed.expires));
        }
    }
    all.into_iter().map(|(role, expires)| (role, expires.to_string())).collect()
}

/// Copies a registry into a folder, or brings a copy up to date: archives first, the timestamp last. Answers how many archives
/// were fetched.
///
/// # Errors
/// Where the registry is refused, or the folder is a registry of another root.
pub async fn mirror(source: &Source, folder: &Path, limits: &Limits) -> Result<usize, RegistryError> {
    let scratch = scratch()?;
    let registry = Registry::open(source, &scratch.path().join("known"), limits).await?;
    for folder in [metadata_folder(folder), targets_folder(folder)] {
        fs::create_dir_all(&folder).map_err(RegistryError::io(&folder))?;
    }
    let fetched = copy_archives(&registry, folder, scratch.path()).await?;
    let stage = Stage::of(folder)?;
    let mut files = Vec::new();
    let newest = registry.metadata().root().signed.version.get();
    for version in 1..=newest {
        let name = format!("{version}.root.json");
        match registry.metadata_file(&name).await {
            Ok(bytes) => files.push((name, bytes)),
            // Roots before the trusted one are for clients that know an older one still.
            Err(_) if version < newest => {}
            Err(error) => return Err(error),
        }
    }
    let snapshot = &registry.metadata().snapshot().signed;
    for (name, meta) in &snapshot.meta {
        let name = format!("{}.{name}", meta.version);
        files.push((name.clone(), registry.metadata_file(&name).await?));
    }
    for name in [format!("{}.snapshot.json", snapshot.version), "timestamp.json".to_owned()] {
        files.push((name.clone(), registry.metadata_file(&name).await?));
    }
    for (name, bytes) in &files {
        stage.put(name, bytes)?;
    }
    stage.open(source.root.clone()).await?;
    for (name, bytes) in &files {
        metadata::write(&metadata_folder(folder).join(name), bytes)?;
        if *name == format!("{newest}.root.json") {
            metadata::write(&folder.join("root.json"), bytes)?;
        }
    }
    Ok(fetched)
}

async fn copy_archives(registry: &Registry, folder: &Path, scratch: &Path) -> Result<usize, RegistryError> {
    let mut fetched = 0;
    for entry in registry.entries() {
        let stored = format!("{}.{}", entry.archive.sha256, entry.listing.file_name());
        let to = targets_folder(folder).join(stored);
        if fs::metadata(&to).is_ok_and(|there| there.len() == entry.archive.bytes) {
            continue;
        }
        let path = registry.fetch(entry, scratch, &|_, _| ()).await?;
        let bytes = fs::read(&path).map_err(RegistryError::io(&path))?;
        metadata::write(&to, &bytes)?;
        fs::remove_file(&path).map_err(RegistryError::io(&path))?;
        fetched += 1;
    }
    if let Some((sha256, bytes)) = registry.revocation_file().await? {
        metadata::write(&targets_folder(folder).join(format!("{sha256}.{REVOKED_NAME}")), &bytes)?;
    }
    Ok(fetched)
}

fn scratch() -> Result<TempDir, RegistryError> {
    tempfile::tempdir()
        .map_err(|error| RegistryError::new(Code::Io, format!("no folder for a while: {error}")))
}

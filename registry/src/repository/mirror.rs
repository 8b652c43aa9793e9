//! Copies registries and verifies whole registries. A copy has the same bytes: it needs no keys, and is exactly as
//! trustworthy as its source.

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

/// The result of verifying an intact registry.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Checked {
    /// The number of archives, all fetched and hashed.
    pub archives: usize,
    /// The size of all archives in bytes.
    pub bytes: u64,
    /// The number of revoked versions.
    pub revoked: usize,
    /// Each role with the time when its metadata expires.
    pub expires: Vec<(String, String)>,
    /// Files that this version cannot interpret.
    pub unreadable: Vec<String>,
}

/// Verifies everything in a registry's folder, including every archive.
///
/// # Errors
/// The first error found.
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

/// Lists the packages in a registry's folder, even if its metadata has expired.
///
/// # Errors
/// Fails if the registry differs from what was signed.
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

/// Copies a registry into a folder, or updates a copy: archives first, the timestamp last. Returns how many archives
/// were fetched.
///
/// # Errors
/// Fails if the registry is rejected, or if the folder contains a registry with another root.
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
            // Roots before the trusted one are for clients that still know an older one.
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

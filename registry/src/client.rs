//! The client of a registry: opens it, lists its packages, fetches archives. It rejects everything that is not signed
//! by an authorized key or is older than what was seen before.

use std::{
    io::Write,
    path::{Path, PathBuf},
    time::Duration,
};

use futures_util::{Stream, StreamExt};
use semver::Version;
use tempfile::TempDir;
use tinybase_package::{archive, unpacked::hex};
use tough::{ExpirationEnforcement, IntoVec, RepositoryLoader, TargetName, Transport, TransportError};
use url::Url;

use crate::{
    entry::{Entry, REVOKED_NAME, Revocation, RevocationList},
    error::{Code, Fetching, RegistryError, translate, translate_transport},
    source::{Limits, Source},
    transport::Fetcher,
};

mod datastore;
mod listing;

use datastore::Datastore;
pub(crate) use listing::{is_name, names_of};

/// An opened registry, with verified metadata of one point in time.
#[derive(Debug)]
pub struct Registry {
    name: String,
    limits: Limits,
    transport: Fetcher,
    metadata_url: Url,
    repository: tough::Repository,
    entries: Vec<Entry>,
    unreadable: Vec<String>,
    revocations: Vec<Revocation>,
    _work: TempDir,
}

impl Registry {
    /// Fetches and verifies a registry's metadata. The folder `datastore`, which is created if missing, stores what was
    /// seen, so that older metadata is rejected. Each source needs its own folder.
    ///
    /// # Errors
    /// See [`Code`]; the message begins with the registry's name.
    pub async fn open(source: &Source, datastore: &Path, limits: &Limits) -> Result<Registry, RegistryError> {
        let deadline = Duration::from_millis(limits.metadata_timeout_ms);
        let opened = tokio::time::timeout(deadline, open(source, datastore, limits)).await;
        let opened = opened.unwrap_or_else(|_| Err(too_slow(limits.metadata_timeout_ms)));
        opened.map_err(|error| error.of(&source.name))
    }

    /// Returns the registry's configured name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns every package by name, the newest version first.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// Returns the signed files that this version cannot interpret.
    pub fn unreadable(&self) -> &[String] {
        &self.unreadable
    }

    /// Returns the operator's revocations.
    pub fn revocations(&self) -> &[Revocation] {
        &self.revocations
    }

    /// Returns the package with a name, version and target.
    ///
    /// # Errors
    /// [`Code::UnknownExtension`] if there is none.
    pub fn entry(&self, name: &str, version: &Version, target: &str) -> Result<&Entry, RegistryError> {
        let found = self.entries.iter().find(|entry| {
            let listing = &entry.listing;
            listing.name == name && listing.version == *version && listing.target == target
        });
        found.ok_or_else(|| {
            let words = format!("there is no {name} {version} for {target}");
            RegistryError::new(Code::UnknownExtension, words).of(&self.name)
        })
    }

    /// Fetches an archive into an existing folder and verifies it while it is received. `progress` is called with the
    /// bytes received and the total. An incomplete or unverified file is deleted.
    ///
    /// # Errors
    /// See [`Code`].
    pub async fn fetch(
        &self,
        entry: &Entry,
        into: &Path,
        progress: &(dyn Fn(u64, u64) + Send + Sync),
    ) -> Result<PathBuf, RegistryError> {
        let deadline = Duration::from_millis(self.limits.archive_timeout_ms);
        let fetched = tokio::time::timeout(deadline, self.fetch_archive(entry, into, progress)).await;
        let fetched = fetched.unwrap_or_else(|_| Err(too_slow(self.limits.archive_timeout_ms)));
        fetched.map_err(|error| error.of(&self.name))
    }

    async fn fetch_archive(
        &self,
        entry: &Entry,
        into: &Path,
        progress: &(dyn Fn(u64, u64) + Send + Sync),
    ) -> Result<PathBuf, RegistryError> {
        let (bytes, limit) = (entry.archive.bytes, self.limits.archive_bytes_max);
        if bytes > limit {
            let words = format!("the archive is of {bytes} bytes; {limit} are allowed");
            return Err(RegistryError::new(Code::ArchiveTooLarge, words));
        }
        let file_name = entry.listing.file_name();
        let mut stream = self.target(&file_name, Fetching::Archive).await?;
        let mut file = tempfile::Builder::new()
            .prefix(".fetching-")
            .suffix(archive::EXTENSION)
            .tempfile_in(into)
            .map_err(RegistryError::io(into))?;
        let mut done = 0;
        progress(done, bytes);
        while let Some(chunk) = stream.next().await {
            let chunk = chunk.map_err(|error| translate(&error, Fetching::Archive))?;
            file.write_all(&chunk).map_err(RegistryError::io(into))?;
            done += chunk.len() as u64;
            progress(done, bytes);
        }
        if done != bytes {
            let words = format!("{file_name}: {done} bytes came, and {bytes} were signed");
            return Err(RegistryError::new(Code::HashMismatch, words));
        }
        let path = into.join(&file_name);
        file.as_file().sync_all().map_err(RegistryError::io(&path))?;
        file.persist(&path).map_err(|error| RegistryError::io(&path)(error.error))?;
        Ok(path)
    }

    async fn target(
        &self,
        name: &str,
        fetching: Fetching,
    ) -> Result<
        impl Stream<Item = tough::error::Result<bytes::Bytes>> + IntoVec<tough::error::Error> + Send + Unpin,
        RegistryError,
    > {
        let target = TargetName::new(name).map_err(|error| translate(&error, fetching))?;
        let stream =
            self.repository.read_target(&target).await.map_err(|error| translate(&error, fetching))?;
        let stream = stream.ok_or_else(|| {
            RegistryError::new(Code::UnknownExtension, format!("{name}: there is no such file"))
        })?;
        Ok(Box::pin(stream))
    }

    /// Reads the operator's revocations; none if there is no list.
    async fn read_revocations(&self) -> Result<Vec<Revocation>, RegistryError> {
        let Some((_, json)) = self.revocation_file().await? else { return Ok(Vec::new()) };
        let list: RevocationList = serde_json::from_slice(&json)
            .map_err(|error| RegistryError::new(Code::MetadataInvalid, format!("{REVOKED_NAME}: {error}")))?;
        Ok(list.revoked)
    }

    /// Returns the file with the operator's revocations and its hash.
    pub(crate) async fn revocation_file(&self) -> Result<Option<(String, Vec<u8>)>, RegistryError> {
        let name = TargetName::new(REVOKED_NAME).expect("the name of a file is one of a target");
        let Some(target) = self.repository.targets().signed.targets.get(&name) else { return Ok(None) };
        if target.length > self.limits.metadata_bytes_max {
            let words = format!(
                "{REVOKED_NAME}: it is of {} bytes; {} are allowed",
                target.length, self.limits.metadata_bytes_max
            );
            return Err(RegistryError::new(Code::MetadataTooLarge, words));
        }
        let stream = self.target(REVOKED_NAME, Fetching::Metadata).await?;
        let json = stream.into_vec().await.map_err(|error| translate(&error, Fetching::Metadata))?;
        Ok(Some((hex(&target.hashes.sha256), json)))
    }

    /// Returns a metadata file as served, unverified.
    pub(crate) async fn metadata_file(&self, name: &str) -> Result<Vec<u8>, RegistryError> {
        let url = self.metadata_url.join(name);
        let url =
            url.map_err(|error| RegistryError::new(Code::MetadataInvalid, format!("{name}: {error}")))?;
        let fault = |error: TransportError| translate_transport(&error, Fetching::Metadata).of(&self.name);
        let mut stream = self.transport.fetch(url).await.map_err(fault)?;
        let mut bytes = Vec::new();
        while let Some(chunk) = stream.next().await {
            bytes.extend(chunk.map_err(fault)?);
            if bytes.len() as u64 > self.limits.metadata_bytes_max {
                let words = format!("{name}: it is larger than {} bytes", self.limits.metadata_bytes_max);
                return Err(RegistryError::new(Code::MetadataTooLarge, words).of(&self.name));
            }
        }
        Ok(bytes)
    }

    /// Returns the verified metadata.
    pub(crate) fn metadata(&self) -> &tough::Repository {
        &self.repository
    }
}

async fn open(source: &Source, datastore: &Path, limits: &Limits) -> Result<Registry, RegistryError> {
    let known = Datastore::lock(datastore, &source.root).await?;
    let (metadata, targets) = (source.location.folder("metadata")?, source.location.folder("targets")?);
    let transport = Fetcher::new(&metadata, limits)?;
    let root = known.root()?;
    let loaded = RepositoryLoader::new(&root, metadata.clone(), targets)
        .transport(transport.clone())
        .limits(tough::Limits {
            max_root_size: limits.metadata_bytes_max,
            max_targets_size: limits.metadata_bytes_max,
            max_timestamp_size: limits.metadata_bytes_max,
            max_snapshot_size: limits.metadata_bytes_max,
            max_root_updates: limits.root_updates_max,
        })
        .datastore(known.metadata_folder())
        .expiration_enforcement(ExpirationEnforcement::from(!source.allow_expired))
        .load()
        .await;
    let repository = loaded.map_err(|error| translate(&error, Fetching::Metadata))?;
    known.keep(repository.root())?;
    let listed = listing::read(&source.name, &repository.targets().signed)?;
    let mut registry = Registry {
        name: source.name.clone(),
        limits: *limits,
        transport,
        metadata_url: metadata,
        repository,
        entries: listed.entries,
        unreadable: listed.unreadable,
        revocations: Vec::new(),
        _work: known.release(),
    };
    registry.revocations = registry.read_revocations().await?;
    for entry in &mut registry.entries {
        let (listing, sha256) = (&entry.listing, Some(entry.archive.sha256.as_str()));
        let revocation = registry
            .revocations
            .iter()
            .find(|revoked| revoked.is_about(&listing.name, &listing.version, sha256));
        entry.revoked = revocation.map(|revocation| revocation.reason.clone());
    }
    Ok(registry)
}

fn too_slow(timeout_ms: u64) -> RegistryError {
    RegistryError::new(Code::Timeout, format!("it did not send everything within {timeout_ms} ms"))
}

//! A change of a registry: collected in memory, signed, checked in a staging folder the way a client checks it, then
//! put in place with the timestamp last. Clients never see a partial change.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::{self, File},
    num::NonZeroU64,
    path::{Path, PathBuf},
};

use tough::schema::{DelegatedRole, RoleType, Root, Signed, Snapshot, Targets, Timestamp};

use super::{Lifetimes, keys::Keyring, metadata, metadata_folder, targets_folder};
use crate::{
    client::Registry,
    error::{Code, RegistryError},
    source::{Limits, Location, Source},
};

/// A change in progress.
pub(super) struct Edit {
    folder: PathBuf,
    _lock: File,
    old_root: Option<Signed<Root>>,
    /// The root, with its changes.
    pub(super) root: Root,
    /// The registry's own role, with its changes.
    pub(super) targets: Targets,
    /// The publishers' roles, with their changes.
    pub(super) roles: BTreeMap<String, Targets>,
    snapshot: Snapshot,
    timestamp_version: Option<NonZeroU64>,
    changed: BTreeSet<String>,
    /// Roles that are already signed by their publishers.
    given: BTreeMap<String, Signed<Targets>>,
    is_root_changed: bool,
    is_targets_changed: bool,
    /// New files in `targets/`, by name.
    files: BTreeMap<String, Placed>,
}

/// The source of a new file in `targets/`.
pub(super) enum Placed {
    Copy(PathBuf),
    Bytes(Vec<u8>),
}

impl Edit {
    /// Starts a change of the registry in a folder.
    pub(super) fn open(folder: &Path) -> Result<Edit, RegistryError> {
        let lock = lock(folder)?;
        let at = |name: String| metadata_folder(folder).join(name);
        let root: Signed<Root> = metadata::read(&folder.join("root.json"))?;
        let timestamp: Signed<Timestamp> = metadata::read(&at("timestamp.json".to_owned()))?;
        let missing = |what: &str| RegistryError::new(Code::MetadataInvalid, format!("{what} is not listed"));
        let meta = timestamp.signed.meta.get("snapshot.json").ok_or_else(|| missing("snapshot.json"))?;
        let snapshot: Signed<Snapshot> = metadata::read(&at(format!("{}.snapshot.json", meta.version)))?;
        let read = |file: &str| {
            let meta = snapshot.signed.meta.get(file).ok_or_else(|| missing(file))?;
            metadata::read::<Targets>(&at(format!("{}.{file}", meta.version)))
        };
        let targets = read("targets.json")?.signed;
        let mut roles = BTreeMap::new();
        for role in targets.delegations.iter().flat_map(|delegations| &delegations.roles) {
            roles.insert(role.name.clone(), read(&format!("{}.json", role.name))?.signed);
        }
        Ok(Edit {
            folder: folder.to_owned(),
            _lock: lock,
            root: root.signed.clone(),
            old_root: Some(root),
            targets,
            roles,
            snapshot: snapshot.signed,
            timestamp_version: Some(timestamp.signed.version),
            changed: BTreeSet::new(),
            given: BTreeMap::new(),
            is_root_changed: false,
            is_targets_changed: false,
            files: BTreeMap::new(),
        })
    }

    /// Starts a new registry with this root.
    pub(super) fn create(folder: &Path, root: Root) -> Result<Edit, RegistryError> {
        for folder in [metadata_folder(folder), targets_folder(folder)] {
            fs::create_dir_all(&folder).map_err(RegistryError::io(&folder))?;
        }
        let (first, now) = (NonZeroU64::MIN, root.expires);
        Ok(Edit {
            folder: folder.to_owned(),
            _lock: lock(folder)?,
            old_root: None,
            targets: Targets::new(metadata::SPEC_VERSION.to_owned(), first, now),
            roles: BTreeMap::new(),
            snapshot: Snapshot::new(metadata::SPEC_VERSION.to_owned(), first, now),
            timestamp_version: None,
            changed: BTreeSet::new(),
            given: BTreeMap::new(),
            is_root_changed: true,
            is_targets_changed: true,
            files: BTreeMap::new(),
            root,
        })
    }

    /// Returns the registry's folder.
    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Marks the root to be signed again.
    pub(super) fn change_root(&mut self) {
        self.is_root_changed = true;
    }

    /// Marks the registry's own role to be signed again.
    pub(super) fn change_targets(&mut self) {
        self.is_targets_changed = true;
    }

    /// Marks a publisher's role to be signed again.
    pub(super) fn change_role(&mut self, name: &str) {
        self.changed.insert(name.to_owned());
    }

    /// Adds a publisher's role as signed by the publisher.
    pub(super) fn give_role(&mut self, name: &str, signed: Signed<Targets>) {
        self.given.insert(name.to_owned(), signed);
    }

    /// Adds a file to `targets/`.
    pub(super) fn place(&mut self, name: String, placed: Placed) {
        self.files.insert(name, placed);
    }

    /// Returns a publisher's delegation.
    pub(super) fn delegation(&self, publisher: &str) -> Result<&DelegatedRole, RegistryError> {
        let mut roles = self.targets.delegations.iter().flat_map(|delegations| &delegations.roles);
        roles.find(|role| role.name == publisher).ok_or_else(|| {
            let words = format!("there is no publisher {publisher:?}; `delegate` makes one");
            RegistryError::new(Code::UnknownExtension, words)
        })
    }

    /// Signs the change, checks it and puts it in place.
    pub(super) async fn commit(mut self, keys: &Keyring, lifetimes: &Lifetimes) -> Result<(), RegistryError> {
        let signed = self.sign(keys, lifetimes)?;
        let path = |name: &String| targets_folder(&self.folder).join(name);
        let new: Vec<PathBuf> = self.files.keys().map(path).filter(|path| !path.exists()).collect();
        let placed = self.place_files();
        let checked = match placed {
            Ok(()) => self.check(&signed).await,
            Err(error) => Err(error),
        };
        if let Err(error) = checked {
            for path in new {
                let _ = fs::remove_file(path);
            }
            return Err(error);
        }
        for (name, bytes) in &signed {
            metadata::write(&metadata_folder(&self.folder).join(name), bytes)?;
            if name.ends_with(".root.json") {
                metadata::write(&self.folder.join("root.json"), bytes)?;
            }
        }
        Ok(())
    }

    /// Returns all changed metadata files, in the order in which they are put in place.
    fn sign(
        &mut self,
        keys: &Keyring,
        lifetimes: &Lifetimes,
    ) -> Result<Vec<(String, Vec<u8>)>, RegistryError> {
        let mut files = Vec::new();
        if self.is_root_changed {
            let signed = self.sign_root(keys, lifetimes)?;
            files.push((format!("{}.root.json", signed.signed.version), metadata::to_bytes(&signed)));
        }
        if self.is_targets_changed {
            let mut targets = self.targets.clone();
            targets.version = self.next_version("targets.json");
            targets.expires = metadata::expires(lifetimes.targets)?;
            let signed = self.sign_as(keys, targets, RoleType::Targets)?;
            self.list(&mut files, "targets.json", signed.signed.version, metadata::to_bytes(&signed));
        }
        for name in self.changed.clone() {
            let file = format!("{name}.json");
            let mut role = self.roles.get(&name).expect("a role that changed is there").clone();
            role.version = self.next_version(&file);
            role.expires = metadata::expires(lifetimes.publisher)?;
            let delegation = self.delegation(&name)?;
            let what = format!("what {name} publishes");
            let signed = keys.sign(role, &what, &delegation.keyids, delegation.threshold.get())?;
            self.list(&mut files, &file, signed.signed.version, metadata::to_bytes(&signed));
        }
        for (name, signed) in self.given.clone() {
            self.list(
                &mut files,
                &format!("{name}.json"),
                signed.signed.version,
                metadata::to_bytes(&signed),
            );
        }
        let mut snapshot = self.snapshot.clone();
        if self.old_root.is_some() {
            snapshot.version = metadata::next(snapshot.version);
        }
        snapshot.expires = metadata::expires(lifetimes.snapshot)?;
        let version = snapshot.version;
        let bytes = metadata::to_bytes(&self.sign_as(keys, snapshot, RoleType::Snapshot)?);
        let mut timestamp = Timestamp::new(
            metadata::SPEC_VERSION.to_owned(),
            self.timestamp_version.map_or(NonZeroU64::MIN, metadata::next),
            metadata::expires(lifetimes.timestamp)?,
        );
        timestamp.meta.insert("snapshot.json".to_owned(), metadata::metafile(&bytes, version));
        files.push((format!("{version}.snapshot.json"), bytes));
        let signed = self.sign_as(keys, timestamp, RoleType::Timestamp)?;
        files.push(("timestamp.json".to_owned(), metadata::to_bytes(&signed)));
        Ok(files)
    }

    /// Returns the next version of a metadata file.
    pub(super) fn next_version(&self, file: &str) -> NonZeroU64 {
        self.snapshot.meta.get(file).map_or(NonZeroU64::MIN, |meta| metadata::next(meta.version))
    }

    fn list(&mut self, files: &mut Vec<(String, Vec<u8>)>, file: &str, version: NonZeroU64, bytes: Vec<u8>) {
        self.snapshot.meta.insert(file.to_owned(), metadata::metafile(&bytes, version));
        files.push((format!("{version}.{file}"), bytes));
    }

    fn sign_as<T: tough::schema::Role>(
        &self,
        keys: &Keyring,
        role: T,
        kind: RoleType,
    ) -> Result<Signed<T>, RegistryError> {
        let holders = self.root.roles.get(&kind).expect("a root names all four roles");
        keys.sign(role, &format!("the {kind} metadata"), &holders.keyids, holders.threshold.get())
    }

    /// Signs a new root with the keys of the old one as well, so that clients can follow.
    fn sign_root(&mut self, keys: &Keyring, lifetimes: &Lifetimes) -> Result<Signed<Root>, RegistryError> {
        if let Some(old) = &self.old_root {
            self.root.version = metadata::next(old.signed.version);
        }
        self.root.expires = metadata::expires(lifetimes.root)?;
        let mut signed = self.sign_as(keys, self.root.clone(), RoleType::Root)?;
        if let Some(old) = &self.old_root {
            let holders = old.signed.roles.get(&RoleType::Root).expect("a root names all four roles");
            let count = keys.sign_more(&mut signed, &holders.keyids)?;
            if count < holders.threshold.get() {
                let words = format!(
                    "a new root must be signed by {} keys of the old one, and {count} of them is at hand",
                    holders.threshold
                );
                return Err(RegistryError::new(Code::ThresholdNotMet, words));
            }
        }
        Ok(signed)
    }

    fn place_files(&self) -> Result<(), RegistryError> {
        for (name, placed) in &self.files {
            let path = targets_folder(&self.folder).join(name);
            let bytes = match placed {
                Placed::Bytes(bytes) => bytes.clone(),
                Placed::Copy(from) => fs::read(from).map_err(RegistryError::io(from))?,
            };
            metadata::write(&path, &bytes)?;
        }
        Ok(())
    }

    /// Opens the changed registry like a client that knows the root before this change.
    async fn check(&self, signed: &[(String, Vec<u8>)]) -> Result<(), RegistryError> {
        let stage = Stage::of(&self.folder)?;
        for (name, bytes) in signed {
            stage.put(name, bytes)?;
        }
        let root = match &self.old_root {
            Some(_) => super::read_root(&self.folder.join("root.json"))?,
            None => signed[0].1.clone(),
        };
        stage.open(root).await.map(drop)
    }
}

/// A copy of a registry's metadata inside its folder, to check a change before it is made.
pub(super) struct Stage {
    folder: tempfile::TempDir,
}

impl Stage {
    /// Creates a copy of all existing metadata.
    pub(super) fn of(registry: &Path) -> Result<Stage, RegistryError> {
        let fault = || RegistryError::io(registry);
        let folder = tempfile::Builder::new().prefix(".staging-").tempdir_in(registry).map_err(fault())?;
        let metadata = metadata_folder(folder.path());
        fs::create_dir(&metadata).map_err(fault())?;
        for entry in fs::read_dir(metadata_folder(registry)).map_err(fault())? {
            let entry = entry.map_err(fault())?;
            fs::copy(entry.path(), metadata.join(entry.file_name())).map_err(fault())?;
        }
        std::os::unix::fs::symlink("../targets", targets_folder(folder.path())).map_err(fault())?;
        Ok(Stage { folder })
    }

    /// Adds or replaces a metadata file.
    pub(super) fn put(&self, name: &str, bytes: &[u8]) -> Result<(), RegistryError> {
        metadata::write(&metadata_folder(self.folder.path()).join(name), bytes)
    }

    /// Opens the copy like a client, even if it has expired.
    pub(super) async fn open(&self, root: Vec<u8>) -> Result<Registry, RegistryError> {
        let source = Source {
            name: "the changed registry".to_owned(),
            location: Location::Path(self.folder.path().to_owned()),
            root,
            allow_expired: true,
        };
        Registry::open(&source, &self.folder.path().join("known"), &Limits::default()).await
    }
}

/// Locks the registry, so that only one command changes it at a time.
fn lock(folder: &Path) -> Result<File, RegistryError> {
    let path = folder.join(".lock");
    let file = File::create(&path).map_err(RegistryError::io(&path))?;
    file.lock().map_err(RegistryError::io(&path))?;
    Ok(file)
}

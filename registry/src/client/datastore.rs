//! What is known of a registry from one run to the next: the newest root, and the newest metadata that was verified. It is what an
//! older state is refused by, so it is written whole or not at all, and one process uses it at a time.

use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use tinybase_package::unpacked::hex;
use tough::schema::{Root, Signed, Snapshot};

use crate::error::{Code, RegistryError};

const LOCK_NAME: &str = "lock";
const ROOT_NAME: &str = "trusted-root.json";

/// The newest root that was verified, and the configured one that it was reached from.
#[derive(Serialize, Deserialize)]
struct Known {
    configured_sha256: String,
    root: serde_json::Value,
}

/// The folder of one source, held by this process alone.
pub(super) struct Datastore {
    folder: PathBuf,
    configured: Vec<u8>,
    _lock: File,
}

impl Datastore {
    /// Makes the folder where it is missing, and waits until no other process uses it.
    pub(super) async fn lock(folder: &Path, configured: &[u8]) -> Result<Datastore, RegistryError> {
        let (folder, configured) = (folder.to_owned(), configured.to_owned());
        let task = tokio::task::spawn_blocking(move || {
            fs::create_dir_all(folder.join("metadata")).map_err(fault(&folder))?;
            let path = folder.join(LOCK_NAME);
            let lock = File::create(&path).map_err(fault(&path))?;
            lock.lock().map_err(fault(&path))?;
            Ok(Datastore { folder, configured, _lock: lock })
        });
        task.await.map_err(|error| RegistryError::new(Code::Datastore, error.to_string()))?
    }

    /// Where `tough` keeps what it saw.
    pub(super) fn metadata_folder(&self) -> PathBuf {
        self.folder.join("metadata")
    }

    /// The root to begin with: the newest one that was reached from the configured one, else that. Beginning at the configured
    /// one each time would let a registry go back to keys that were replaced.
    pub(super) fn root(&self) -> Result<Vec<u8>, RegistryError> {
        let path = self.folder.join(ROOT_NAME);
        let json = match fs::read(&path) {
            Ok(json) => json,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(self.configured.clone()),
            Err(error) => return Err(fault(&path)(error)),
        };
        let known: Known = serde_json::from_slice(&json).map_err(|error| {
            let words = format!(
                "{}: it is damaged ({error}); remove it to begin anew at the configured root",
                path.display()
            );
            RegistryError::new(Code::Datastore, words)
        })?;
        if known.configured_sha256 != self.configured_sha256() {
            // Another root of trust was configured: what was known under the old one says nothing any more.
            self.forget()?;
            return Ok(self.configured.clone());
        }
        Ok(serde_json::to_vec(&known.root).expect("JSON that was read can be written"))
    }

    fn configured_sha256(&self) -> String {
        hex(&Sha256::digest(&self.configured))
    }

    fn forget(&self) -> Result<(), RegistryError> {
        let folder = self.metadata_folder();
        fs::remove_dir_all(&folder).and_then(|()| fs::create_dir(&folder)).map_err(fault(&folder))
    }

    /// Keeps the root that was reached.
    pub(super) fn keep_root(&self, root: &Signed<Root>) -> Result<(), RegistryError> {
        let mut root = serde_json::to_value(root).expect("a root that was read can be written");
        // In one order, so that what did not change is seen as such.
        root.sort_all_objects();
        let known = Known { configured_sha256: self.configured_sha256(), root };
        let path = self.folder.join(ROOT_NAME);
        let json = serde_json::to_vec(&known).expect("a root is JSON");
        if fs::read(&path).is_ok_and(|there| there == json) {
            return Ok(());
        }
        let mut file = tempfile::NamedTempFile::new_in(&self.folder).map_err(fault(&self.folder))?;
        io::Write::write_all(&mut file, &json).map_err(fault(&path))?;
        file.as_file().sync_all().map_err(fault(&path))?;
        file.persist(&path).map_err(|error| fault(&path)(error.error))?;
        Ok(())
    }

    /// Removes the older versions of publishers' metadata, of which `tough` keeps each under a name of its own.
    pub(super) fn drop_old(&self, snapshot: &Signed<Snapshot>) -> Result<(), RegistryError> {
        let folder = self.metadata_folder();
        for entry in fs::read_dir(&folder).map_err(fault(&folder))? {
            let name = entry.map_err(fault(&folder))?.file_name().to_string_lossy().into_owned();
            let Some((version, role)) = name.split_once('.') else { continue };
            let Ok(version) = version.parse::<u64>() else { continue };
            if snapshot.signed.meta.get(role).is_none_or(|meta| meta.version.get() != version) {
                fs::remove_file(folder.join(&name)).map_err(fault(&folder))?;
            }
        }
        Ok(())
    }
}

fn fault(path: &Path) -> impl FnOnce(io::Error) -> RegistryError {
    let path = path.display().to_string();
    move |error| {
        RegistryError::new(Code::Datastore, format!("what is known of it cannot be kept: {path}: {error}"))
    }
}

//! The state of a registry kept between runs: the newest root, and the newest verified metadata. Older states are
//! rejected by comparison with it, so it is written atomically, and only one process uses it at a time.

use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use tempfile::TempDir;
use tinybase_package::unpacked::hex;
use tough::schema::{Root, Signed};

use crate::error::{Code, RegistryError};

const LOCK_NAME: &str = "lock";
const ROOT_NAME: &str = "trusted-root.json";
const METADATA_NAME: &str = "metadata";
/// The files that `tough` reads in later runs; the others belong to one run.
const KEPT: [&str; 3] = ["timestamp.json", "snapshot.json", "latest_known_time.json"];

/// The newest verified root, and the configured root it was reached from.
#[derive(Serialize, Deserialize)]
struct Known {
    configured_sha256: String,
    root: serde_json::Value,
}

/// The folder of one source, locked by this process.
pub(super) struct Datastore {
    folder: PathBuf,
    configured: Vec<u8>,
    /// The working folder of `tough`, which writes file by file and would treat a partial file as none.
    work: TempDir,
    _lock: File,
}

impl Datastore {
    /// Creates the folder if missing, and waits until no other process uses it.
    pub(super) async fn lock(folder: &Path, configured: &[u8]) -> Result<Datastore, RegistryError> {
        let (folder, configured) = (folder.to_owned(), configured.to_owned());
        let task = tokio::task::spawn_blocking(move || {
            let metadata = folder.join(METADATA_NAME);
            fs::create_dir_all(&metadata).map_err(fault(&metadata))?;
            let path = folder.join(LOCK_NAME);
            let lock = File::create(&path).map_err(fault(&path))?;
            lock.lock().map_err(fault(&path))?;
            let work = TempDir::new().map_err(fault(Path::new("a folder for a while")))?;
            let datastore = Datastore { folder, configured, work, _lock: lock };
            datastore.copy_known()?;
            Ok(datastore)
        });
        task.await.map_err(|error| RegistryError::new(Code::Datastore, error.to_string()))?
    }

    fn copy_known(&self) -> Result<(), RegistryError> {
        for name in KEPT {
            let path = self.folder.join(METADATA_NAME).join(name);
            match fs::copy(&path, self.work.path().join(name)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(fault(&path)(error)),
                _ => {}
            }
        }
        Ok(())
    }

    /// Releases the lock. The working folder of `tough` must live as long as the repository it opened.
    pub(super) fn release(self) -> TempDir {
        self.work
    }

    /// Returns the folder where `tough` stores the metadata of this run.
    pub(super) fn metadata_folder(&self) -> PathBuf {
        self.work.path().to_owned()
    }

    /// Returns the root to start with: the newest one reached from the configured root, or the configured root itself.
    /// Always starting with the configured one would let a registry return to replaced keys.
    pub(super) fn root(&self) -> Result<Vec<u8>, RegistryError> {
        let path = self.folder.join(ROOT_NAME);
        let json = match fs::read(&path) {
            Ok(json) => json,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(self.configured.clone()),
            Err(error) => return Err(fault(&path)(error)),
        };
        let known: Known = serde_json::from_slice(&json).map_err(|error| {
            let words = format!(
                "{}: it is damaged ({error}); remove it to begin again at the configured root",
                path.display()
            );
            RegistryError::new(Code::Datastore, words)
        })?;
        if known.configured_sha256 != self.configured_sha256() {
            // Another root of trust was configured, so the state under the old one no longer applies.
            self.forget()?;
            return Ok(self.configured.clone());
        }
        Ok(serde_json::to_vec(&known.root).expect("JSON that was read can be written"))
    }

    fn configured_sha256(&self) -> String {
        hex(&Sha256::digest(&self.configured))
    }

    /// Deletes the state under another root of trust.
    fn forget(&self) -> Result<(), RegistryError> {
        for name in KEPT {
            let path = self.work.path().join(name);
            match fs::remove_file(&path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(fault(&path)(error)),
                _ => {}
            }
        }
        Ok(())
    }

    /// Stores the verified metadata and the newest root.
    pub(super) fn keep(&self, root: &Signed<Root>) -> Result<(), RegistryError> {
        let mut root = serde_json::to_value(root).expect("a root that was read can be written");
        // Sorted, so that unchanged content is recognized.
        root.sort_all_objects();
        let known = Known { configured_sha256: self.configured_sha256(), root };
        self.write(&self.folder.join(ROOT_NAME), &serde_json::to_vec(&known).expect("a root is JSON"))?;
        for name in KEPT {
            let path = self.work.path().join(name);
            let bytes = fs::read(&path).map_err(fault(&path))?;
            self.write(&self.folder.join(METADATA_NAME).join(name), &bytes)?;
        }
        Ok(())
    }

    /// Writes a file atomically, unless it already has this content.
    fn write(&self, path: &Path, bytes: &[u8]) -> Result<(), RegistryError> {
        if fs::read(path).is_ok_and(|there| there == bytes) {
            return Ok(());
        }
        let mut file = tempfile::NamedTempFile::new_in(&self.folder).map_err(fault(path))?;
        io::Write::write_all(&mut file, bytes).map_err(fault(path))?;
        file.as_file().sync_all().map_err(fault(path))?;
        file.persist(path).map_err(|error| fault(path)(error.error))?;
        Ok(())
    }
}

fn fault(path: &Path) -> impl FnOnce(io::Error) -> RegistryError {
    let path = path.display().to_string();
    move |error| {
        RegistryError::new(Code::Datastore, format!("what is known of it cannot be kept: {path}: {error}"))
    }
}

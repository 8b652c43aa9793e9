//! The load marker: a file that is synced to disk before a plugin is loaded and started, and locked by the
//! process that loads it. An unlocked marker names a plugin that took its host down.

use std::{
    fs::{self, File},
    io::{self, Write},
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
};

use serde::{Deserialize, Serialize};

/// The name prefix of marker files in the extensions' folder.
const FILE_NAME: &str = ".loading";

/// The package being loaded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Loading {
    /// The extension's name.
    pub name: String,
    /// The hash of its package.
    pub hash: String,
}

/// The folder of the markers.
#[derive(Debug, Clone)]
pub struct Marker {
    folder: PathBuf,
}

/// A marker that is set.
#[derive(Debug)]
pub struct Set {
    path: PathBuf,
    /// Locked until this process clears it or ends.
    _file: File,
}

impl Marker {
    /// Uses the markers in the extensions' folder.
    pub fn new(folder: &Path) -> Marker {
        Marker { folder: folder.to_owned() }
    }

    /// Returns the marker files that no living process has locked.
    fn left(&self) -> io::Result<Vec<PathBuf>> {
        let entries = match fs::read_dir(&self.folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries?,
        };
        let mut left = Vec::new();
        for entry in entries {
            let entry = entry?;
            if !entry.file_name().to_string_lossy().starts_with(FILE_NAME) {
                continue;
            }
            match File::open(entry.path()) {
                // A locked marker belongs to a node that shares this folder and is still loading.
                Ok(file) if file.try_lock().is_ok() => left.push(entry.path()),
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        Ok(left)
    }

    /// Returns the packages that were being loaded when a host went down.
    pub fn found(&self) -> io::Result<Vec<Loading>> {
        let read =
            |path: PathBuf| fs::read(path).ok().and_then(|content| serde_json::from_slice(&content).ok());
        Ok(self.left()?.into_iter().filter_map(read).collect())
    }

    /// Sets a marker. It is on disk when this returns.
    pub fn set(&self, activation: &Loading) -> io::Result<Set> {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        fs::create_dir_all(&self.folder)?;
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = self.folder.join(format!("{FILE_NAME}-{}-{number}", std::process::id()));
        let mut file = File::create(&path)?;
        file.lock()?;
        file.write_all(serde_json::to_string(activation)?.as_bytes())?;
        file.sync_all()?;
        File::open(&self.folder)?.sync_all()?;
        Ok(Set { path, _file: file })
    }

    /// Removes the markers that no living process has locked.
    pub fn clear_found(&self) -> io::Result<()> {
        self.left()?.iter().try_for_each(|path| remove(path))
    }
}

impl Set {
    /// Removes the marker after the plugin loaded without harm.
    pub fn clear(self) -> io::Result<()> {
        remove(&self.path)
    }
}

fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_marker_that_nobody_holds_is_found_until_it_is_cleared() {
        let folder = tempfile::tempdir().unwrap();
        let marker = Marker::new(&folder.path().join("extensions"));
        assert_eq!(marker.found().unwrap(), []);
        let activation = Loading { name: "bad".to_owned(), hash: "00".to_owned() };
        let set = marker.set(&activation).unwrap();
        assert_eq!(marker.found().unwrap(), [], "whoever set it still lives");
        drop(set);
        assert_eq!(marker.found().unwrap(), std::slice::from_ref(&activation));
        marker.set(&activation).unwrap().clear().unwrap();
        assert_eq!(marker.found().unwrap(), [activation]);
        marker.clear_found().unwrap();
        marker.clear_found().unwrap();
        assert_eq!(marker.found().unwrap(), []);
    }
}

//! The load marker: synced to disk around the load and start of each plugin. One that is found at boot names the plugin
//! that took the host down.

use std::{
    fs::{self, File},
    io::{self, Write},
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

/// The marker's file in the extensions' folder.
const FILE_NAME: &str = ".loading";

/// What was being loaded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Loading {
    /// The extension.
    pub name: String,
    /// Its package's hash.
    pub hash: String,
}

/// The place of the marker.
#[derive(Debug, Clone)]
pub struct Marker {
    folder: PathBuf,
}

impl Marker {
    /// The marker in the extensions' folder.
    pub fn new(folder: &Path) -> Marker {
        Marker { folder: folder.to_owned() }
    }

    fn path(&self) -> PathBuf {
        self.folder.join(FILE_NAME)
    }

    /// What was being loaded when the host went down last time.
    pub fn found(&self) -> io::Result<Option<Loading>> {
        match fs::read(self.path()) {
            Ok(content) => Ok(serde_json::from_slice(&content).ok()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Sets the marker; it is on disk when this returns.
    pub fn set(&self, loading: &Loading) -> io::Result<()> {
        fs::create_dir_all(&self.folder)?;
        let mut file = File::create(self.path())?;
        file.write_all(serde_json::to_string(loading)?.as_bytes())?;
        file.sync_all()?;
        File::open(&self.folder)?.sync_all()
    }

    /// Takes the marker away: the plugin did no harm.
    pub fn clear(&self) -> io::Result<()> {
        match fs::remove_file(self.path()) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_marker_is_found_until_it_is_cleared() {
        let folder = tempfile::tempdir().unwrap();
        let marker = Marker::new(&folder.path().join("extensions"));
        assert_eq!(marker.found().unwrap(), None);
        let loading = Loading { name: "bad".to_owned(), hash: "00".to_owned() };
        marker.set(&loading).unwrap();
        assert_eq!(Marker::new(&folder.path().join("extensions")).found().unwrap(), Some(loading));
        marker.clear().unwrap();
        marker.clear().unwrap();
        assert_eq!(marker.found().unwrap(), None);
    }
}

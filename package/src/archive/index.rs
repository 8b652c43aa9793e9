//! Checks an archive's list of files before anything is written. It never reads a file's content.

use std::collections::BTreeSet;

use super::{ArchiveError, FORMAT, Fault, INDEX_NAME, Index, Limits, header, is_target};
use crate::manifest::FILE_NAME;

impl Index {
    /// Parses the list of an archive of `archive_bytes` bytes.
    pub(super) fn read(json: &[u8], archive_bytes: u64, limits: &Limits) -> Result<Index, ArchiveError> {
        let invalid =
            |words: String| ArchiveError::new(Fault::IndexInvalid, format!("{INDEX_NAME}: {words}"));
        let any: serde_json::Value =
            serde_json::from_slice(json).map_err(|error| invalid(error.to_string()))?;
        let format = any.get("format").and_then(serde_json::Value::as_u64);
        if format != Some(u64::from(FORMAT)) {
            let words =
                format!("{INDEX_NAME}: this version reads packages of the form {FORMAT}; update the host");
            return Err(ArchiveError::new(Fault::Format, words));
        }
        let index: Index = serde_json::from_slice(json).map_err(|error| invalid(error.to_string()))?;
        if index.to_json() != json {
            return Err(invalid("it is not written as a packer writes it".to_owned()));
        }
        if !is_target(&index.target) {
            return Err(invalid(format!("{:?} is no target such as x86_64-unknown-linux-gnu", index.target)));
        }
        if !index.lists(FILE_NAME) {
            return Err(ArchiveError::new(
                Fault::Missing,
                format!("{FILE_NAME}: the package has no manifest"),
            ));
        }
        index.check_names()?;
        index.check_sizes(archive_bytes, limits)?;
        Ok(index)
    }

    /// Returns the list's bytes.
    pub(super) fn to_json(&self) -> Vec<u8> {
        let mut json = serde_json::to_vec(self).expect("a list of files is JSON");
        json.push(b'\n');
        json
    }

    /// Returns whether a file is in the list.
    pub(super) fn lists(&self, path: &str) -> bool {
        self.files.iter().any(|file| file.path == path)
    }

    /// Returns the size of all files together.
    pub(super) fn bytes(&self) -> u64 {
        self.files.iter().fold(0, |sum, file| sum.saturating_add(file.bytes))
    }

    fn check_names(&self) -> Result<(), ArchiveError> {
        let mut files = BTreeSet::from([INDEX_NAME.to_owned()]);
        let mut folders = BTreeSet::new();
        for file in &self.files {
            header::check_path(&file.path)?;
            let folded = file.path.to_lowercase();
            folders.extend(folded.match_indices('/').map(|(end, _)| folded[..end].to_owned()));
            if !files.insert(folded) {
                return Err(duplicate(&file.path));
            }
        }
        match self.files.iter().find(|file| folders.contains(&file.path.to_lowercase())) {
            Some(file) => Err(duplicate(&file.path)),
            None => Ok(()),
        }
    }

    fn check_sizes(&self, archive_bytes: u64, limits: &Limits) -> Result<(), ArchiveError> {
        if self.files.len() > limits.files_max {
            let words =
                format!("the package has {} files; {} are allowed", self.files.len(), limits.files_max);
            return Err(ArchiveError::new(Fault::TooManyFiles, words));
        }
        if let Some(file) = self.files.iter().find(|file| file.bytes > limits.file_bytes_max) {
            let words = format!(
                "{}: it is of {} bytes; {} are allowed",
                file.path, file.bytes, limits.file_bytes_max
            );
            return Err(ArchiveError::new(Fault::FileTooLarge, words));
        }
        let bytes = self.bytes();
        if bytes > limits.unpacked_bytes_max {
            let words = format!(
                "the package's files are of {bytes} bytes together; {} are allowed",
                limits.unpacked_bytes_max
            );
            return Err(ArchiveError::new(Fault::TooLarge, words));
        }
        if bytes > archive_bytes.saturating_mul(limits.ratio_max) {
            let words = format!(
                "the package's files are of {bytes} bytes, more than {} times its archive's {archive_bytes}",
                limits.ratio_max
            );
            return Err(ArchiveError::new(Fault::Ratio, words));
        }
        Ok(())
    }
}

fn duplicate(path: &str) -> ArchiveError {
    let words =
        format!("{path}: another file of the package has this name, or one that differs by case alone");
    ArchiveError::new(Fault::Duplicate, words)
}

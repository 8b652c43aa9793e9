//! Crashes of this server in the code of an extension. They are read at the next start from what the process
//! wrote while crashing, logged and counted. Too many of them quarantine the extension.
//!
//! Never handles crashes that happen while a plugin is loaded.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{self, Write},
    path::{Path, PathBuf},
};

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use super::{LoadError, Plugins, lifecycle::ChangeError};
use crate::{isolation, metrics::stats};

/// The name prefix of the files that a process writes while crashing.
const FILE_NAME: &str = "crash-";
/// The file of crashes that were found.
const FOUND_NAME: &str = "crashes.json";
/// How long a crash counts.
const COUNTED_HOURS: i64 = 24;
/// The maximum number of crashes kept.
const KEPT_MAX: usize = 200;

/// What a process wrote when it crashed.
#[derive(Debug, Deserialize)]
struct Written {
    name: String,
    work: String,
    cause: String,
    in_host: bool,
}

/// A crash in the code of an extension.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Crash {
    /// The extension.
    name: String,
    /// The hash of its package.
    hash: String,
    /// When it was found (RFC 3339).
    found_at: String,
}

/// The crash files.
#[derive(Debug, Clone)]
pub(super) struct Crashes {
    folder: PathBuf,
}

impl Crashes {
    /// Uses the state folder of this server.
    pub(super) fn new(state_dir: &Path) -> Crashes {
        Crashes { folder: state_dir.to_owned() }
    }

    /// Makes this process write a record if it crashes.
    fn watch(&self) -> io::Result<()> {
        if isolation::is_watching_crashes() {
            return Ok(());
        }
        fs::create_dir_all(&self.folder)?;
        let file = File::create(self.folder.join(format!("{FILE_NAME}{}", std::process::id())))?;
        // Locked for the lifetime of this process: another process that starts reads only unlocked files.
        file.lock()?;
        isolation::watch_crashes(file)
    }

    /// Returns the records of processes that are gone, and deletes them.
    fn take(&self) -> io::Result<Vec<Written>> {
        let entries = match fs::read_dir(&self.folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries?,
        };
        let mut written = Vec::new();
        for entry in entries {
            let entry = entry?;
            let is_one = entry.file_name().to_string_lossy().strip_prefix(FILE_NAME).is_some();
            if !is_one || !File::open(entry.path()).is_ok_and(|file| file.try_lock().is_ok()) {
                continue;
            }
            let text = fs::read(entry.path())?;
            let lines = text.split(|byte| *byte == b'\n');
            written.extend(lines.filter_map(|line| serde_json::from_slice::<Written>(line).ok()));
            fs::remove_file(entry.path())?;
        }
        Ok(written)
    }

    /// Returns the crashes that still count at `now`.
    fn found(&self, now: Timestamp) -> Vec<Crash> {
        let text = fs::read(self.folder.join(FOUND_NAME)).unwrap_or_default();
        let mut found: Vec<Crash> = serde_json::from_slice(&text).unwrap_or_default();
        found.retain(|crash| {
            let found_at = crash.found_at.parse::<Timestamp>();
            found_at.is_ok_and(|at| now.duration_since(at).abs() < SignedDuration::from_hours(COUNTED_HOURS))
        });
        found
    }

    fn keep(&self, found: &[Crash]) -> io::Result<()> {
        let kept = &found[found.len().saturating_sub(KEPT_MAX)..];
        let (path, new) = (self.folder.join(FOUND_NAME), self.folder.join(format!("{FOUND_NAME}.new")));
        let mut file = File::create(&new)?;
        file.write_all(&serde_json::to_vec(kept)?)?;
        file.sync_all()?;
        fs::rename(new, path)
    }
}

impl Plugins {
    /// Logs which extensions took this server down before, and makes this process write a record if it
    /// crashes. An extension that crashed it `plugins.crashes_max` times within a day is quarantined.
    pub(super) async fn look_for_crashes(&self) -> Result<(), LoadError> {
        let file = |error| LoadError::file("the crashes of extensions", &error);
        let installed = self.store.all().await?;
        let (now, crashes) = (Timestamp::now(), &self.crashes);
        let mut found = crashes.found(now);
        for Written { name, work, cause, in_host } in crashes.take().map_err(file)? {
            let place = if in_host { "code of the server that it called" } else { "its own code" };
            tracing::error!(plugin = name, cause, "the extension took the server down in {work}, in {place}");
            if let Some(one) = installed.iter().find(|one| one.name == name) {
                found.push(Crash { name, hash: one.hash.clone(), found_at: now.to_string() });
            }
        }
        let max = self.shared.limits.crashes_max;
        let mut last = BTreeMap::new();
        for one in &installed {
            let of_one = |crash: &&Crash| crash.name == one.name && crash.hash == one.hash;
            let Some(crash) = found.iter().rfind(of_one) else { continue };
            let count = found.iter().filter(of_one).count();
            if max > 0 && count >= max && one.is_wanted() {
                let reason = format!(
                    "it took the server down {count} times within {COUNTED_HOURS} hours; install a version that works, or \
                     enable it again to try once more"
                );
                self.store.quarantine(&one.name, &reason).await?;
                found.retain(|crash| crash.name != one.name);
                continue;
            }
            let metrics = stats::plugin(&one.name);
            metrics.crashes.step(i64::try_from(count).unwrap_or(i64::MAX) - metrics.crashes.get());
            let words = format!(
                "it took this server down within {COUNTED_HOURS} hours, so often: {count}; the last time before {}",
                crash.found_at
            );
            last.insert(one.name.clone(), words);
        }
        *self.shared.crashed.lock() = last;
        crashes.keep(&found).map_err(file)?;
        crashes.watch().map_err(file)
    }

    /// Returns the warning for a running extension that took this server down before.
    pub(super) fn crashed(&self, name: &str) -> Option<ChangeError> {
        let words = self.shared.crashed.lock().get(name).cloned()?;
        Some(ChangeError { code: "server_crashed".into(), message: words })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_process_that_is_gone_wrote_is_told_once() {
        let folder = tempfile::tempdir().unwrap();
        let crashes = Crashes::new(folder.path());
        assert!(crashes.take().unwrap().is_empty());
        let line = r#"{"name":"bad","work":"a request","cause":"SIGABRT","in_host":false}"#;
        for (pid, text) in [(1, format!("{line}\n")), (2, String::new()), (3, "{\"name\":\"ba".to_owned())] {
            fs::write(folder.path().join(format!("crash-{pid}")), text).unwrap();
        }
        let held = File::create(folder.path().join("crash-4")).unwrap();
        held.lock().unwrap();
        let written = crashes.take().unwrap();
        assert_eq!(
            (written.len(), written[0].name.as_str(), written[0].cause.as_str()),
            (1, "bad", "SIGABRT")
        );
        assert!(crashes.take().unwrap().is_empty());
        assert!(folder.path().join("crash-4").exists(), "whoever holds it still lives");
    }

    #[test]
    fn a_crash_counts_for_a_day() {
        let folder = tempfile::tempdir().unwrap();
        let crashes = Crashes::new(folder.path());
        let crash =
            |time: &str| Crash { name: "bad".to_owned(), hash: "00".to_owned(), found_at: time.to_owned() };
        let (old, new) = (crash("2026-11-27T10:00:00Z"), crash("2026-11-28T09:00:00Z"));
        crashes.keep(&[old, new.clone()]).unwrap();
        assert_eq!(crashes.found("2026-11-28T11:00:00Z".parse().unwrap()), [new]);
        assert_eq!(crashes.found("2026-11-30T11:00:00Z".parse().unwrap()), []);
        fs::write(folder.path().join(FOUND_NAME), "no JSON").unwrap();
        assert_eq!(crashes.found(Timestamp::UNIX_EPOCH), []);
    }
}

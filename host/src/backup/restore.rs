//! Restores a backup: it is unpacked next to the instance and verified against its hashes, and then put in place in one
//! step. The old files are kept in a separate folder.

use std::{
    fs::{self, File},
    os::unix::fs::{MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use jiff::Timestamp;
use serde::Serialize;

use super::{
    About, about_of, archive,
    create::on_blocking_thread,
    error::{BackupError, io_error},
    folder::make_private,
    parts::Part,
    postgres,
    swap::{Journal, Move, Site, exists},
};
use crate::{
    config::{Config, ConfigError, DatabaseUrl},
    plugins::{ServerLock, server_lock},
};

/// The name prefix of the folder for the old files; the time follows.
const KEPT_PREFIX: &str = "before-restore-";

/// A backup that is unpacked and verified, but not yet in place.
#[derive(Debug)]
pub struct Prepared {
    site: Site,
    dir: PathBuf,
    config: Config,
    about: About,
    files: usize,
    journal: Journal,
    kept: PathBuf,
    /// Locked if there is an instance, so that no server starts there meanwhile.
    _server_lock: Option<File>,
}

/// The result of a restore.
#[derive(Debug, Clone, Serialize)]
pub struct Restored {
    /// The description of the backup.
    pub about: About,
    /// The number of files in it.
    pub files: usize,
    /// The folder with the old files, if there were any.
    pub kept: Option<PathBuf>,
}

/// Unpacks a backup next to the instance in `dir`, which may be empty or missing. Blocks.
///
/// # Errors
/// [`BackupError`], also if a server is running there; nothing is changed then.
pub fn prepare(dir: &Path, archive_path: &Path) -> Result<Prepared, BackupError> {
    let about = about_of(archive_path)?;
    let dir = std::path::absolute(dir).map_err(io_error("found", dir))?;
    let site = Site::open(&dir)?;
    let prepared = unpack(&site, archive_path).and_then(|files| {
        let config = config_of(&dir, &site.staged())?;
        check_engine(&about, &config)?;
        let server_lock = refuse_served(&dir)?;
        let kept = free_name(&dir);
        let journal = plan(&dir, &config, &site.staged(), &kept)?;
        Ok((files, config, server_lock, kept, journal))
    });
    match prepared {
        Ok((files, config, _server_lock, kept, journal)) => {
            Ok(Prepared { site, dir, config, about, files, journal, kept, _server_lock })
        }
        Err(error) => {
            site.close();
            Err(error)
        }
    }
}

impl Prepared {
    /// Returns the folder of the instance.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Returns the configuration as it will be after the restore.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Returns the description of the backup.
    pub fn about(&self) -> &About {
        &self.about
    }

    /// Whether it would replace anything.
    pub fn replaces(&self) -> bool {
        self.journal.moves.iter().any(|step| exists(&step.to))
    }

    /// Discards it; nothing was changed.
    pub fn give_up(self) {
        self.site.close();
    }

    /// Puts it in place. A PostgreSQL database, which must be empty, is filled first.
    ///
    /// # Errors
    /// [`BackupError`]. The next command in this folder finishes a started restore.
    pub async fn put_in_place(self) -> Result<Restored, BackupError> {
        let dump = self.site.staged().join(Part::PostgresDump.name());
        if let (DatabaseUrl::Postgres(url), true) = (&self.config.database.url, dump.exists()) {
            let url = url.clone();
            let filled = on_blocking_thread(move || postgres::restore(&url, &dump)).await;
            if let Err(error) = filled {
                self.site.close();
                return Err(error);
            }
        }
        let replaced = self.replaces();
        let Prepared { site, journal, about, files, kept, .. } = self;
        on_blocking_thread(move || {
            site.commit(&journal)?;
            site.close();
            Ok(())
        })
        .await?;
        Ok(Restored { about, files, kept: replaced.then_some(kept) })
    }
}

/// Unpacks everything below the staging folder and syncs each file to disk. Returns the number of files.
fn unpack(site: &Site, archive_path: &Path) -> Result<usize, BackupError> {
    let staged = site.staged();
    let manifest = archive::read(archive_path, |name, mode, content| {
        let path = staged.join(name);
        let parent = path.parent().unwrap_or(&staged);
        make_private(parent)?;
        let created = fs::OpenOptions::new().write(true).create_new(true).mode(mode | 0o600).open(&path);
        let mut file = created.map_err(io_error("created", &path))?;
        archive::copy_out(archive_path, content, &mut file, &path)
    })?;
    Ok(manifest.files.len())
}

/// Returns the configuration of the backup, for the folder that it is restored to.
fn config_of(dir: &Path, staged: &Path) -> Result<Config, BackupError> {
    Config::load_file(dir, &staged.join(Part::Config.name()), &[])
        .map_err(|error: ConfigError| BackupError::Unfit(format!("the configuration in the backup: {error}")))
}

fn check_engine(about: &About, config: &Config) -> Result<(), BackupError> {
    let named = match config.database.url {
        DatabaseUrl::Sqlite(_) => "sqlite",
        DatabaseUrl::Postgres(_) => "postgres",
    };
    if about.engine == named {
        return Ok(());
    }
    Err(BackupError::Unfit(format!(
        "the backup is of a {} database, and database.url names a {named} one: set TINYBASE_DB_URL for the restore, and move the \
         data afterwards with: tinybase db copy",
        about.engine
    )))
}

/// Refuses a folder whose instance is running; otherwise returns its lock.
fn refuse_served(dir: &Path) -> Result<Option<File>, BackupError> {
    let state = Config { dir: dir.to_owned(), ..Config::default() }.state_dir();
    match server_lock(&state).map_err(io_error("locked", &state))? {
        ServerLock::Taken(file) => Ok(Some(file)),
        ServerLock::NeverMade => Ok(None),
        ServerLock::Held => Err(BackupError::Unfit(format!(
            "a server serves in {}, or its extensions are being changed: stop it first",
            dir.display()
        ))),
    }
}

/// Returns an unused folder name for the old files.
fn free_name(dir: &Path) -> PathBuf {
    let time = Timestamp::now().strftime("%Y-%m-%dT%H-%M-%SZ").to_string();
    let name = |again: u32| match again {
        0 => dir.join(format!("{KEPT_PREFIX}{time}")),
        again => dir.join(format!("{KEPT_PREFIX}{time}-{again}")),
    };
    (0..).map(name).find(|path| !exists(path)).unwrap_or_else(|| name(u32::MAX))
}

/// Returns the renames that put the staged files in place and move the old ones away.
fn plan(dir: &Path, config: &Config, staged: &Path, kept: &Path) -> Result<Journal, BackupError> {
    let before = Config::load(dir, &[]).ok();
    let mut moves = Vec::new();
    for part in Part::ALL {
        let Some(place) = part.place(config) else { continue };
        let was_there = before.as_ref().and_then(|before| part.place(before)).is_some_and(|old| old == place);
        if !place.starts_with(dir) && exists(&place) && !was_there {
            return Err(BackupError::Unfit(format!(
                "the backup's configuration places {} outside of this folder, at {}, where something is already: that may be \
                 another instance; remove it, or set TINYBASE_DB_URL and the like for the restore",
                part.name(),
                place.display()
            )));
        }
        let source = staged.join(part.name());
        let source = exists(&source).then(|| beside(&source, &place)).transpose()?;
        if part == Part::Sqlite {
            // SQLite would read the log of the old file as that of the new one.
            for suffix in ["-wal", "-shm"] {
                let mut log = place.clone().into_os_string();
                log.push(suffix);
                moves.push(step(dir, None, log.into(), kept));
            }
        }
        if source.is_some() || exists(&place) {
            moves.push(step(dir, source, place, kept));
        }
    }
    Ok(Journal { moves })
}

fn step(dir: &Path, from: Option<PathBuf>, to: PathBuf, kept: &Path) -> Move {
    let kept = match to.strip_prefix(dir) {
        Ok(within) => kept.join(within),
        // It may be on another disk, which a rename cannot leave.
        Err(_) => {
            let mut aside = to.clone().into_os_string();
            aside.push(format!(".{}", kept.file_name().unwrap_or_default().to_string_lossy()));
            aside.into()
        }
    };
    Move { from, to, kept }
}

/// Returns the staged file on the disk of its place, since a rename is atomic only within one disk. Copies it there if
/// needed.
fn beside(source: &Path, place: &Path) -> Result<PathBuf, BackupError> {
    let parent = place.parent().unwrap_or(place);
    fs::create_dir_all(parent).map_err(io_error("created", parent))?;
    let disk =
        |path: &Path| fs::metadata(path).map(|metadata| metadata.dev()).map_err(io_error("read", path));
    if disk(source)? == disk(parent)? {
        return Ok(source.to_owned());
    }
    let mut near = place.to_owned().into_os_string();
    near.push(".restoring");
    let near = PathBuf::from(near);
    if near.is_dir() {
        fs::remove_dir_all(&near).map_err(io_error("removed", &near))?;
    }
    copy(source, &near)?;
    Ok(near)
}

fn copy(source: &Path, target: &Path) -> Result<(), BackupError> {
    if source.is_dir() {
        make_private(target)?;
        for entry in fs::read_dir(source).map_err(io_error("read", source))? {
            let entry = entry.map_err(io_error("read", source))?;
            copy(&entry.path(), &target.join(entry.file_name()))?;
        }
        return Ok(());
    }
    let copied = fs::copy(source, target).and_then(|_| File::open(target)?.sync_all());
    copied.map_err(io_error("written", target))
}

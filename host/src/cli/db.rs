//! `tinybase db`: manages the versions of the tables. It changes data only through migrations.

use std::{fs, io::Write, path::Path, sync::Arc};

use serde_json::json;

use super::{
    Failure, command_runtime, db_copy, output, prompt,
    serving::Serving,
    site::{HostServices, InstanceDir, open_database, refuse_served, services},
};
use crate::{
    config::Config,
    copy,
    db::{Database, migrations::Migrator},
    plugins::{Console, migrations},
};

/// The longest slug of a migration's file name, in characters.
const SLUG_CHARS_MAX: usize = 60;

/// What can be asked of the database's tables.
#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    /// Apply the migrations that are missing: the host's and every enabled extension's
    Upgrade {
        /// The version to stop at; the newest where left out
        version: Option<u32>,
        /// The tables of this extension alone; of the host alone where a version is given
        #[arg(long, value_name = "NAME")]
        extension: Option<String>,
    },
    /// Revert migrations, newest first; what their tables hold is lost
    Downgrade {
        /// The version to go back to; one step back where left out
        version: Option<u32>,
        /// The tables of this extension instead of the host's
        #[arg(long, value_name = "NAME")]
        extension: Option<String>,
        /// Do not ask
        #[arg(long)]
        yes: bool,
    },
    /// List every migration with the time it was applied
    History {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Print the versions that the tables are at
    Current {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Copy the instance into another database; run again, it goes on where it stood
    Copy(db_copy::Options),
    /// Write a new empty pair of migration files, up and down, into ./migrations/sqlite
    Migrate {
        /// What the migration is about
        #[arg(short, long, value_name = "TEXT", default_value = "change")]
        message: String,
    },
}

/// Tables with their owner: the host, or an extension.
struct Owned<'a> {
    owner: String,
    migrator: Migrator<'a>,
}

/// The owner name of the host's tables.
const HOST: &str = "host";

pub(super) fn run(place: &InstanceDir, command: Command) -> Result<(), Failure> {
    let command = match command {
        Command::Migrate { message } => return write_pair(&place.dir, &message),
        Command::Copy(options) => return db_copy::run(place, &options),
        on_tables => on_tables,
    };
    let config = Arc::new(place.config(&[])?);
    command_runtime(&config)?.block_on(async {
        let db = open_database(&config).await?;
        let done = on_tables(&config, &db, command).await;
        db.shut_down().await;
        done
    })
}

async fn on_tables(config: &Arc<Config>, db: &Arc<dyn Database>, command: Command) -> Result<(), Failure> {
    copy::refuse_unfinished(db).await?;
    match command {
        Command::Upgrade { version, extension } => upgrade(config, db, version, extension).await,
        Command::Downgrade { version, extension, yes } => {
            let owned = one(config, db, extension).await?;
            let _unserved = refuse_served(config, db).await?;
            let _alone = Serving::take(config, "nothing was changed")?;
            downgrade(&owned, version, yes).await
        }
        Command::History { json } => history(&all(config, db).await?, json).await,
        Command::Current { json } => current(&all(config, db).await?, json).await,
        Command::Copy(_) | Command::Migrate { .. } => Ok(()),
    }
}

/// Returns the host's tables and those of every enabled extension. Extensions are rows in the host's own tables: before
/// those exist, there are none.
async fn all<'a>(config: &Arc<Config>, db: &'a Arc<dyn Database>) -> Result<Vec<Owned<'a>>, Failure> {
    let host = Migrator::of_host(&**db);
    let is_migrated = host.current().await? > 0;
    let mut owned = vec![Owned { owner: HOST.to_owned(), migrator: host }];
    if is_migrated {
        let HostServices { plugins, .. } = services(config, db, Console::of_command())?;
        for package in plugins.packages().await? {
            let owner = package.manifest.name.clone();
            let migrator = Migrator::of_extension(&**db, &owner, migrations::of(&package, db.engine())?)?;
            owned.push(Owned { owner, migrator });
        }
    }
    Ok(owned)
}

async fn one<'a>(
    config: &Arc<Config>,
    db: &'a Arc<dyn Database>,
    extension: Option<String>,
) -> Result<Owned<'a>, Failure> {
    let wanted = extension.unwrap_or_else(|| HOST.to_owned());
    let mut owned = all(config, db).await?.into_iter();
    owned.find(|owned| owned.owner == wanted).ok_or_else(|| {
        Failure::new(format!("no enabled extension is called {wanted:?}; see: tinybase extensions list"))
    })
}

async fn upgrade(
    config: &Arc<Config>,
    db: &Arc<dyn Database>,
    version: Option<u32>,
    extension: Option<String>,
) -> Result<(), Failure> {
    if version.is_some() || extension.is_some() {
        let owned = one(config, db, extension).await?;
        return upgrade_one(&owned, version).await;
    }
    // The host's first: its tables list the others.
    upgrade_one(&Owned { owner: HOST.to_owned(), migrator: Migrator::of_host(&**db) }, None).await?;
    for owned in all(config, db).await?.iter().skip(1) {
        upgrade_one(owned, None).await?;
    }
    Ok(())
}

async fn upgrade_one(owned: &Owned<'_>, version: Option<u32>) -> Result<(), Failure> {
    let applied = owned.migrator.upgrade(version).await?;
    say_steps(owned, "applied", &applied, owned.migrator.current().await?)
}

async fn history(owned: &[Owned<'_>], as_json: bool) -> Result<(), Failure> {
    let mut entries = Vec::new();
    for Owned { owner, migrator } in owned {
        entries.extend(migrator.history().await?.into_iter().map(|entry| (owner.clone(), entry)));
    }
    if as_json {
        let entries = entries.into_iter().map(|(owner, entry)| {
            json!({"owner": owner, "version": entry.version, "title": entry.title, "applied_at": entry.applied_at})
        });
        return output::json(&entries.collect::<Vec<_>>());
    }
    let rows = entries.into_iter().map(|(owner, entry)| {
        let applied = entry.applied_at.unwrap_or_else(|| "not applied".to_owned());
        [owner, entry.version.to_string(), entry.title, applied]
    });
    output::table(&rows.collect::<Vec<_>>())
}

async fn current(owned: &[Owned<'_>], as_json: bool) -> Result<(), Failure> {
    let mut versions = Vec::new();
    for Owned { owner, migrator } in owned {
        versions.push((owner, migrator.current().await?));
    }
    if as_json {
        let versions = versions.iter().map(|(owner, version)| json!({"owner": owner, "version": version}));
        return output::json(&versions.collect::<Vec<_>>());
    }
    let rows = versions.iter().map(|(owner, version)| [(*owner).clone(), version.to_string()]);
    output::table(&rows.collect::<Vec<_>>())
}

async fn downgrade(owned: &Owned<'_>, version: Option<u32>, yes: bool) -> Result<(), Failure> {
    let (owner, current) = (&owned.owner, owned.migrator.current().await?);
    let target = version.unwrap_or_else(|| current.saturating_sub(1));
    if target > current {
        return Err(Failure::usage(format!(
            "the tables of {owner} are at version {current}, which is below {target}; use: tinybase db upgrade {target}"
        )));
    }
    let question = format!(
        "Take the tables of {owner} from version {current} to {target}? What the reverted ones hold is lost."
    );
    if target < current && !yes && !prompt::confirm(&question)? {
        return Err(Failure::new("nothing was changed; --yes reverts without a question"));
    }
    let reverted = owned.migrator.downgrade(target).await?;
    say_steps(owned, "reverted", &reverted, target)
}

fn say_steps(owned: &Owned<'_>, did: &str, versions: &[u32], current: u32) -> Result<(), Failure> {
    let owner = &owned.owner;
    if versions.is_empty() {
        return output::line(format!("{owner}: nothing to do, at version {current}"));
    }
    let listed = versions.iter().map(u32::to_string).collect::<Vec<_>>().join(", ");
    output::line(format!("{owner}: {did} {listed}, now at version {current}"))
}

/// Writes `NNNN_slug.up.sql` and `.down.sql` with the next number in `dir`, which must be an extension's folder or
/// already have migrations.
fn write_pair(dir: &Path, message: &str) -> Result<(), Failure> {
    let folder = dir.join("migrations/sqlite");
    if !folder.is_dir() && !dir.join("extension.toml").exists() {
        return Err(Failure::new(format!(
            "{} is no extension's folder: it has neither extension.toml nor migrations/sqlite; go there first",
            dir.display()
        )));
    }
    fs::create_dir_all(&folder)
        .map_err(|cause| Failure::new(format!("{} cannot be created: {cause}", folder.display())))?;
    let version = last_version(&folder)? + 1;
    let name = format!("{version:04}_{}", slug(message)?);
    for (direction, comment) in [("up", "applies"), ("down", "reverts")] {
        let path = folder.join(format!("{name}.{direction}.sql"));
        let written = fs::OpenOptions::new().write(true).create_new(true).open(&path).and_then(|mut file| {
            writeln!(file, "-- {message}: what {comment} version {version}. Statements end with a semicolon.")
        });
        written.map_err(|cause| Failure::new(format!("{} cannot be written: {cause}", path.display())))?;
        output::line(path.display().to_string())?;
    }
    Ok(())
}

fn last_version(folder: &Path) -> Result<u32, Failure> {
    let mut last = 0;
    for entry in fs::read_dir(folder)? {
        let name = entry?.file_name();
        let number = name.to_string_lossy().split('_').next().and_then(|number| number.parse::<u32>().ok());
        last = last.max(number.unwrap_or(0));
    }
    Ok(last)
}

fn slug(message: &str) -> Result<String, Failure> {
    let words = message.split(|letter: char| !letter.is_ascii_alphanumeric()).filter(|word| !word.is_empty());
    let slug = words.collect::<Vec<_>>().join("_").to_lowercase();
    if slug.is_empty() || message.contains(['\n', '\r']) {
        return Err(Failure::usage("the message must be one line with at least one letter or digit"));
    }
    Ok(slug.chars().take(SLUG_CHARS_MAX).collect())
}

//! `tinybase db`: the tables' versions. It never changes data but through migrations.

use std::{fs, io::Write, path::Path};

use serde_json::json;

use super::{
    Failure, command_runtime, output, prompt,
    site::{Place, open_database},
};
use crate::db::migrations::Migrator;

/// The longest slug of a migration's file name, in characters.
const SLUG_CHARS_MAX: usize = 60;

/// What can be asked of the database's tables.
#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    /// Apply the migrations that are missing
    Upgrade {
        /// The version to stop at; the newest where left out
        version: Option<u32>,
    },
    /// Revert migrations, newest first; what their tables hold is lost
    Downgrade {
        /// The version to go back to; one step back where left out
        version: Option<u32>,
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
    /// Print the version that the database is at
    Current {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Write a new empty pair of migration files, up and down, into ./migrations/sqlite
    Migrate {
        /// What the migration is about
        #[arg(short, long, value_name = "TEXT", default_value = "change")]
        message: String,
    },
}

pub(super) fn run(place: &Place, command: Command) -> Result<(), Failure> {
    if let Command::Migrate { message } = command {
        return write_pair(&place.dir, &message);
    }
    let config = place.config(&[])?;
    command_runtime(&config)?.block_on(async {
        let db = open_database(&config)?;
        let done = on_host_tables(&Migrator::of_host(&*db), command).await;
        db.shut_down().await;
        done
    })
}

async fn on_host_tables(migrator: &Migrator<'_>, command: Command) -> Result<(), Failure> {
    match command {
        Command::Upgrade { version } => {
            let applied = migrator.upgrade(version).await?;
            say_steps("applied", &applied, migrator.current().await?)
        }
        Command::Downgrade { version, yes } => downgrade(migrator, version, yes).await,
        Command::History { json: true } => {
            let entries = migrator.history().await?.into_iter().map(
                |entry| json!({"version": entry.version, "title": entry.title, "applied_at": entry.applied_at}),
            );
            output::json(&entries.collect::<Vec<_>>())
        }
        Command::History { json: false } => {
            let rows = migrator.history().await?.into_iter().map(|entry| {
                let applied = entry.applied_at.unwrap_or_else(|| "not applied".to_owned());
                [entry.version.to_string(), entry.title, applied]
            });
            output::table(&rows.collect::<Vec<_>>())
        }
        Command::Current { json: true } => output::json(&json!({"version": migrator.current().await?})),
        Command::Current { json: false } => output::line(migrator.current().await?.to_string()),
        Command::Migrate { .. } => Ok(()),
    }
}

async fn downgrade(migrator: &Migrator<'_>, version: Option<u32>, yes: bool) -> Result<(), Failure> {
    let current = migrator.current().await?;
    let target = version.unwrap_or_else(|| current.saturating_sub(1));
    if target > current {
        return Err(Failure::usage(format!(
            "the database is at version {current}, which is below {target}; use: tinybase db upgrade {target}"
        )));
    }
    let question = format!("Go from version {current} to {target}? What the reverted tables hold is lost.");
    if target < current && !yes && !prompt::confirm(&question)? {
        return Err(Failure::new("nothing was changed"));
    }
    let reverted = migrator.downgrade(target).await?;
    say_steps("reverted", &reverted, target)
}

fn say_steps(did: &str, versions: &[u32], current: u32) -> Result<(), Failure> {
    if versions.is_empty() {
        return output::line(format!("nothing to do: the database is at version {current}"));
    }
    let listed = versions.iter().map(u32::to_string).collect::<Vec<_>>().join(", ");
    output::line(format!("{did} {listed}; the database is at version {current}"))
}

/// Writes `NNNN_slug.up.sql` and `.down.sql` behind the last ones in `dir`, which must be an extension's folder or
/// hold migrations already.
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

//! `tinybase backup`: creates archives of the instance and restores them. A server may be running, except during a
//! restore.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use serde_json::json;

use super::{
    Failure, command_runtime, output, prompt,
    site::{InstanceDir, open_database, open_or_create_database},
};
use crate::{
    backup::{self, Create, Listed, Prepared},
    config::DatabaseUrl,
    sql::HostSql,
};

/// What can be asked of backups.
#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    /// Write the database, keys, extensions and the configuration into one archive; a server may serve meanwhile
    Create {
        /// The folder that the archive is put into
        #[arg(long, value_name = "DIR", default_value = "backups")]
        to: PathBuf,
        /// Remove the oldest archives there, so that this many are left
        #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
        keep: Option<u32>,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// List the archives of a folder, the newest first
    List {
        /// The folder
        #[arg(long, value_name = "DIR", default_value = "backups")]
        from: PathBuf,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Put an archive in the place of this instance, or into an empty folder; what is there is kept aside
    Restore {
        /// The archive
        file: PathBuf,
        /// Do not ask
        #[arg(long)]
        yes: bool,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
}

pub(super) fn run(place: &InstanceDir, command: Command) -> Result<(), Failure> {
    match command {
        Command::Create { to, keep, json } => create(place, &to, keep, json),
        Command::List { from, json } => list(&backup::list(&within(place, &from)?)?, json),
        Command::Restore { file, yes, json } => restore(place, &file, yes, json),
    }
}

/// Returns the absolute path of a folder of backups: a relative one is relative to the folder of the instance.
fn within(place: &InstanceDir, folder: &Path) -> Result<PathBuf, Failure> {
    Ok(std::path::absolute(place.dir.join(folder))?)
}

fn create(place: &InstanceDir, to: &Path, keep: Option<u32>, as_json: bool) -> Result<(), Failure> {
    let config = Arc::new(place.config(&[])?);
    let (folder, keep) = (within(place, to)?, keep.map(|keep| usize::try_from(keep).unwrap_or(usize::MAX)));
    let created = command_runtime(&config)?.block_on(async {
        let db = open_database(&config).await?;
        let created = Create { config: Arc::clone(&config), db: Arc::clone(&db), folder, keep }.run().await;
        db.shut_down().await;
        created.map_err(Failure::from)
    })?;
    if as_json {
        return output::json(&created);
    }
    output::line(format!("{}  {} files, {} bytes", created.path.display(), created.files, created.bytes))?;
    for removed in &created.removed {
        output::line(format!("removed {}", removed.display()))?;
    }
    output::line("it holds private keys: keep it where nobody else can read it")
}

fn list(listed: &[Listed], as_json: bool) -> Result<(), Failure> {
    if as_json {
        return output::json(&listed);
    }
    if listed.is_empty() {
        return output::line("no backups yet; make one with: tinybase backup create");
    }
    let rows = listed.iter().map(|one| {
        let (made, what) = match (&one.about, &one.problem) {
            (Some(about), _) => {
                (about.created_at.clone(), format!("{}, version {}", about.engine, about.version))
            }
            (None, problem) => ("damaged".to_owned(), problem.clone().unwrap_or_default()),
        };
        [one.path.display().to_string(), made, format!("{:>12} bytes", one.bytes), what]
    });
    output::table(&rows.collect::<Vec<_>>())
}

fn restore(place: &InstanceDir, file: &Path, yes: bool, as_json: bool) -> Result<(), Failure> {
    let prepared = backup::prepare(&place.dir, file)?;
    let question = format!(
        "Put the backup of {} in the place of the instance in {}? What is there is kept aside.",
        prepared.about().created_at,
        prepared.dir().display()
    );
    if prepared.replaces() && !yes && !prompt::confirm(&question)? {
        prepared.give_up();
        return Err(Failure::new("nothing was changed; --yes restores without a question"));
    }
    let runtime = match command_runtime(prepared.config()) {
        Ok(runtime) => runtime,
        Err(failure) => {
            prepared.give_up();
            return Err(failure);
        }
    };
    let dir = prepared.dir().to_owned();
    let restored = runtime.block_on(async {
        if let Err(failure) = check_empty_server(&prepared).await {
            prepared.give_up();
            return Err(failure);
        }
        prepared.put_in_place().await.map_err(Failure::from)
    })?;
    if as_json {
        return output::json(&json!({
            "dir": dir,
            "about": restored.about,
            "files": restored.files,
            "kept": restored.kept,
        }));
    }
    output::line(format!(
        "restored {} files of {} into {}",
        restored.files,
        restored.about.created_at,
        dir.display()
    ))?;
    if let Some(kept) = restored.kept {
        output::line(format!("what was there is in {}", kept.display()))?;
    }
    output::line("start the server there with: tinybase serve")
}

/// Refuses a database on a server that is not empty: an existing database is never overwritten.
async fn check_empty_server(prepared: &Prepared) -> Result<(), Failure> {
    let config = prepared.config();
    if !matches!(config.database.url, DatabaseUrl::Postgres(_)) {
        return Ok(());
    }
    let db = open_or_create_database(config).await?;
    let found =
        HostSql::new(Arc::clone(&db)).row("SELECT 1 WHERE to_regclass('tb_users') IS NOT NULL", &[]).await;
    db.shut_down().await;
    match found? {
        None => Ok(()),
        Some(_) => Err(Failure::new(
            "the database that database.url names has tables already: create an empty one and name it with TINYBASE_DB_URL",
        )),
    }
}

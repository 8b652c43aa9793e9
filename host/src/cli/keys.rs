//! `tinybase keys`: shows which keys the database is served with, and adopts others. It never shows a key.

use std::sync::Arc;

use serde_json::json;

use super::{
    Failure, command_runtime, output,
    site::{HostServices, InstanceDir, check_migrated, open_database, services},
};
use crate::{audit::Actor, nodes::KnownKey, plugins::Console};

/// What can be asked of keys.
#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    /// Print the fingerprints of this folder's keys, and of those that the database is served with
    Show {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Serve the database with this folder's keys from now on; nodes with other keys do not start any more
    Adopt,
}

pub(super) fn run(place: &InstanceDir, command: Command) -> Result<(), Failure> {
    let config = Arc::new(place.config(&[])?);
    command_runtime(&config)?.block_on(async {
        let db = open_database(&config).await?;
        check_migrated(&db).await?;
        let services = services(&config, &db, Console::of_command())?;
        let done = on_keys(&services, command).await;
        drop(services);
        db.shut_down().await;
        done
    })
}

async fn on_keys(services: &HostServices, command: Command) -> Result<(), Failure> {
    let keys = services.keys();
    match command {
        Command::Show { json } => show(&keys.known().await?, json),
        Command::Adopt => {
            let changed = keys.adopt(&Actor::command()).await?;
            if changed.is_empty() {
                return output::line("the database is served with these keys already");
            }
            let words = |key: &KnownKey| format!("{} ({})", key.name.name(), key.own);
            let names = changed.iter().map(words).collect::<Vec<_>>().join(", ");
            output::line(format!("the database is served with these keys from now on: {names}"))
        }
    }
}

fn show(known: &[KnownKey], as_json: bool) -> Result<(), Failure> {
    if as_json {
        let told = known
            .iter()
            .map(|key| json!({"name": key.name.name(), "folder": key.own, "database": key.noted}));
        return output::line(serde_json::Value::from_iter(told).to_string());
    }
    for key in known {
        let noted = key.noted.as_deref().unwrap_or("none yet: the first node that serves notes its own");
        let (name, own) = (key.name.name(), &key.own);
        output::line(format!("{name}  folder {own}  database {noted}"))?;
    }
    Ok(())
}

//! `keys`: creates keys, and lists their public parts. A private key is never printed.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use serde::Serialize;
use tinybase_registry::{
    RegistryError,
    repository::keys::{KeyFile, Keyring},
};

use super::output;

/// What can be done.
#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Make a key
    New {
        /// The file, which must not be there yet
        #[arg(value_name = "FILE")]
        file: PathBuf,
    },
    /// List the keys of a folder
    List(List),
}

/// What to list.
#[derive(Debug, Args)]
pub(super) struct List {
    /// The folder of keys
    #[arg(value_name = "DIR")]
    folder: PathBuf,
    /// As JSON
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Listed<'a> {
    file: String,
    id: &'a str,
    public: &'a str,
}

pub(super) fn run(command: &Command) -> Result<(), RegistryError> {
    match command {
        Command::New { file } => {
            let key = KeyFile::create(file)?;
            output::line(&format!("made {}, key {}", file.display(), key.id));
        }
        Command::List(List { folder, json }) => {
            let keyring = Keyring::in_folder(folder)?;
            let listed: Vec<_> = keyring
                .keys()
                .iter()
                .map(|key| Listed { file: key.path.display().to_string(), id: &key.id, public: &key.public })
                .collect();
            if *json {
                output::json(&listed);
                return Ok(());
            }
            for key in listed {
                output::line(&format!("{}  {}", key.id, key.file));
            }
        }
    }
    Ok(())
}

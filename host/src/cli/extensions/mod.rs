//! `tinybase extensions`: lists and changes what is installed and enabled, and searches for more. If a server is
//! running, it makes the change, without a restart.

mod install;
mod new;
mod pack;
mod search;
mod shown;
mod verify;

use std::sync::Arc;

use super::{
    Failure, command_runtime, output,
    site::{HostServices, InstanceDir, check_migrated, open_database, services},
};
use crate::{
    audit::Actor,
    config::Config,
    db::Database,
    plugins::{
        Console, Plugins,
        lifecycle::{Change, Changed, Kind},
        store::Installed,
    },
    registry::{self, Which},
};

/// What can be asked of extensions.
#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    /// Fetch, verify, probe, install and enable extensions with what they depend on
    Install(install::Install),
    /// Take an extension away; its data stays
    Uninstall {
        /// The extension's name
        name: String,
        /// Remove its tables, settings and files too
        #[arg(long)]
        purge: bool,
        /// Remove without asking
        #[arg(long)]
        yes: bool,
    },
    /// Load an extension; ends its quarantine
    Enable {
        /// The extension's name
        name: String,
    },
    /// Load an extension no more; its data stays
    Disable {
        /// The extension's name
        name: String,
    },
    /// List what is installed
    List(Listed),
    /// Show what an extension is and may do
    Info {
        /// The extension's name
        name: String,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Look for extensions in the registries
    Search {
        /// What their name, description or author contains; all where left out
        #[arg(default_value = "")]
        text: String,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Bring extensions to the newest versions that fit together
    Update(install::Update),
    /// Bring an extension back to the version that it had before
    Rollback(install::Rollback),
    /// Hold every file of what is installed against its hash
    Verify {
        /// The extension's name; all where left out
        name: Option<String>,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Show for what a newer version is there
    CheckUpdates(Listed),
    /// Hold what is installed against what the registries revoked, took back or renewed
    Audit {
        /// Disable what was revoked
        #[arg(long)]
        disable_revoked: bool,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Make the folder of a new extension, which builds and passes its tests at once
    New(new::Options),
    /// Pack a built extension into one file to publish or install
    Pack(pack::Options),
}

/// How a list is printed.
#[derive(Debug, clap::Args)]
pub(super) struct Listed {
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn run(place: &InstanceDir, command: Command) -> Result<(), Failure> {
    match command {
        Command::New(options) => new::run(&options),
        Command::Pack(options) => pack::run(&options),
        command => {
            let config = Arc::new(place.config(&[])?);
            command_runtime(&config)?.block_on(async {
                let db = open_database(&config).await?;
                let done = run_on(&config, &db, command).await;
                db.shut_down().await;
                done
            })
        }
    }
}

async fn run_on(config: &Arc<Config>, db: &Arc<dyn Database>, command: Command) -> Result<(), Failure> {
    check_migrated(db).await?;
    let HostServices { plugins, .. } = services(config, db, Console::of_command())?;
    let site = CommandContext { config, plugins: &plugins };
    match command {
        Command::Install(options) => install::install(&site, options).await,
        Command::Update(options) => install::update(&site, options).await,
        Command::Uninstall { name, purge, yes } => install::uninstall(&site, name, purge, yes).await,
        Command::Enable { name } => {
            refuse_revoked(&site, &name, Which::Installed).await?;
            site.change(Change::Enable { name }).await
        }
        Command::Disable { name } => site.change(Change::Disable { name, revoked: None }).await,
        Command::Rollback(options) => install::roll_back(&site, options).await,
        Command::List(Listed { json }) => shown::list(&plugins.state().await?, json),
        Command::Info { name, json } => shown::info(&plugins.state().await?, &name, json),
        Command::Verify { name, json } => verify::run(&site, name.as_deref(), json).await,
        Command::Search { text, json } => search::search(&site, &text, json).await,
        Command::CheckUpdates(Listed { json }) => search::check_updates(&site, json).await,
        Command::Audit { disable_revoked, json } => search::audit(&site, disable_revoked, json).await,
        Command::New(_) | Command::Pack(_) => unreachable!("they need no database"),
    }
}

/// The context of commands on extensions.
struct CommandContext<'a> {
    config: &'a Config,
    plugins: &'a Plugins,
}

impl CommandContext<'_> {
    async fn installed(&self) -> Result<Vec<Installed>, Failure> {
        Ok(self.plugins.store().all().await?)
    }

    /// Makes a change, or has the running server make it, and prints the result.
    async fn change(&self, change: Change) -> Result<(), Failure> {
        let changed = self.plugins.change(change, &Actor::command()).await?;
        output::line(told(&changed))
    }
}

/// Refuses what a registry revoked; warns of each registry that cannot be reached.
async fn refuse_revoked(site: &CommandContext<'_>, name: &str, which: Which) -> Result<(), Failure> {
    for failure in registry::check_not_revoked(site.config, site.plugins, name, which).await? {
        eprintln!("warning: it is not known whether {name} was revoked: {failure}");
    }
    Ok(())
}

fn told(changed: &Changed) -> String {
    let Changed { name, .. } = changed;
    let (from, to) = (changed.from_version.as_deref(), changed.to_version.as_deref());
    match changed.kind {
        Kind::Install => format!("installed {name} {}", to.unwrap_or_default()),
        Kind::Update => format!("updated {name} {} → {}", from.unwrap_or("?"), to.unwrap_or("?")),
        Kind::Rollback => format!("rolled {name} back {} → {}", from.unwrap_or("?"), to.unwrap_or("?")),
        Kind::Enable => format!("enabled {name}"),
        Kind::Disable => format!("disabled {name}"),
        Kind::Uninstall => format!("uninstalled {name}"),
    }
}

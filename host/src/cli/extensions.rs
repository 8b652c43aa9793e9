//! `tinybase extensions`: what is installed and enabled. A running server takes it up by itself.

use std::{path::PathBuf, sync::Arc};

use serde_json::json;

use super::{
    Failure, command_runtime, output, prompt,
    site::{House, Place, check_migrated, house, open_database},
};
use crate::{
    audit::Actor,
    config::Config,
    db::Database,
    plugins::{
        Console, Plugins,
        lifecycle::{Change, Origin},
        manifest::Manifest,
        package::Package,
        store::Installed,
    },
};

/// What can be asked of extensions.
#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    /// Verify, probe, install and enable an extension that lies unpacked in a folder
    Install {
        /// The folder with extension.toml and the library
        path: PathBuf,
        /// Install without asking
        #[arg(long)]
        yes: bool,
    },
    /// List what is installed
    List {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Show what an extension may do
    Info {
        /// The extension's name
        name: String,
        /// Print JSON
        #[arg(long)]
        json: bool,
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
    /// Take an extension away; its data stays
    Uninstall {
        /// The extension's name
        name: String,
        /// Take its tables, settings and files away too
        #[arg(long)]
        purge: bool,
        /// Do not ask
        #[arg(long)]
        yes: bool,
    },
    /// Bring an extension back to the version that it had before
    Rollback {
        /// The extension's name
        name: String,
    },
}

pub(super) fn run(place: &Place, command: Command) -> Result<(), Failure> {
    let config = Arc::new(place.config(&[])?);
    command_runtime(&config)?.block_on(async {
        let db = open_database(&config).await?;
        let done = run_on(&config, &db, command).await;
        db.shut_down().await;
        done
    })
}

async fn run_on(config: &Arc<Config>, db: &Arc<dyn Database>, command: Command) -> Result<(), Failure> {
    check_migrated(db).await?;
    let House { plugins, .. } = house(config, db, Console::of_command())?;
    match command {
        Command::Install { path, yes } => install(&plugins, path, yes).await,
        Command::List { json } => list(&plugins.store().all().await?, json),
        Command::Info { name, json } => info(&find(&plugins, &name).await?, json),
        Command::Enable { name } => set_enabled(&plugins, &name, true).await,
        Command::Disable { name } => set_enabled(&plugins, &name, false).await,
        Command::Uninstall { name, purge, yes } => uninstall(&plugins, name, purge, yes).await,
        Command::Rollback { name } => {
            let changed = plugins.change(Change::Rollback { name }, &Actor::command()).await?;
            output::line(format!("{} is {} again", changed.name, changed.to_version.unwrap_or_default()))
        }
    }
}

async fn find(plugins: &Plugins, name: &str) -> Result<Installed, Failure> {
    let installed = plugins.store().all().await?;
    installed.into_iter().find(|extension| extension.name == name).ok_or_else(|| {
        Failure::new(format!("the extension {name:?} is not installed; see: tinybase extensions list"))
    })
}

async fn install(plugins: &Plugins, path: PathBuf, yes: bool) -> Result<(), Failure> {
    let package = Package::read(&path)?;
    let (name, version) = (package.manifest.name.clone(), package.manifest.version.clone());
    output::line(format!("{name} {version} may use:"))?;
    output::table(&may_use(&package.manifest))?;
    output::line("It runs as part of the server, with all of the server's rights: install what you trust.")?;
    if !yes && !prompt::confirm(&format!("Install {name} {version}?"))? {
        return Err(Failure::new("nothing was changed; --yes installs without asking"));
    }
    let change = Change::Install { package, origin: Origin::default() };
    plugins.change(change, &Actor::command()).await?;
    output::line(format!("installed {name} {version}"))
}

/// What a manifest asks for, a line each.
fn may_use(manifest: &Manifest) -> Vec<[String; 2]> {
    let lines = |what: &str, of: Vec<String>| {
        let what = what.to_owned();
        of.into_iter().map(move |item| [what.clone(), item])
    };
    let uses = manifest.uses.iter().cloned().map(String::from).collect();
    let offers = manifest.offers.iter().cloned().map(String::from).collect();
    let commands =
        manifest.commands.iter().map(|command| format!("{} {}", manifest.name, command.name)).collect();
    lines("capability", manifest.capabilities.clone())
        .chain(lines("routes below", manifest.routes.clone()))
        .chain(lines("service of others", uses))
        .chain(lines("offers service", offers))
        .chain(lines("command", commands))
        .collect()
}

fn state(extension: &Installed) -> &'static str {
    match (extension.is_enabled, &extension.quarantined_reason) {
        (false, _) => "disabled",
        (true, Some(_)) => "quarantined",
        (true, None) => "enabled",
    }
}

fn list(installed: &[Installed], as_json: bool) -> Result<(), Failure> {
    if as_json {
        let all = installed.iter().map(describe).collect::<Vec<_>>();
        return output::json(&all);
    }
    let rows = installed.iter().map(|extension| {
        let origin = if extension.is_builtin { "built in" } else { "installed" };
        let why = extension.quarantined_reason.clone().unwrap_or_default();
        [
            extension.name.clone(),
            extension.version.clone(),
            state(extension).to_owned(),
            origin.to_owned(),
            why,
        ]
    });
    output::table(&rows.collect::<Vec<_>>())
}

fn describe(extension: &Installed) -> serde_json::Value {
    json!({
        "name": extension.name,
        "version": extension.version,
        "state": state(extension),
        "quarantined_reason": extension.quarantined_reason,
        "is_builtin": extension.is_builtin,
        "hash": extension.hash,
        "manifest": extension.manifest,
    })
}

fn info(extension: &Installed, as_json: bool) -> Result<(), Failure> {
    if as_json {
        return output::json(&describe(extension));
    }
    let manifest: Manifest = serde_json::from_value(extension.manifest.clone())?;
    let mut rows = vec![
        ["name".to_owned(), manifest.name.clone()],
        ["version".to_owned(), manifest.version.to_string()],
        ["state".to_owned(), state(extension).to_owned()],
        ["hash".to_owned(), extension.hash.clone()],
    ];
    let told = [
        ("description", &manifest.description),
        ("author", &manifest.author),
        ("licence", &manifest.license),
    ];
    rows.extend(
        told.into_iter()
            .filter(|(_, text)| !text.is_empty())
            .map(|(key, text)| [key.to_owned(), text.clone()]),
    );
    if let Some(reason) = &extension.quarantined_reason {
        rows.push(["quarantined".to_owned(), reason.clone()]);
    }
    rows.extend(may_use(&manifest));
    output::table(&rows)
}

async fn set_enabled(plugins: &Plugins, name: &str, enabled: bool) -> Result<(), Failure> {
    let name = name.to_owned();
    let change = if enabled { Change::Enable { name } } else { Change::Disable { name } };
    let changed = plugins.change(change, &Actor::command()).await?;
    let did = if enabled { "enabled" } else { "disabled" };
    output::line(format!("{did} {}", changed.name))
}

async fn uninstall(plugins: &Plugins, name: String, purge: bool, yes: bool) -> Result<(), Failure> {
    let question = format!("Take {name} away with everything that it stored?");
    if purge && !yes && !prompt::confirm(&question)? {
        return Err(Failure::new("nothing was changed; --yes takes it away without asking"));
    }
    let changed = plugins.change(Change::Uninstall { name, purge }, &Actor::command()).await?;
    output::line(format!("uninstalled {}", changed.name))
}

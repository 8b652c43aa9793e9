//! `tinybase extensions install`, `update` and `uninstall`: finds and downloads packages, shows what extensions may do,
//! asks for confirmation, and calls the lifecycle.

use serde_json::json;
use tinybase_package::manifest::Manifest;

use super::{super::prompt, CommandContext, Failure, output, shown};
use crate::{
    audit::Actor,
    plugins::{Console, lifecycle::Change},
    registry::{self, InstallRequest, PackageSpec, Prepared, Progress, Step, Which},
};

/// The arguments of `install`.
#[derive(Debug, clap::Args)]
pub(in super::super) struct Install {
    /// NAME or NAME@REQ from the registries, the path of a package or of an unpacked folder, or a URL
    #[arg(required = true, value_name = "NAME[@REQ] | PATH | URL")]
    sources: Vec<String>,
    /// Take a package although it is by another publisher than before
    #[arg(long)]
    accept_publisher: bool,
    /// Show what would be installed, and install nothing
    #[arg(long)]
    dry_run: bool,
    /// Install without asking
    #[arg(long)]
    yes: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// The arguments of `update`.
#[derive(Debug, clap::Args)]
pub(in super::super) struct Update {
    /// The extensions; all that came from a registry where left out
    names: Vec<String>,
    /// Show what would be updated, and update nothing
    #[arg(long)]
    dry_run: bool,
    /// Take a package although it is by another publisher than before
    #[arg(long)]
    accept_publisher: bool,
    /// Update without asking
    #[arg(long)]
    yes: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// The arguments of `rollback`.
#[derive(Debug, clap::Args)]
pub(in super::super) struct Rollback {
    /// The extension's name
    name: String,
    /// Show what would be brought back, and change nothing
    #[arg(long)]
    dry_run: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// How prepared packages are installed.
struct Manner {
    what: &'static str,
    dry_run: bool,
    yes: bool,
    json: bool,
}

/// Shows the progress of downloads.
struct Downloads(Console);

impl Progress for Downloads {
    fn fetched(&self, _file: &str, done: u64, total: u64) {
        self.0.progress(done, total, "bytes");
    }
}

pub(super) async fn install(site: &CommandContext<'_>, options: Install) -> Result<(), Failure> {
    let specs = options.sources.iter().map(|source| PackageSpec::parse(source)).collect::<Result<_, _>>();
    let specs = specs.map_err(|error| Failure::usage(error.message))?;
    let request = InstallRequest { specs, upgrade: false, accept_publisher: options.accept_publisher };
    let prepared = prepare(site, &request).await?;
    let Install { dry_run, yes, json, .. } = options;
    execute(site, prepared, Manner { what: "Install", dry_run, yes, json }).await
}

pub(super) async fn update(site: &CommandContext<'_>, options: Update) -> Result<(), Failure> {
    let installed = site.installed().await?;
    let Update { dry_run, yes, json, .. } = options;
    let names: Vec<String> = match options.names.is_empty() {
        false => options.names,
        true => {
            installed.into_iter().filter(|one| one.origin.registry.is_some()).map(|one| one.name).collect()
        }
    };
    let specs = names.iter().map(|name| PackageSpec::parse(name)).collect::<Result<_, _>>();
    let specs = specs.map_err(|error| Failure::usage(error.message))?;
    let request = InstallRequest { specs, upgrade: true, accept_publisher: options.accept_publisher };
    let prepared = prepare(site, &request).await?;
    execute(site, prepared, Manner { what: "Update", dry_run, yes, json }).await
}

pub(super) async fn uninstall(
    site: &CommandContext<'_>,
    name: String,
    purge: bool,
    yes: bool,
) -> Result<(), Failure> {
    let question = match purge {
        true => format!("Uninstall {name} and delete its tables, settings and files?"),
        false => format!("Uninstall {name}? Its data stays"),
    };
    if !yes && !prompt::confirm(&question)? {
        return Err(Failure::new("nothing was changed; --yes uninstalls without asking"));
    }
    site.change(Change::Uninstall { name, purge }).await
}

async fn prepare(site: &CommandContext<'_>, request: &InstallRequest) -> Result<Prepared, Failure> {
    Ok(registry::prepare(site.config, site.plugins, request, &Downloads(Console::of_command())).await?)
}

pub(super) async fn roll_back(site: &CommandContext<'_>, options: Rollback) -> Result<(), Failure> {
    let Rollback { name, dry_run, json } = options;
    super::refuse_revoked(site, &name, Which::Previous).await?;
    if !dry_run {
        let changed = site.plugins.change(Change::Rollback { name }, &Actor::command()).await?;
        return if json {
            output::json(&json!({"changes": [changed]}))
        } else {
            output::line(super::told(&changed))
        };
    }
    let plan = site.plugins.rollback_plan(&name).await?;
    if json {
        return output::json(&json!({"plan": [plan]}));
    }
    output::line(format!("{name} {} → {}", plan.from_version, plan.version))?;
    if !plan.reverted_migrations.is_empty() {
        let listed = plan.reverted_migrations.iter().map(u32::to_string).collect::<Vec<_>>().join(", ");
        output::line(format!(
            "its migrations {listed} would be reverted: what only their tables hold is lost"
        ))?;
    }
    output::line("nothing was changed")
}

async fn execute(site: &CommandContext<'_>, prepared: Prepared, manner: Manner) -> Result<(), Failure> {
    if manner.dry_run && manner.json {
        let plan: Vec<_> = prepared.steps.iter().map(Step::described).collect();
        return output::json(&json!({"plan": plan}));
    }
    if !manner.json {
        if prepared.steps.is_empty() {
            return output::line("everything is up to date");
        }
        for step in &prepared.steps {
            show(step)?;
        }
        if manner.dry_run {
            return output::line("nothing was changed");
        }
        output::line(
            "Extensions run as part of the server, with all of its rights: install what you trust.",
        )?;
    }
    let names: Vec<&str> = prepared.steps.iter().map(|step| step.package.manifest.name.as_str()).collect();
    let question = format!("{} {}?", manner.what, names.join(", "));
    if !names.is_empty() && !manner.yes && !prompt::confirm(&question)? {
        return Err(Failure::new("nothing was changed; --yes goes on without asking"));
    }
    let mut changes = Vec::new();
    for step in prepared.steps {
        let (package, origin) = (step.package, step.origin);
        let changed = site.plugins.change(Change::Install { package, origin }, &Actor::command()).await?;
        if !manner.json {
            output::line(super::told(&changed))?;
        }
        changes.push(changed);
    }
    if manner.json { output::json(&json!({"changes": changes})) } else { Ok(()) }
}

/// Shows what is to be installed, where it comes from and what it may do.
fn show(step: &Step) -> Result<(), Failure> {
    let Manifest { name, version, .. } = &step.package.manifest;
    let from = step.from.as_ref().filter(|from| *from != version).map(|from| format!(", now {from}"));
    let by = match (&step.origin.publisher, &step.origin.registry) {
        (Some(publisher), Some(registry)) => format!("by {publisher}, from the registry {registry}"),
        _ => "from no registry: nobody vouches for it".to_owned(),
    };
    let needed = match step.needed_by.as_slice() {
        [] => String::new(),
        needed => format!(", needed by {}", needed.join(", ")),
    };
    output::line(format!("{name} {version}{} ({by}{needed}) may use:", from.unwrap_or_default()))?;
    output::table(&shown::may_use(&step.package.manifest))
}

//! Runs the commands that extensions declare: `tinybase <extension> <command> …`. It knows none of them by name.

use std::{ffi::OsString, sync::Arc};

use clap::{Arg, ArgAction, ArgMatches, builder::PossibleValuesParser};
use serde_json::{Map, Value as Json};

use super::{
    Failure, command_runtime,
    site::{HostServices, InstanceDir, check_migrated, has_database, open_database, services},
};
use crate::{
    config::Config,
    db::Database,
    plugins::{
        Console, Plugins, Purpose,
        manifest::{Argument, ArgumentKind, Command, Manifest},
        store::{Installed, Store},
    },
    sql::HostSql,
};

/// Runs a command of an installed extension; `arguments` begins with the extension's name.
pub(super) fn run_extension_command(place: &InstanceDir, arguments: &[OsString]) -> Result<(), Failure> {
    let config = Arc::new(place.config(&[])?);
    let name = arguments[0].to_string_lossy();
    if !config.dir.is_dir() {
        return Err(Failure::new(format!("the folder {} does not exist", place.dir.display())));
    }
    if !has_database(&config) {
        return Err(no_instance(place, &name));
    }
    command_runtime(&config)?.block_on(async {
        let db = open_database(&config).await?;
        let ran = run_on(&config, &db, arguments).await;
        db.shut_down().await;
        ran
    })
}

async fn run_on(config: &Arc<Config>, db: &Arc<dyn Database>, arguments: &[OsString]) -> Result<(), Failure> {
    check_migrated(db).await?;
    let HostServices { plugins, .. } = services(config, db, Console::of_command())?;
    let manifest = find(&plugins, &arguments[0].to_string_lossy()).await?;
    let Some((command, given)) = parse(&manifest, arguments)? else { return Ok(()) };
    plugins.load(Purpose::Command, false).await?;
    let ran = plugins.run_command(&manifest.name, &command, given).await;
    plugins.shut_down(std::time::Duration::from_millis(config.server.shutdown_timeout_ms)).await;
    match ran? {
        0 => Ok(()),
        code => Err(Failure { message: String::new(), code: u8::try_from(code).unwrap_or(u8::MAX) }),
    }
}

async fn find(plugins: &Plugins, name: &str) -> Result<Manifest, Failure> {
    let installed = plugins.store().all().await?;
    let wanted = installed.into_iter().filter(|extension| extension.is_wanted());
    let mut manifests =
        wanted.filter_map(|extension| serde_json::from_value::<Manifest>(extension.manifest).ok());
    manifests
        .find(|manifest| manifest.name == name && !manifest.commands.is_empty())
        .ok_or_else(|| no_command(name))
}

/// Returns the commands of every extension that is enabled in this instance, for help; `None` if there are none.
pub(super) async fn commands(config: &Config) -> Option<Vec<clap::Command>> {
    if !has_database(config) {
        return None;
    }
    let db = open_database(config).await.ok()?;
    let installed = Store::new(HostSql::new(Arc::clone(&db))).all().await;
    db.shut_down().await;
    let manifests = installed.ok()?.into_iter().filter(Installed::is_wanted);
    let manifests = manifests.filter_map(|one| serde_json::from_value::<Manifest>(one.manifest).ok());
    Some(manifests.filter(|manifest| !manifest.commands.is_empty()).map(|it| clap_command(&it)).collect())
}

fn no_instance(place: &InstanceDir, name: &str) -> Failure {
    let dir = place.dir.display();
    Failure::usage(format!(
        "there is no command {name:?} of the program itself, and {dir} is no instance whose extensions could have it: name one \
         with --dir, or run: tinybase init {dir}"
    ))
}

fn no_command(name: &str) -> Failure {
    Failure::usage(format!(
        "there is no command {name:?}, and no enabled extension declares it; see: tinybase --help"
    ))
}

/// A command's name and its arguments.
type Arguments = (String, Map<String, Json>);

/// Parses the arguments; returns `None` if help was requested, which has been printed.
fn parse(manifest: &Manifest, arguments: &[OsString]) -> Result<Option<Arguments>, Failure> {
    let mut matches = match clap_command(manifest).try_get_matches_from(arguments) {
        Ok(matches) => matches,
        Err(asked) => {
            // Nothing can be done if stdout or stderr is closed.
            let _ = asked.print();
            let failed = asked.use_stderr();
            return if failed { Err(Failure::usage("")) } else { Ok(None) };
        }
    };
    let (name, matches) = matches.remove_subcommand().expect("clap requires a subcommand");
    let command = manifest.commands.iter().find(|command| command.name == name);
    let command = command.expect("clap knows the manifest's commands alone");
    Ok(Some((name, given(command, &matches))))
}

fn clap_command(manifest: &Manifest) -> clap::Command {
    let commands = manifest.commands.iter().map(|command| {
        clap::Command::new(command.name.clone())
            .about(command.about.clone())
            .args(command.arguments.iter().map(clap_argument))
    });
    clap::Command::new(manifest.name.clone())
        .bin_name(format!("tinybase {}", manifest.name))
        .about(manifest.description.clone())
        .disable_help_subcommand(true)
        .subcommand_required(true)
        .arg_required_else_help(true)
        .subcommands(commands)
}

fn clap_argument(argument: &Argument) -> Arg {
    let mut arg = Arg::new(argument.name.clone()).help(argument.help.clone()).required(argument.required);
    arg = match argument.kind {
        ArgumentKind::Positional => arg.value_name(argument.name.to_uppercase()),
        ArgumentKind::Option => {
            arg.long(argument.name.clone()).value_name(argument.name.to_uppercase().replace('-', "_"))
        }
        ArgumentKind::Flag => return arg.long(argument.name.clone()).action(ArgAction::SetTrue),
    };
    if let Some(default) = &argument.default {
        arg = arg.default_value(default.clone());
    }
    if !argument.values.is_empty() {
        arg = arg.value_parser(PossibleValuesParser::new(argument.values.clone()));
    }
    arg
}

fn given(command: &Command, matches: &ArgMatches) -> Map<String, Json> {
    let value = |argument: &Argument| match argument.kind {
        ArgumentKind::Flag => Some(Json::Bool(matches.get_flag(&argument.name))),
        _ => matches.get_one::<String>(&argument.name).map(|text| Json::String(text.clone())),
    };
    command.arguments.iter().filter_map(|argument| Some((argument.name.clone(), value(argument)?))).collect()
}

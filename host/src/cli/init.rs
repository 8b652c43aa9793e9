//! `tinybase init`: creates what is missing in a folder, and changes no existing file.

use std::{
    fs,
    io::Write,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    sync::Arc,
};

use super::{
    Failure, command_runtime, output,
    password::{self, Source},
    prompt,
    site::{HostServices, InstanceDir, keys_dir, open_or_create_database, services},
};
use crate::{
    accounts::{Accounts, AdminAdded, Keys},
    audit::Actor,
    config::{self, Config},
    copy,
    db::{Database, migrations::Migrator},
    plugins::Console,
};

/// The example function of a new folder.
const EXAMPLE_FUNCTION: &str = include_str!("../../../templates/functions/hello.py");
const EXAMPLE_FUNCTION_NAME: &str = "hello.py";

/// `tinybase.toml` may contain a mail server's password.
const CONFIG_FILE_MODE: u32 = 0o600;

/// The arguments of `init`.
#[derive(Debug, clap::Args)]
pub(super) struct Options {
    /// The folder to prepare; the current one where left out
    #[arg(value_name = "DIR")]
    folder: Option<PathBuf>,
    /// The admin's email
    #[arg(long, value_name = "EMAIL", env = "TINYBASE_ADMIN_EMAIL")]
    admin_email: Option<String>,
    /// The admin's password, 8 to 256 characters
    #[arg(long, value_name = "PASSWORD", env = password::VARIABLE, hide_env_values = true)]
    admin_password: Option<String>,
    /// Read the admin's password from stdin
    #[arg(long)]
    admin_password_stdin: bool,
}

/// An admin to be created.
struct Admin {
    email: String,
    password: String,
}

pub(super) fn run(place: InstanceDir, options: Options) -> Result<(), Failure> {
    let place = options.folder.clone().map_or(place, |dir| InstanceDir { dir });
    let admin = wanted_admin(options)?;
    make_folder(&place.dir)?;
    write_config_file(&place.dir)?;
    let config = Arc::new(place.config(&[])?);
    command_runtime(&config)?.block_on(async {
        let db = open_or_create_database(&config).await?;
        let done = prepare(&config, &db, admin).await;
        db.shut_down().await;
        done
    })?;
    output::line(format!("{} is ready; start the server there with: tinybase serve", place.dir.display()))
}

async fn prepare(config: &Arc<Config>, db: &Arc<dyn Database>, admin: Option<Admin>) -> Result<(), Failure> {
    copy::refuse_unfinished(db).await?;
    let applied = Migrator::of_host(&**db).upgrade(None).await?;
    say("the database", !applied.is_empty())?;
    let had_keys = keys_dir(config).exists();
    Keys::load_or_create(&keys_dir(config))?;
    say("the signing keys", !had_keys)?;
    write_example_function(config)?;
    let HostServices { accounts, plugins, .. } = services(config, db, Console::of_command())?;
    let installed = plugins.install_bundled(&Actor::command()).await?;
    for name in &installed {
        say(&format!("the extension {name}"), true)?;
    }
    if installed.is_empty() {
        say("the extensions", false)?;
    }
    let needs_setup = accounts.open_setup_token().await?.is_some();
    let admin = match admin {
        None if needs_setup && prompt::is_interactive() => ask_for_admin()?,
        given => given,
    };
    match admin {
        Some(admin) => add_admin(&accounts, admin).await,
        None if needs_setup => output::line(
            "no admin yet: the first login creates it, from this machine or with the token that serve shows",
        ),
        None => Ok(()),
    }
}

async fn add_admin(accounts: &Accounts, admin: Admin) -> Result<(), Failure> {
    let actor = Actor::command();
    let added = accounts.ensure_admin(&admin.email, admin.password, &actor).await;
    match added.map_err(|error| Failure::new(error.to_string()))? {
        AdminAdded::Unchanged => say(&format!("the admin {}", admin.email), false),
        AdminAdded::Created => say(&format!("the admin {}", admin.email), true),
        AdminAdded::Promoted => {
            output::line(format!("{} is an admin now; the password is as before", admin.email))
        }
    }
}

fn wanted_admin(options: Options) -> Result<Option<Admin>, Failure> {
    let given = |value: Option<String>| value.filter(|value| !value.is_empty());
    let (email, password) = (given(options.admin_email), given(options.admin_password));
    let Some(email) = email else {
        if password.is_some() || options.admin_password_stdin {
            let missing = "the admin's email is missing: give --admin-email or TINYBASE_ADMIN_EMAIL";
            return Err(Failure::usage(missing));
        }
        return Ok(None);
    };
    let question = format!("Password for {email}");
    let source = Source { given: password, from_stdin: options.admin_password_stdin, question };
    let password = source.read()?.ok_or_else(|| {
        Failure::usage(
            "the admin's password is missing: give it on stdin, in TINYBASE_ADMIN_PASSWORD, or with --admin-password",
        )
    })?;
    Ok(Some(Admin { email, password }))
}

fn ask_for_admin() -> Result<Option<Admin>, Failure> {
    let email = prompt::ask("Email of the admin (empty: the first login creates it)")?;
    if email.is_empty() {
        return Ok(None);
    }
    let password = prompt::ask_hidden("Password, at least 8 characters")?;
    Ok(Some(Admin { email, password }))
}

fn say(what: &str, is_new: bool) -> Result<(), Failure> {
    let did = if is_new { "created" } else { "kept   " };
    output::line(format!("{did} {what}"))
}

fn make_folder(dir: &Path) -> Result<(), Failure> {
    fs::create_dir_all(dir)
        .map_err(|cause| Failure::new(format!("{} cannot be created: {cause}", dir.display())))
}

fn write_config_file(dir: &Path) -> Result<(), Failure> {
    let path = dir.join(config::FILE_NAME);
    let is_new = write_new(&path, &config::template(), CONFIG_FILE_MODE)?;
    say(config::FILE_NAME, is_new)
}

fn write_example_function(config: &Config) -> Result<(), Failure> {
    let folder = config.path(&config.functions.dir);
    let is_new = !folder.exists();
    if is_new {
        make_folder(&folder)?;
        write_new(&folder.join(EXAMPLE_FUNCTION_NAME), EXAMPLE_FUNCTION, 0o644)?;
    }
    say("the functions' folder", is_new)
}

/// Writes a file unless it exists; returns whether it was written.
fn write_new(path: &Path, content: &str, mode: u32) -> Result<bool, Failure> {
    let opened = fs::OpenOptions::new().write(true).create_new(true).mode(mode).open(path);
    let written = match opened {
        Err(cause) if cause.kind() == std::io::ErrorKind::AlreadyExists => return Ok(false),
        Err(cause) => Err(cause),
        Ok(mut file) => file.write_all(content.as_bytes()),
    };
    written.map_err(|cause| Failure::new(format!("{} cannot be written: {cause}", path.display())))?;
    Ok(true)
}

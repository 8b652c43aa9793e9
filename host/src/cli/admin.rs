//! `tinybase admin`. It accesses the database directly, whether a server is running or not.

use std::sync::Arc;

use super::{
    Failure, command_runtime, output,
    password::{self, Source},
    site::{HostServices, InstanceDir, check_migrated, open_database, services},
};
use crate::{accounts::AdminAdded, audit::Actor, plugins::Console};

/// What can be asked of admins.
#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    /// Create an admin, or make that user one, with this password; ends the user's sessions
    Add {
        /// The email to sign in with
        email: String,
        /// The password, 8 to 256 characters. Others on this machine can see arguments: better leave it out and type it, pipe
        /// it in, or set TINYBASE_ADMIN_PASSWORD
        #[arg(env = password::VARIABLE, hide_env_values = true)]
        password: Option<String>,
        /// Read the password from stdin
        #[arg(long)]
        password_stdin: bool,
    },
}

pub(super) fn run(place: &InstanceDir, command: Command) -> Result<(), Failure> {
    let Command::Add { email, password, password_stdin } = command;
    let question = format!("Password for {email}");
    let source = Source { given: password, from_stdin: password_stdin, question };
    let password = source.read()?.ok_or_else(|| {
        Failure::usage(
            "the password is missing: give it on stdin, in TINYBASE_ADMIN_PASSWORD, or behind the email as <PASSWORD>",
        )
    })?;
    let config = Arc::new(place.config(&[])?);
    command_runtime(&config)?.block_on(async {
        let db = open_database(&config).await?;
        check_migrated(&db).await?;
        let HostServices { accounts, .. } = services(&config, &db, Console::of_command())?;
        let added = accounts.add_admin(&email, password, &Actor::command()).await;
        drop(accounts);
        db.shut_down().await;
        output::line(match added? {
            AdminAdded::Created => format!("created the admin {email}"),
            AdminAdded::Promoted | AdminAdded::Unchanged => {
                format!("{email} is an admin and has the new password; earlier sessions were ended")
            }
        })
    })
}

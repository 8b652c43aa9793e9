//! Dumps a PostgreSQL database to a file and restores it, with PostgreSQL's own client programs. They get the password
//! in an environment variable, never in an argument, which other users of the machine could see.

use std::{
    fs, io,
    os::unix::fs::OpenOptionsExt,
    path::Path,
    process::{Command, Output, Stdio},
};

use url::Url;

use super::error::{BackupError, io_error};

const DUMP: &str = "pg_dump";
const RESTORE: &str = "pg_restore";

/// The time limit for a program to connect to the server, in seconds.
const CONNECT_SECONDS_MAX: &str = "10";

/// The URL parameters that those programs know; the others are for the host's own connections.
const KNOWN_PARAMETERS: [&str; 8] =
    ["host", "port", "user", "dbname", "sslmode", "sslrootcert", "sslcert", "sslkey"];

/// Dumps the tables of the host and of extensions to `path`, consistent as of one moment. Blocks.
pub(super) fn dump(url: &str, path: &Path) -> Result<(), BackupError> {
    // The program writes to an existing file, which only its owner may read.
    let created = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
    created.map_err(io_error("created", path))?;
    let mut command = program(DUMP, url)?;
    command.args(["--format=custom", "--no-owner", "--no-privileges", "--no-password", "--file"]).arg(path);
    succeeded(DUMP, command.output())
}

/// Restores the dump at `path` into an empty database, in one transaction. Blocks.
pub(super) fn restore(url: &str, path: &Path) -> Result<(), BackupError> {
    let mut command = program(RESTORE, url)?;
    command
        .args(["--single-transaction", "--exit-on-error", "--no-owner", "--no-privileges", "--no-password"])
        .arg(path);
    succeeded(RESTORE, command.output())
}

fn program(name: &'static str, url: &str) -> Result<Command, BackupError> {
    let unfit =
        || BackupError::Unfit("database.url is no URL that the programs of PostgreSQL can read".to_owned());
    let mut url = Url::parse(url).map_err(|_| unfit())?;
    let password = url
        .password()
        .map(|text| percent_encoding::percent_decode_str(text).decode_utf8_lossy().into_owned());
    if password.is_some() {
        url.set_password(None).map_err(|()| unfit())?;
    }
    let known = url
        .query_pairs()
        .filter(|(key, _)| KNOWN_PARAMETERS.contains(&&**key))
        .map(|(key, value)| (key.into_owned(), value.into_owned()))
        .collect::<Vec<_>>();
    url.set_query(None);
    if !known.is_empty() {
        url.query_pairs_mut().extend_pairs(known);
    }
    let mut command = Command::new(name);
    command.arg(format!("--dbname={url}")).env("PGCONNECT_TIMEOUT", CONNECT_SECONDS_MAX);
    if let Some(password) = password {
        command.env("PGPASSWORD", password);
    }
    command.stdin(Stdio::null());
    Ok(command)
}

fn succeeded(program: &'static str, output: io::Result<Output>) -> Result<(), BackupError> {
    let failed = |problem: String| BackupError::Tool { program, problem };
    let output = output.map_err(|cause| match cause.kind() {
        io::ErrorKind::NotFound => failed(
            "is not installed: install PostgreSQL's client programs, of the server's version or newer (on Debian: \
             apt-get install postgresql-client), or copy the database on its own server"
                .to_owned(),
        ),
        _ => failed(format!("cannot be started: {cause}")),
    })?;
    if output.status.success() {
        return Ok(());
    }
    let words = String::from_utf8_lossy(&output.stderr);
    Err(failed(format!("failed: {}", words.lines().last().unwrap_or("it says nothing"))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_password_is_an_argument() {
        let url = "postgres://me:s%40cret@db.example:5433/app?sslmode=require&statement-cache-capacity=5";
        let command = program(DUMP, url).unwrap_or_else(|error| panic!("{error}"));
        let arguments = command.get_args().map(|text| text.to_string_lossy()).collect::<Vec<_>>();
        assert_eq!(arguments, ["--dbname=postgres://me@db.example:5433/app?sslmode=require"]);
        let password = command.get_envs().find(|(name, _)| *name == "PGPASSWORD").unwrap().1;
        assert_eq!(password, Some("s@cret".as_ref()));
    }
}

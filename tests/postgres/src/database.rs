//! A temporary database on a running server, dropped with its owner. It never touches another one.

use std::{io, process::Command, sync::OnceLock};

use crate::{
    install::{clean, find},
    random,
};

/// A database with a unique name. It is dropped with this value, even if it is in use.
#[derive(Debug)]
pub struct Database {
    server: String,
    name: String,
}

impl Database {
    /// Creates a database on a server; `server` is the URL of a superuser.
    ///
    /// # Errors
    /// The errors of `psql`.
    pub fn create(server: &str) -> io::Result<Database> {
        let name = format!("test_{}", random::word()?);
        psql(server, &format!("CREATE DATABASE {name} TEMPLATE template0"))?;
        Ok(Database { server: server.to_owned(), name })
    }

    /// Creates another database with the same content. There must be no connections to this one meanwhile; the server
    /// waits some seconds for closing ones.
    ///
    /// # Errors
    /// The errors of `psql`.
    pub fn copied(&self) -> io::Result<Database> {
        let name = format!("test_{}", random::word()?);
        psql(&self.server, &format!("CREATE DATABASE {name} TEMPLATE {}", self.name))?;
        Ok(Database { server: self.server.clone(), name })
    }

    /// Returns the database's URL.
    pub fn url(&self) -> String {
        with_database(&self.server, &self.name)
    }

    /// Runs a script in this database and returns the output of [`psql`].
    ///
    /// # Errors
    /// The errors of `psql`.
    pub fn run(&self, script: &str) -> io::Result<String> {
        psql(&self.url(), script)
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        // The server may be gone already, and the database with it.
        let _ = psql(&self.server, &format!("DROP DATABASE IF EXISTS {} WITH (FORCE)", self.name));
        // The roles of extensions belong to the server. A role that owns something in a copy of the database stays.
        let roles = format!(
            "DO $$ DECLARE one RECORD; BEGIN FOR one IN SELECT rolname FROM pg_roles WHERE starts_with(rolname, \
             'tb_' || substr(md5('{}'), 1, 12) || '_') LOOP EXECUTE format('DROP ROLE %I', one.rolname); END LOOP; END $$",
            self.name
        );
        let _ = psql(&self.server, &roles);
    }
}

/// Runs statements in PostgreSQL's own client. Returns the rows, one per line, with `|` between their values.
///
/// # Errors
/// The error of `psql` at the first failing statement.
pub fn psql(url: &str, script: &str) -> io::Result<String> {
    static PROGRAM: OnceLock<std::path::PathBuf> = OnceLock::new();
    let program = PROGRAM.get_or_init(|| find().map_or_else(|| "psql".into(), |folder| folder.join("psql")));
    let options = ["--no-psqlrc", "--quiet", "--tuples-only", "--no-align", "--set", "ON_ERROR_STOP=1"];
    let mut command = clean(Command::new(program));
    let (url, password) = without_password(url);
    command.args(options).args(["--dbname", &url, "--command", script]).env("PGCONNECT_TIMEOUT", "10");
    if let Some(password) = password {
        // Passed in the environment, so that no process list shows it.
        command.env("PGPASSWORD", password);
    }
    let output = command.output()?;
    if !output.status.success() {
        return Err(io::Error::other(String::from_utf8_lossy(&output.stderr).trim().to_owned()));
    }
    Ok(String::from_utf8_lossy(&output.stdout).trim_end().to_owned())
}

/// Replaces the database in `postgres://user:password@host:port/other?options`.
fn with_database(url: &str, name: &str) -> String {
    let (before, options) =
        url.split_once('?').map_or((url, None), |(before, options)| (before, Some(options)));
    let host = before.find("://").map_or(0, |at| at + 3);
    let end = before[host..].find('/').map_or(before.len(), |at| host + at);
    let options = options.map(|options| format!("?{options}")).unwrap_or_default();
    format!("{}/{name}{options}", &before[..end])
}

/// Splits a URL into `postgres://user@host` and its password.
fn without_password(url: &str) -> (String, Option<&str>) {
    let apart = || {
        let (scheme, rest) = url.split_once("://")?;
        let (user, host) = rest.split_once('@')?;
        let (user, password) = user.split_once(':')?;
        Some((format!("{scheme}://{user}@{host}"), Some(password)))
    };
    apart().unwrap_or_else(|| (url.to_owned(), None))
}

#[cfg(test)]
mod tests {
    use super::{with_database, without_password};

    #[test]
    fn a_password_is_taken_out_of_a_url() {
        for (url, told) in [
            ("postgres://a:b@h:1/x", ("postgres://a@h:1/x", Some("b"))),
            ("postgres://a@h:1/x", ("postgres://a@h:1/x", None)),
            ("postgres://h:1/x", ("postgres://h:1/x", None)),
        ] {
            let (left, password) = without_password(url);
            assert_eq!((left.as_str(), password), told);
        }
    }

    #[test]
    fn a_url_takes_another_database() {
        for (url, told) in [
            ("postgres://a:b@127.0.0.1:1/postgres", "postgres://a:b@127.0.0.1:1/t"),
            ("postgres://a:b@127.0.0.1:1", "postgres://a:b@127.0.0.1:1/t"),
            ("postgres://h/x?sslmode=require&a=/b", "postgres://h/t?sslmode=require&a=/b"),
        ] {
            assert_eq!(with_database(url, "t"), told);
        }
    }
}

//! A fresh folder prepared by `tinybase init`, and the commands that run in it. Its database is a file in it, or a
//! temporary database on the PostgreSQL server of the test run.

use std::{
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    time::Duration,
};

use rusqlite::{Connection, types::ValueRef};
use tempfile::TempDir;
use tinybase_test_postgres::{Database, server_url};

use crate::{Server, fixtures, profile_dir};

/// The admin's email.
pub const ADMIN_EMAIL: &str = "root@example.com";
/// The password of every test account.
pub const PASSWORD: &str = "correct horse battery";

/// The environment of every command: short limits, so that no test waits for long.
const ENVIRONMENT: &[(&str, &str)] = &[
    ("TINYBASE_RATE_LIMIT_ENABLED", "false"),
    ("TINYBASE_PLUGINS_CALL_TIMEOUT_MS", "700"),
    ("TINYBASE_PLUGINS_START_TIMEOUT_MS", "3000"),
    ("TINYBASE_PLUGINS_PROBE_TIMEOUT_MS", "5000"),
    ("TINYBASE_SERVER_SHUTDOWN_TIMEOUT_MS", "1500"),
    ("TINYBASE_SERVER_HEADER_READ_TIMEOUT_MS", "1000"),
];

/// The variable with the database URL for every command.
const URL_VARIABLE: &str = "TINYBASE_DB_URL";

/// How long a statement waits for the server's own writes to the file.
const BUSY_WAIT_MAX: Duration = Duration::from_secs(5);

/// A folder with a configuration, a database and an admin.
pub struct Site {
    folder: TempDir,
    packages: TempDir,
    environment: Vec<(String, String)>,
    on_server: Option<Database>,
}

/// The output of a command, and its exit code.
#[derive(Debug)]
pub struct Ran {
    /// The exit code; `None` if a signal ended it.
    pub code: Option<i32>,
    /// Standard output.
    pub out: String,
    /// Standard error.
    pub errors: String,
}

impl From<Output> for Ran {
    fn from(output: Output) -> Ran {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Ran { code: output.status.code(), out: text(&output.stdout), errors: text(&output.stderr) }
    }
}

impl Site {
    /// Creates a fresh folder with an admin, initialized by the real binary.
    pub fn new() -> Site {
        Site::initialised(&["init", "--admin-email", ADMIN_EMAIL, "--admin-password", PASSWORD])
    }

    /// Creates a fresh folder without any account.
    pub fn without_admin() -> Site {
        Site::initialised(&["init"])
    }

    /// Creates a fresh folder with an admin, and a temporary database on this PostgreSQL server.
    pub fn on(server: &str) -> Site {
        Site::initialised_on(
            Some(server.to_owned()),
            &["init", "--admin-email", ADMIN_EMAIL, "--admin-password", PASSWORD],
        )
    }

    fn initialised(arguments: &[&str]) -> Site {
        Site::initialised_on(server_url(), arguments)
    }

    fn initialised_on(server: Option<String>, arguments: &[&str]) -> Site {
        let folder = tempfile::tempdir().unwrap();
        let packages = tempfile::tempdir().unwrap();
        let mut environment: Vec<(String, String)> =
            ENVIRONMENT.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
        let on_server = server.map(|server| Database::create(&server).unwrap());
        environment.extend(on_server.iter().map(|database| (URL_VARIABLE.into(), database.url())));
        let site = Site { folder, packages, environment, on_server };
        let ran = site.run(arguments);
        assert_eq!(ran.code, Some(0), "init: {ran:?}");
        site
    }

    /// Creates another folder and another database with the same content. Nothing may run there meanwhile.
    pub fn copied(&self) -> Site {
        let copy = |from: &Path| {
            let into = tempfile::tempdir().unwrap();
            fixtures::copy_folder(from, into.path());
            into
        };
        let on_server = self.on_server.as_ref().map(|database| database.copied().unwrap());
        let mut environment = self.environment.clone();
        environment.extend(on_server.iter().map(|database| (URL_VARIABLE.into(), database.url())));
        Site { folder: copy(self.dir()), packages: copy(self.packages()), environment, on_server }
    }

    /// Returns the folder.
    pub fn dir(&self) -> &Path {
        self.folder.path()
    }

    /// Returns the URL of its database, if that is not a file.
    pub fn database_url(&self) -> Option<String> {
        self.on_server.as_ref().map(Database::url)
    }

    /// Runs one statement directly on the database. Returns the rows, one per line, with `|` between their values.
    pub fn sql(&self, statement: &str) -> String {
        match &self.on_server {
            Some(database) => database.run(statement).unwrap(),
            None => sql_on_file(&self.dir().join("tinybase.db"), statement),
        }
    }

    /// Returns the folder where packages are assembled.
    pub fn packages(&self) -> &Path {
        self.packages.path()
    }

    /// Sets an environment variable for all later commands.
    pub fn set(&mut self, name: &str, value: &str) {
        self.environment.push((name.to_owned(), value.to_owned()));
    }

    /// Returns a command in this folder that is not started yet.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(binary());
        command.args(arguments).current_dir(self.folder.path()).stdin(Stdio::null());
        for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("TINYBASE_")) {
            command.env_remove(name);
        }
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        command
    }

    /// Runs a command until it ends.
    pub fn run(&self, arguments: &[&str]) -> Ran {
        self.command(arguments).output().expect("the binary can be run").into()
    }

    /// Runs a command that must succeed; returns its output.
    pub fn done(&self, arguments: &[&str]) -> String {
        let ran = self.run(arguments);
        assert_eq!(ran.code, Some(0), "{arguments:?}: {ran:?}");
        ran.out
    }

    /// Installs the package in a folder.
    pub fn install(&self, package: &Path) -> Ran {
        self.run(&["extensions", "install", "--yes", &package.to_string_lossy()])
    }

    /// Builds one of the misbehaving plugins and installs it, which must succeed.
    pub fn install_stress(&self, name: &str) {
        let ran = self.install(&fixtures::stress(name, self.packages()));
        assert_eq!(ran.code, Some(0), "installing {name}: {ran:?}");
    }

    /// Starts the server and waits until it serves.
    pub fn serve(&self) -> Server {
        self.serve_with(&[])
    }

    /// Starts the server with more arguments, and waits until it serves.
    pub fn serve_with(&self, arguments: &[&str]) -> Server {
        let command = self.command(&[&["serve", "--port", "0"], arguments].concat());
        Server::start(command).unwrap_or_else(|ran| panic!("serve: {ran:?}"))
    }

    /// Starts the server, which is expected to end before it serves.
    pub fn serve_in_vain(&self) -> Ran {
        match Server::start(self.command(&["serve", "--port", "0"])) {
            Ok(_) => panic!("it serves"),
            Err(ran) => ran,
        }
    }
}

impl Default for Site {
    fn default() -> Site {
        Site::new()
    }
}

fn sql_on_file(path: &Path, statement: &str) -> String {
    let database = Connection::open(path).unwrap();
    database.busy_timeout(BUSY_WAIT_MAX).unwrap();
    let mut statement = database.prepare(statement).unwrap();
    if statement.column_count() == 0 {
        statement.execute([]).unwrap();
        return String::new();
    }
    let columns = statement.column_count();
    let text = |row: &rusqlite::Row<'_>, at: usize| match row.get_ref(at).unwrap() {
        ValueRef::Null => String::new(),
        ValueRef::Integer(number) => number.to_string(),
        ValueRef::Real(number) => number.to_string(),
        ValueRef::Text(bytes) | ValueRef::Blob(bytes) => String::from_utf8_lossy(bytes).into_owned(),
    };
    let rows = statement
        .query_map([], |row| Ok((0..columns).map(|at| text(row, at)).collect::<Vec<_>>().join("|")))
        .unwrap();
    rows.map(Result::unwrap).collect::<Vec<_>>().join("\n")
}

/// Returns the real binary: `TINYBASE_BINARY`, or the one built with the tests.
fn binary() -> PathBuf {
    let binary =
        std::env::var_os("TINYBASE_BINARY").map_or_else(|| profile_dir().join("tinybase"), PathBuf::from);
    assert!(binary.exists(), "{} is not there: run `cargo xtask build` first", binary.display());
    binary
}

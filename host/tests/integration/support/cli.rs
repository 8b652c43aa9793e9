//! Shared by the tests of the command line: the real binary in a fresh folder, and a server that it runs.

use std::{
    collections::BTreeMap,
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    sync::Mutex,
    time::{Duration, Instant},
};

use serde_json::{Value as Json, json};
use tempfile::TempDir;
use tinybase_test_postgres::{Database, server_url};

pub(crate) const EMAIL: &str = "ada@example.org";
pub(crate) const PASSWORD: &str = "correct horse";

/// How long a server may take to see a change by another process.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) fn tinybase(dir: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tinybase"));
    command.current_dir(dir).stdin(Stdio::null());
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("TINYBASE_") {
            command.env_remove(name);
        }
    }
    if let Some(url) = DATABASE_URLS.lock().unwrap().get(dir) {
        command.env("TINYBASE_DB_URL", url);
    }
    command
}

/// The database URL of each folder, if the run is on PostgreSQL and the database is not a file in it.
static DATABASE_URLS: Mutex<BTreeMap<PathBuf, String>> = Mutex::new(BTreeMap::new());

/// A folder to run commands in.
pub(crate) struct Folder {
    dir: TempDir,
    /// Dropped with the folder.
    _database: Option<Database>,
}

impl Folder {
    pub(crate) fn path(&self) -> &Path {
        self.dir.path()
    }
}

pub(crate) fn run(dir: &Path, line: &str) -> Output {
    tinybase(dir).args(line.split_whitespace()).output().unwrap()
}

pub(crate) fn done(dir: &Path, line: &str) -> String {
    let output = run(dir, line);
    assert!(output.status.success(), "{line}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

pub(crate) fn fresh() -> Folder {
    let dir = tempfile::tempdir().unwrap();
    let database = server_url().map(|server| Database::create(&server).unwrap());
    if let Some(database) = &database {
        DATABASE_URLS.lock().unwrap().insert(dir.path().to_owned(), database.url());
    }
    Folder { dir, _database: database }
}

pub(crate) fn prepared() -> Folder {
    let dir = fresh();
    done(dir.path(), "init");
    dir
}

/// A running server, killed when it is dropped.
pub(crate) struct Server {
    pub(crate) child: Child,
    pub(crate) address: String,
}

impl Server {
    pub(crate) fn start(dir: &Path) -> Server {
        Server::start_with(dir, &[])
    }

    pub(crate) fn start_with(dir: &Path, arguments: &[&str]) -> Server {
        let mut command = tinybase(dir);
        let log = fs::File::create(dir.join("log")).unwrap();
        command.args(["serve", "--port", "0"]).args(arguments).stdout(Stdio::piped()).stderr(log);
        let mut child = command.spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let log = || fs::read_to_string(dir.join("log")).unwrap();
        let address = line.trim().strip_prefix("serving http://");
        let address =
            address.unwrap_or_else(|| panic!("the server does not say where: {line}{}", log())).to_owned();
        Server { child, address }
    }

    pub(crate) fn call(&self, line: &str, token: &str, body: &str) -> (u16, Json) {
        let (head, body) = self.exchange(line, token, body);
        (head.split(' ').nth(1).unwrap().parse().unwrap(), serde_json::from_str(&body).unwrap())
    }

    /// Sends a request; returns the head and the body of the response.
    pub(crate) fn exchange(&self, line: &str, token: &str, body: &str) -> (String, String) {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        let length = body.len();
        write!(
            stream,
            "{line} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Type: application/json\r\nAuthorization: Bearer {token}\r\n\
             Content-Length: {length}\r\n\r\n{body}"
        )
        .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        (head.to_owned(), body.to_owned())
    }

    pub(crate) fn login(&self, password: &str) -> (u16, Json) {
        self.call("POST /api/auth/login", "", &json!({"email": EMAIL, "password": password}).to_string())
    }

    pub(crate) fn stop(mut self, signal: &str) -> Option<i32> {
        let id = self.child.id().to_string();
        assert!(Command::new("kill").args([signal, &id]).status().unwrap().success());
        self.child.wait().unwrap().code()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Runs a command with this on its stdin.
pub(crate) fn run_with_input(command: &mut Command, input: &str) -> Output {
    let spawned = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let mut child = spawned.unwrap();
    // A command that does not read it may have ended already.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    child.wait_with_output().unwrap()
}

/// Returns a command's stderr.
pub(crate) fn errors(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

impl Server {
    /// Sends a signal by its name.
    pub(crate) fn signal(&self, signal: &str) {
        let id = self.child.id().to_string();
        assert!(Command::new("kill").args([signal, &id]).status().unwrap().success());
    }
}

/// Waits until the log of the server in `dir` contains all of these on one line.
pub(crate) fn logged(dir: &Path, parts: &[&str]) -> String {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let log = fs::read_to_string(dir.join("log")).unwrap_or_default();
        if let Some(line) = log.lines().find(|line| parts.iter().all(|part| line.contains(part))) {
            return line.to_owned();
        }
        assert!(Instant::now() < deadline, "the log has no line with {parts:?}:\n{log}");
        std::thread::park_timeout(Duration::from_millis(5));
    }
}

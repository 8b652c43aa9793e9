//! Tests the command line with the real binary in a fresh folder: output, exit codes, one line on stderr, and the life
//! of a server.

use std::{fs, os::unix::fs::PermissionsExt, path::Path, time::Instant};

use crate::support::cli::{EMAIL, PASSWORD, PATIENCE, Server, done, fresh, prepared, run, tinybase};
use serde_json::{Value as Json, json};
use tinybase_test_postgres::server_url;

/// A command line in an empty folder, its exit code, and a part of its stderr (of its stdout for exit code 0).
const IN_AN_EMPTY_FOLDER: &[(&str, i32, &str)] = &[
    ("version", 0, "tinybase 0.1.0"),
    ("version --json", 0, "\"major_oldest\": 1"),
    ("--version", 0, "tinybase 0.1.0"),
    ("--help", 0, "Usage: tinybase"),
    ("init --help", 0, "--admin-email"),
    ("serve --help", 0, "--port"),
    ("admin add --help", 0, "EMAIL"),
    ("db downgrade --help", 0, "--yes"),
    ("db history --help", 0, "--json"),
    ("completions --help", 0, "<SHELL>"),
    ("completions bash", 0, "complete -F _tinybase"),
    ("completions fish", 0, "tinybase"),
    ("", 2, "Usage: tinybase"),
    ("nonsense", 2, "there is no command \"nonsense\""),
    ("nonsense --help", 2, "there is no command \"nonsense\""),
    ("extensions list --help", 0, "--json"),
    ("extensions", 2, "Usage: tinybase extensions"),
    ("extensions list", 1, "run: tinybase init"),
    ("db", 2, "Usage: tinybase db"),
    ("db downgrade x", 2, "invalid value 'x'"),
    ("admin add a@example.org", 2, "<PASSWORD>"),
    ("serve --port 99999", 2, "the flag --port: server.port cannot be \"99999\""),
    ("serve --nonsense", 2, "unexpected argument"),
    ("init --admin-email a@example.org", 2, "--admin-password"),
    ("init --admin-password staple-horse", 2, "--admin-email"),
    ("serve", 1, "run: tinybase init"),
    ("db current", 1, "run: tinybase init"),
    ("admin add a@example.org staple-horse", 1, "run: tinybase init"),
    ("db migrate -m test", 1, "no extension's folder"),
];

#[test]
fn every_command_answers_with_its_exit_code() {
    for (line, mut code, mut expected) in IN_AN_EMPTY_FOLDER.iter().copied() {
        let dir = fresh();
        if line.starts_with("nonsense") && server_url().is_some() {
            // It may be a command of an extension: only the server's database could tell.
            (code, expected) = (1, "run: tinybase init");
        }
        let output = run(dir.path(), line);
        let (stdout, stderr) =
            (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        let told = if code == 0 { &stdout } else { &stderr };
        assert_eq!(output.status.code(), Some(code), "{line}: {stdout}{stderr}");
        assert!(told.contains(expected), "{line}: {told}");
        assert!(code == 0 || stdout.is_empty(), "{line} failed, but says {stdout}");
        // A server logs to stderr before it fails.
        let said = stderr.lines().filter(|line| !line.contains(" INFO ")).count();
        assert!(code != 1 || said == 1, "{line} fails in more than a line: {stderr}");
        let left = fs::read_dir(dir.path()).unwrap().count();
        assert_eq!(left, 0, "{line} left something behind");
    }
}

/// `tinybase.toml`, a variable, and a part of the output of a start with them.
const BAD_CONFIGURATIONS: &[(&str, &str, &str)] = &[
    (
        "[server]\nprot = 1",
        "",
        "tinybase.toml line 2: there is no key server.prot; did you mean server.port?",
    ),
    (
        "[server]\nport = \"x\"",
        "",
        "tinybase.toml line 2: server.port cannot be \"x\"; allowed: a port from 0 to 65535",
    ),
    ("server = [", "", "tinybase.toml line 1: this is not TOML"),
    ("", "TINYBASE_LOG_LEVEL=loud", "the variable TINYBASE_LOG_LEVEL: server.log_level cannot be \"loud\""),
    ("", "TINYBASE_DB_URL=postgres://127.0.0.1:1/db", "the database is not available"),
];

#[test]
fn a_bad_configuration_stops_the_start() {
    for (file, variable, expected) in BAD_CONFIGURATIONS {
        let dir = prepared();
        fs::write(dir.path().join("tinybase.toml"), file).unwrap();
        let mut command = tinybase(dir.path());
        if let Some((name, value)) = variable.split_once('=') {
            command.env(name, value);
        }
        let output = command.arg("serve").output().unwrap();
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{file} {variable}: {stderr}");
        assert!(stderr.contains(expected) && stderr.lines().count() == 1, "{file} {variable}: {stderr}");
    }
}

fn files(dir: &Path) -> Vec<(String, Vec<u8>)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path));
        } else {
            found.push((path.display().to_string(), fs::read(&path).unwrap()));
        }
    }
    found.sort();
    found
}

#[test]
fn init_makes_what_is_missing_and_run_twice_changes_nothing() {
    let dir = fresh();
    let line = format!("init site --admin-email {EMAIL} --admin-password staple-horse");
    let first = done(dir.path(), &line);
    let created = |told: &str| {
        let lines = told.lines().filter(|line| line.starts_with("created"));
        // This test does not depend on the bundled extensions.
        lines.filter(|line| !line.contains("extension")).count()
    };
    assert_eq!(created(&first), 5, "{first}");
    let site = dir.path().join("site");
    let mode = |path: &str| fs::metadata(site.join(path)).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode("tinybase.toml"), 0o600);
    assert_eq!(site.join("tinybase.db").exists(), server_url().is_none());
    if server_url().is_none() {
        assert_eq!(mode("tinybase.db"), 0o600);
    }
    assert_eq!((mode(".tinybase/keys"), mode(".tinybase/keys/ed25519.pem")), (0o700, 0o600));
    assert!(site.join("functions/hello.py").exists());

    fs::write(site.join("tinybase.toml"), "[server]\nport = 1234\n").unwrap();
    let before = files(&site);
    let again = done(dir.path(), &line);
    assert_eq!(created(&again), 0, "{again}");
    assert!(files(&site) == before, "the second init changed a file");
}

#[test]
fn init_takes_the_admin_from_variables() {
    let dir = fresh();
    let mut command = tinybase(dir.path());
    command.env("TINYBASE_ADMIN_EMAIL", EMAIL).env("TINYBASE_ADMIN_PASSWORD", PASSWORD);
    let output = command.arg("init").output().unwrap();
    let stdout = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success() && stdout.contains("created the admin ada@example.org"), "{stdout}");
}

#[test]
fn bad_admins_are_refused_in_a_line() {
    let dir = prepared();
    for (line, expected) in [
        ("admin add ada@example.org short", "at least 8 characters"),
        ("admin add ada staple-horse", "\"ada\" is not an email address"),
    ] {
        let output = run(dir.path(), line);
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1));
        assert!(stderr.contains(expected) && stderr.lines().count() == 1, "{line}: {stderr}");
    }
}

#[test]
fn the_database_goes_down_and_up_again() {
    let dir = prepared();
    let at = |dir: &Path| {
        serde_json::from_str::<Json>(&done(dir, "db current --json")).unwrap()[0]["version"].clone()
    };
    let newest = at(dir.path());
    let history = serde_json::from_str::<Json>(&done(dir.path(), "db history --json")).unwrap();
    let mut of_host = history.as_array().unwrap().iter().filter(|entry| entry["owner"] == "host");
    assert_eq!(of_host.next_back().unwrap()["version"], newest);
    done(dir.path(), "db downgrade 0 --yes");
    assert_eq!(at(dir.path()), json!(0));
    let output = run(dir.path(), "serve");
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr.contains("run: tinybase db upgrade"), "{stderr}");
    assert!(done(dir.path(), "db upgrade").starts_with("host: applied 1"));
    assert_eq!(at(dir.path()), newest);
    assert!(done(dir.path(), "db upgrade").starts_with("host: nothing to do"));
    assert_eq!(run(dir.path(), "db upgrade 999").status.code(), Some(1));
}

#[test]
fn commands_on_extensions_that_are_not_there_say_so() {
    let dir = prepared();
    for (line, code, expected) in [
        ("extensions info nobody", 1, "\"nobody\" is not installed"),
        ("extensions enable nobody", 1, "\"nobody\" is not installed"),
        ("extensions install nowhere", 1, "nowhere"),
        ("db upgrade --extension nobody", 1, "\"nobody\""),
        ("nonsense list", 2, "there is no command \"nonsense\""),
    ] {
        let output = run(dir.path(), line);
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(code), "{line}: {stderr}");
        assert!(stderr.contains(expected) && stderr.lines().count() == 1, "{line}: {stderr}");
    }
}

#[test]
fn a_new_migration_is_a_numbered_pair() {
    let dir = fresh();
    fs::write(dir.path().join("extension.toml"), "name = \"notes\"").unwrap();
    let mut command = tinybase(dir.path());
    command.args(["db", "migrate", "-m", "Add a due date!"]);
    assert!(command.output().unwrap().status.success());
    done(dir.path(), "db migrate");
    let mut names = fs::read_dir(dir.path().join("migrations/sqlite")).unwrap();
    let mut found =
        Vec::from_iter(names.by_ref().map(|entry| entry.unwrap().file_name().into_string().unwrap()));
    found.sort();
    let expected = [
        "0001_add_a_due_date.down.sql",
        "0001_add_a_due_date.up.sql",
        "0002_change.down.sql",
        "0002_change.up.sql",
    ];
    assert_eq!(found, expected);
}

#[test]
fn a_server_serves_until_it_is_asked_to_stop() {
    let (dir, elsewhere) = (prepared(), prepared());
    for signal in ["-TERM", "-INT"] {
        let server = Server::start(dir.path());
        assert_eq!(server.call("GET /health", "", ""), (200, json!({"status": "healthy"})));
        assert_eq!(server.login(PASSWORD).0, 200);
        let port = server.address.rsplit(':').next().unwrap().to_owned();
        let second = run(elsewhere.path(), &format!("serve --port {port}"));
        let stderr = String::from_utf8(second.stderr).unwrap();
        assert_eq!(second.status.code(), Some(1));
        assert!(stderr.contains("choose another port with --port"), "{stderr}");
        assert_eq!(server.stop(signal), Some(0));
        assert!(!dir.path().join("tinybase.db-wal").exists(), "the write-ahead log was not folded in");
    }
}

#[test]
fn an_admin_added_beside_a_running_server_holds_there_too() {
    let dir = prepared();
    let server = Server::start(dir.path());
    let (_, session) = server.login(PASSWORD);
    let token = session["access_token"].as_str().unwrap().to_owned();
    assert_eq!(server.call("GET /api/auth/me", &token, "").0, 200);
    done(dir.path(), &format!("admin add {EMAIL} another-horse"));
    let deadline = Instant::now() + PATIENCE;
    while server.call("GET /api/auth/me", &token, "").0 != 401 {
        assert!(Instant::now() < deadline, "a session outlived a new password by {PATIENCE:?}");
    }
    assert_eq!((server.login(PASSWORD).0, server.login("another-horse").0), (401, 200));
}

#[test]
fn a_line_of_the_log_carries_the_id_of_its_request() {
    let dir = prepared();
    fs::write(dir.path().join("tinybase.toml"), "[server]\nlog_format = \"json\"\n").unwrap();
    let server = Server::start(dir.path());
    let body = json!({"email": EMAIL, "password": PASSWORD}).to_string();
    let (head, _) = server.exchange("POST /api/auth/login", "", &body);
    let id = head.lines().find_map(|line| line.strip_prefix("x-request-id: ")).unwrap().to_owned();
    assert_eq!(server.stop("-TERM"), Some(0));
    let log = fs::read_to_string(dir.path().join("log")).unwrap();
    let lines = log.lines().map(|line| serde_json::from_str::<Json>(line).unwrap()).collect::<Vec<_>>();
    let created = lines.iter().find(|line| line["email"] == EMAIL).expect("the first admin is worth a line");
    assert_eq!(created["spans"][0]["request_id"], json!(id), "{created}");
    assert!(!log.contains(PASSWORD), "a password is in the log");
}

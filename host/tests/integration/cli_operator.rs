//! Tests what an operator does to an instance, with the real binary: claims it, passes passwords, sends signals,
//! downgrades.

use std::{
    io::{Read, Write},
    net::TcpStream,
    path::Path,
    process::{Command, Output},
};

use crate::support::cli::{
    EMAIL, PASSWORD, Server, done, errors, fresh, logged, prepared, run, run_with_input, tinybase,
};
use serde_json::json;
use tinybase_test_postgres::server_url;

/// Sends a first login to the host name `host`, with additional fields of the body.
fn first_login(server: &Server, host: &str, more: &str) -> String {
    let body = format!(r#"{{"email": "{EMAIL}", "password": "{PASSWORD}"{more}}}"#);
    let mut stream = TcpStream::connect(&server.address).unwrap();
    let length = body.len();
    write!(
        stream,
        "POST /api/auth/login HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\nContent-Type: application/json\r\n\
         Content-Length: {length}\r\n\r\n{body}"
    )
    .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

#[test]
fn the_log_shows_the_setup_token_until_the_instance_is_claimed() {
    let dir = prepared();
    let token_of = |line: &str| line.split('"').find(|part| part.starts_with("tbs_")).map(str::to_owned);
    let server = Server::start(dir.path());
    let line = logged(dir.path(), &["WARN", "no administrator", "tbs_"]);
    let token = token_of(&line).unwrap();
    let refused = first_login(&server, "api.example.org", "");
    assert!(refused.starts_with("HTTP/1.1 403") && refused.contains("setup_token_required"), "{refused}");
    let (_, status) = server.call("GET /api/auth/setup-status", "", "");
    assert_eq!(status, json!({"needs_setup": true, "setup_token_required": false}));
    server.stop("-TERM");
    let server = Server::start(dir.path());
    assert_eq!(token_of(&logged(dir.path(), &["tbs_"])).unwrap(), token, "it is another one after a restart");
    let claimed = first_login(&server, "api.example.org", &format!(r#", "setup_token": "{token}""#));
    assert!(claimed.starts_with("HTTP/1.1 200") && claimed.contains(r#""admin_created":true"#), "{claimed}");
    server.stop("-TERM");
    let server = Server::start(dir.path());
    assert_eq!(server.login(PASSWORD).0, 200);
    server.stop("-TERM");
    let log = std::fs::read_to_string(dir.path().join("log")).unwrap();
    assert!(!log.contains("tbs_"), "{log}");
}

/// Checks a command's exit code, and a part of its output.
fn assert_ran(output: &Output, code: i32, expected: &str) {
    let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), errors(output));
    assert_eq!(output.status.code(), Some(code), "{said}");
    assert!(said.contains(expected), "{said}");
}

#[test]
fn a_password_comes_from_stdin_or_a_variable_and_never_needs_to_be_an_argument() {
    let dir = prepared();
    let add = |arguments: &[&str], variable: Option<&str>, input: &str| {
        let mut command = tinybase(dir.path());
        command.args(["admin", "add", EMAIL]).args(arguments);
        if let Some(password) = variable {
            command.env("TINYBASE_ADMIN_PASSWORD", password);
        }
        run_with_input(&mut command, input)
    };
    assert_ran(&add(&[], None, "horse from a pipe\n"), 0, "created the admin");
    let server = Server::start(dir.path());
    assert_eq!(server.login("horse from a pipe").0, 200);
    assert_ran(
        &add(&["--password-stdin"], Some("not this horse"), "horse by name\r\n"),
        0,
        "has the new password",
    );
    assert_eq!((server.login("horse by name").0, server.login("not this horse").0), (200, 401));
    assert_ran(&add(&[], Some("horse in a variable"), "not this horse\n"), 0, "has the new password");
    assert_eq!(server.login("horse in a variable").0, 200);
    assert_ran(&add(&["horse in an argument"], Some("not this horse"), ""), 0, "has the new password");
    assert_eq!(server.login("horse in an argument").0, 200);
    assert_ran(&add(&[], None, ""), 2, "TINYBASE_ADMIN_PASSWORD");
    assert_ran(&add(&[], None, "short\n"), 1, "at least 8 characters");
    assert_ran(&add(&["--password-stdin"], None, &"x".repeat(5000)), 1, "longer than");
}

#[test]
fn init_takes_the_password_from_stdin() {
    for arguments in [&["--admin-password-stdin"][..], &[]] {
        let dir = fresh();
        let mut command = tinybase(dir.path());
        command.args(["init", "--admin-email", EMAIL]).args(arguments);
        assert_ran(&run_with_input(&mut command, "horse from a pipe\n"), 0, "created the admin");
        let server = Server::start(dir.path());
        assert_eq!(server.login("horse from a pipe").0, 200);
    }
    let dir = fresh();
    let mut command = tinybase(dir.path());
    assert_ran(
        &run_with_input(command.args(["init", "--admin-password-stdin"]), "horse\n"),
        2,
        "--admin-email",
    );
}

#[test]
fn signals_that_mean_nothing_end_nothing() {
    let dir = prepared();
    let server = Server::start(dir.path());
    for (signal, name) in [("-HUP", "SIGHUP"), ("-USR1", "SIGUSR1"), ("-USR2", "SIGUSR2")] {
        server.signal(signal);
        logged(dir.path(), &[name, "is ignored"]);
        assert_eq!(server.call("GET /health", "", "").0, 200, "{name}");
    }
    assert_eq!(server.stop("-TERM"), Some(0));
    let log = std::fs::read_to_string(dir.path().join("log")).unwrap();
    let warned = log.lines().filter(|line| line.contains("WARN") && !line.contains("no administrator"));
    assert_eq!(warned.collect::<Vec<_>>(), Vec::<&str>::new(), "an orderly life warns");
}

#[test]
fn one_request_to_end_that_arrives_twice_is_one() {
    let dir = prepared();
    let server = Server::start(dir.path());
    server.signal("-TERM");
    server.signal("-TERM");
    assert_eq!(server.stop("-TERM"), Some(0), "it was cut off");
    let log = std::fs::read_to_string(dir.path().join("log")).unwrap();
    assert!(!log.contains("stopped at once"), "{log}");
}

#[test]
fn safe_mode_says_that_it_is() {
    let dir = prepared();
    let server = Server::start_with(dir.path(), &["--safe-mode"]);
    logged(dir.path(), &["WARN", "safe mode"]);
    assert_eq!(server.call("GET /ready", "", "").1, json!({"status": "ready", "safe_mode": true}));
    server.stop("-TERM");
    let server = Server::start(dir.path());
    assert_eq!(server.call("GET /ready", "", "").1, json!({"status": "ready"}));
}

/// Returns the version of the host's own tables: a server upgrades those of extensions itself.
fn version(dir: &Path) -> String {
    done(dir, "db current").lines().next().unwrap().to_owned()
}

#[test]
fn nothing_is_downgraded_unasked_or_under_a_server() {
    let dir = prepared();
    let before = version(dir.path());
    let output = run(dir.path(), "db downgrade 1");
    assert_ran(&output, 1, "nothing was changed");
    for input in ["n\n", "", "y\n"] {
        let mut command = tinybase(dir.path());
        let output = run_with_input(command.args(["db", "downgrade", "1"]), input);
        assert_ran(&output, 1, "nothing was changed");
    }
    assert_eq!(version(dir.path()), before);
    let server = Server::start(dir.path());
    assert_ran(&run(dir.path(), "db downgrade 11 --yes"), 1, "stop it first");
    assert_eq!((version(dir.path()), server.call("GET /ready", "", "").0), (before.clone(), 200));
    server.stop("-TERM");
    // Only one step: tables of extensions may depend on the host's older ones.
    done(dir.path(), "db downgrade --yes");
    assert_ne!(version(dir.path()), before);
}

#[test]
fn an_odd_environment_is_a_warning_and_no_end() {
    let dir = prepared();
    let start = |command: &mut Command| errors(&command.args(["db", "current"]).output().unwrap());
    let said = start(tinybase(dir.path()).env("TINYBASE_SERVER_PROT", "1"));
    assert!(
        said.contains("TINYBASE_SERVER_PROT") && said.contains("did you mean TINYBASE_SERVER_PORT?"),
        "{said}"
    );
    let said =
        start(tinybase(dir.path()).env("TINYBASE_DEBUG", "1").env("TINYBASE_JWT_SECRET_KEY", "hunter22"));
    assert!(said.contains("TINYBASE_DEBUG, TINYBASE_JWT_SECRET_KEY") && !said.contains("hunter22"), "{said}");
    assert_eq!(said.lines().count(), 1, "{said}");
    let said = start(
        tinybase(dir.path())
            .env("TINYBASE_NODE_HEARTBEAT_MS", "5000")
            .env("TINYBASE_NODE_TIMEOUT_MS", "6000"),
    );
    assert!(said.contains("node.timeout_ms cannot be 6000"), "{said}");
    assert_eq!(server_url().is_some(), !dir.path().join("tinybase.db").exists());
}

//! Tests backups with the real binary: made while a server is running, listed, restored into an empty folder and over
//! an instance, and refused if they are damaged.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::Command,
};

use crate::support::cli::{
    EMAIL, PASSWORD, Server, done, errors, fresh, prepared, run, run_with_input, tinybase,
};
use serde_json::{Value as Json, json};
use tinybase_test_postgres::{Database, server_url};

/// Creates a prepared folder with an administrator.
fn instance() -> crate::support::cli::Folder {
    let dir = prepared();
    let mut command = tinybase(dir.path());
    assert!(run_with_input(command.args(["admin", "add", EMAIL]), PASSWORD).status.success());
    dir
}

fn json_of(dir: &Path, line: &str) -> Json {
    serde_json::from_str(&done(dir, line)).unwrap()
}

fn create(dir: &Path) -> PathBuf {
    PathBuf::from(json_of(dir, "backup create --json")["path"].as_str().unwrap())
}

fn names(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names = entries.collect::<Vec<_>>();
    names.sort();
    names
}

/// Returns all files of an instance that a backup contains, except for the database.
fn content(dir: &Path) -> Vec<(String, Vec<u8>)> {
    let mut found = Vec::new();
    let mut open = vec![dir.to_owned()];
    while let Some(folder) = open.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.strip_prefix(dir).unwrap().display().to_string();
            if ["backups", "before-restore", "log", "tinybase.db"].iter().any(|other| name.starts_with(other))
                || name.ends_with("changes.lock")
            {
                continue;
            }
            if path.is_dir() {
                open.push(path);
            } else {
                found.push((name, fs::read(&path).unwrap()));
            }
        }
    }
    found.sort();
    found
}

#[test]
fn a_backup_is_made_beside_a_server_and_comes_up_in_an_empty_folder() {
    let dir = instance();
    let server = Server::start(dir.path());
    let made = json_of(dir.path(), "backup create --json");
    let archive = PathBuf::from(made["path"].as_str().unwrap());
    assert_eq!(fs::metadata(&archive).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(fs::metadata(dir.path().join("backups")).unwrap().permissions().mode() & 0o777, 0o700);
    assert_eq!(made["bytes"], json!(fs::metadata(&archive).unwrap().len()));
    // A later change is not part of it.
    let mut command = tinybase(dir.path());
    assert!(run_with_input(command.args(["admin", "add", "later@example.org"]), PASSWORD).status.success());
    server.stop("-TERM");
    let listed = json_of(dir.path(), "backup list --json");
    assert_eq!((listed.as_array().unwrap().len(), &listed[0]["path"]), (1, &made["path"]));
    assert!(done(dir.path(), "backup list").contains("bytes"));

    let other = fresh();
    let line = format!("backup restore {} --json", archive.display());
    let restored = json_of(other.path(), &line);
    assert_eq!((&restored["files"], &restored["kept"]), (&made["files"], &Json::Null));
    assert_eq!(content(other.path()), content(dir.path()));
    let mode = |path: &str| fs::metadata(other.path().join(path)).unwrap().permissions().mode() & 0o777;
    assert_eq!(
        (mode(".tinybase/keys"), mode(".tinybase/keys/ed25519.pem"), mode("tinybase.toml")),
        (0o700, 0o600, 0o600)
    );
    let server = Server::start(other.path());
    assert_eq!(server.login(PASSWORD).0, 200);
    let later = json!({"email": "later@example.org", "password": PASSWORD}).to_string();
    assert_eq!(server.call("POST /api/auth/login", "", &later).0, 401);
}

#[test]
fn over_an_instance_it_asks_and_keeps_what_was_there() {
    if server_url().is_some() {
        return not_on_a_server();
    }
    let dir = instance();
    let archive = create(dir.path());
    let mut command = tinybase(dir.path());
    assert!(run_with_input(command.args(["admin", "add", EMAIL]), "horse of today").status.success());
    fs::write(dir.path().join("functions/new.py"), "# new").unwrap();
    let restore = format!("backup restore {}", archive.display());

    let server = Server::start(dir.path());
    let output = run(dir.path(), &format!("{restore} --yes"));
    assert!(output.status.code() == Some(1) && errors(&output).contains("stop it first"), "{output:?}");
    assert_eq!(server.login("horse of today").0, 200);
    server.stop("-TERM");
    for input in ["", "n\n", "y\n"] {
        let mut command = tinybase(dir.path());
        let output = run_with_input(command.args(restore.split(' ')), input);
        assert!(
            output.status.code() == Some(1) && errors(&output).contains("nothing was changed"),
            "{output:?}"
        );
    }
    assert!(dir.path().join("functions/new.py").exists() && !dir.path().join(".tinybase-restore").exists());

    // As a killed server leaves it: next to the restored file SQLite would read it as that file's log.
    fs::write(dir.path().join("tinybase.db-wal"), "a log").unwrap();
    let restored = json_of(dir.path(), &format!("{restore} --yes --json"));
    let kept = PathBuf::from(restored["kept"].as_str().unwrap());
    assert!(kept.join("functions/new.py").exists() && kept.join("tinybase.db").exists());
    assert!(kept.join("tinybase.db-wal").exists() && !dir.path().join("tinybase.db-wal").exists());
    assert!(kept.join(".tinybase/keys").exists() && !dir.path().join("functions/new.py").exists());
    assert!(archive.exists(), "the backup itself went aside");
    let server = Server::start(dir.path());
    assert_eq!((server.login(PASSWORD).0, server.login("horse of today").0), (200, 401));
}

#[test]
fn what_is_not_whole_changes_nothing() {
    let dir = instance();
    let archive = create(dir.path());
    let whole = fs::read(&archive).unwrap();
    let before = content(dir.path());
    let mut flipped = whole.clone();
    let middle = flipped.len() / 2;
    flipped[middle] ^= 1;
    for bytes in [&whole[..whole.len() - 1], &whole[..whole.len() / 2], &flipped, b"no archive", b""] {
        fs::write(&archive, bytes).unwrap();
        let output = run(dir.path(), &format!("backup restore {} --yes", archive.display()));
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        assert!(errors(&output).contains("no whole backup"), "{output:?}");
        assert!(content(dir.path()) == before && !dir.path().join(".tinybase-restore").exists());
    }
    assert_eq!(run(dir.path(), "backup restore nowhere --yes").status.code(), Some(1));
    assert!(done(dir.path(), "backup list").contains("damaged"));
    assert!(names(dir.path()).iter().all(|name| !name.starts_with("before-restore")));
}

#[test]
fn what_would_reach_beyond_its_folder_is_refused() {
    let dir = instance();
    let outside = tempfile::tempdir().unwrap();
    let mine = outside.path().join("mine");
    fs::write(&mine, "mine").unwrap();
    let settings = dir.path().join("tinybase.toml");
    let text = fs::read_to_string(&settings).unwrap();
    let elsewhere = format!("[extensions]\ndir = {:?}", outside.path().display().to_string());
    fs::write(&settings, text.replacen("[extensions]", &elsewhere, 1)).unwrap();
    let restore = format!("backup restore {} --yes", create(dir.path()).display());
    let other_engine = match server_url() {
        None => ("postgres://nobody@127.0.0.1:9/none", "the backup is of a sqlite database"),
        Some(_) => ("sqlite://./x.db", "the backup is of a postgres database"),
    };
    // A folder that may belong to another instance; and a database of the other engine.
    for (url, words) in [(None, "that may be another instance"), (Some(other_engine.0), other_engine.1)] {
        let other = fresh();
        let mut command = tinybase(other.path());
        command.args(restore.split(' ')).envs(url.map(|url| ("TINYBASE_DB_URL", url)));
        let output = command.output().unwrap();
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        assert!(errors(&output).contains(words), "{words:?} is not in {output:?}");
        assert_eq!(names(other.path()), Vec::<String>::new(), "{words}");
        assert_eq!(fs::read_to_string(&mine).unwrap(), "mine");
    }
}

#[test]
fn only_so_many_are_kept_and_none_is_left_half() {
    let dir = instance();
    assert!(done(dir.path(), "backup list").contains("no backups yet"));
    let first = create(dir.path());
    let second = create(dir.path());
    fs::create_dir(dir.path().join("backups/.part-killed")).unwrap();
    let made = json_of(dir.path(), "backup create --keep 2 --json");
    assert_eq!(made["removed"], json!([first]));
    assert!(
        second.exists() && names(&dir.path().join("backups")).len() == 3,
        "{:?}",
        names(&dir.path().join("backups"))
    );
    assert_eq!(run(dir.path(), "backup create --keep 0").status.code(), Some(2));
    assert_eq!(run(dir.path(), "backup create --to /proc/nowhere").status.code(), Some(1));
}

#[test]
fn a_disk_without_room_is_told_of_and_nothing_is_left() {
    if server_url().is_some() {
        return not_on_a_server();
    }
    let dir = instance();
    // Limits the size of a file: a write beyond it fails as on a full disk.
    let binary = env!("CARGO_BIN_EXE_tinybase");
    let script = format!("trap '' XFSZ; ulimit -f 200; exec {binary} backup create");
    let output = Command::new("sh").args(["-c", &script]).current_dir(dir.path()).output().unwrap();
    assert_eq!((output.status.code(), errors(&output).lines().count()), (Some(1), 1), "{output:?}");
    assert_eq!(names(&dir.path().join("backups")), [".lock"]);
    let archive = create(dir.path());
    let before = content(dir.path());
    let script =
        format!("trap '' XFSZ; ulimit -f 200; exec {binary} backup restore {} --yes", archive.display());
    let output = Command::new("sh").args(["-c", &script]).current_dir(dir.path()).output().unwrap();
    assert_eq!((output.status.code(), errors(&output).lines().count()), (Some(1), 1), "{output:?}");
    assert!(content(dir.path()) == before && !dir.path().join(".tinybase-restore").exists());
}

#[test]
fn a_restore_that_was_killed_is_finished_by_the_next_command() {
    if server_url().is_some() {
        return not_on_a_server();
    }
    let dir = instance();
    let archive = create(dir.path());
    let mut command = tinybase(dir.path());
    assert!(run_with_input(command.args(["admin", "add", EMAIL]), "horse of today").status.success());
    // Killed at any moment, it is either of both, and complete.
    for delay_ms in [0, 5, 20, 40, 80, 160] {
        let mut command = tinybase(dir.path());
        let mut restoring = command.args(["backup", "restore", "--yes"]).arg(&archive).spawn().unwrap();
        std::thread::park_timeout(std::time::Duration::from_millis(delay_ms));
        let _ = restoring.kill();
        restoring.wait().unwrap();
        let server = Server::start(dir.path());
        let (old, new) = (server.login("horse of today").0, server.login(PASSWORD).0);
        assert!([(200, 401), (401, 200)].contains(&(old, new)), "after {delay_ms} ms: {old} {new}");
        assert!(!dir.path().join(".tinybase-restore").exists());
        server.stop("-TERM");
        let mut command = tinybase(dir.path());
        assert!(run_with_input(command.args(["admin", "add", EMAIL]), "horse of today").status.success());
    }
}

#[test]
fn a_database_on_a_server_is_filled_where_it_is_empty() {
    let Some(server) = server_url() else {
        return eprintln!("skipped on SQLite: it is about a database on a PostgreSQL server");
    };
    let dir = instance();
    let archive = create(dir.path());
    let output = run(dir.path(), &format!("backup restore {} --yes", archive.display()));
    assert!(output.status.code() == Some(1) && errors(&output).contains("create an empty one"), "{output:?}");
    let empty = Database::create(&server).unwrap();
    let mut command = tinybase(dir.path());
    command.args(["backup", "restore", "--yes"]).arg(&archive).env("TINYBASE_DB_URL", empty.url());
    let output = command.output().unwrap();
    assert!(output.status.success(), "{output:?}");
    assert_eq!(empty.run("SELECT count(*) FROM tb_users").unwrap().trim(), "1");
}

fn not_on_a_server() {
    eprintln!("skipped on PostgreSQL: it is about a database that is a file of the folder");
}

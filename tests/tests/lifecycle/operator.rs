//! Changes as an operator sees them on the command line: questions, plans, JSON, help.

use std::{
    fs,
    io::Write,
    process::{Command, Stdio},
};

use serde_json::{Value as Json, json};
use tinybase_tests::{Site, fixtures, site::Ran};

use super::install;

/// Runs a command with this input on stdin, which is not a terminal.
fn answered(mut command: Command, answer: &str) -> Ran {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    // It may have ended without reading.
    let _ = child.stdin.take().unwrap().write_all(answer.as_bytes());
    child.wait_with_output().unwrap().into()
}

fn json_of(site: &Site, arguments: &[&str]) -> Json {
    serde_json::from_str(&site.done(arguments)).unwrap()
}

#[test]
fn a_question_without_a_terminal_is_a_no() {
    let site = Site::new();
    let package = fixtures::stress("pulse", site.packages()).display().to_string();
    let versions = || site.sql("SELECT name, version FROM tb_extensions WHERE name = 'pulse'");
    for answer in ["", "n\n", "y\n"] {
        let ran = answered(site.command(&["extensions", "install", &package]), answer);
        assert!(ran.code == Some(1) && ran.errors.contains("nothing was changed"), "{answer:?}: {ran:?}");
        assert_eq!(versions(), "");
    }
    install(&site, "pulse");
    for answer in ["", "y\n"] {
        for command in [&["extensions", "uninstall", "pulse"][..], &["db", "downgrade", "1"]] {
            let ran = answered(site.command(command), answer);
            assert!(
                ran.code == Some(1) && ran.errors.contains("nothing was changed"),
                "{command:?}: {ran:?}"
            );
        }
        assert_eq!(versions(), "pulse|0.1.0");
    }
}

#[test]
fn changes_are_shown_before_and_told_after_as_json() {
    let site = Site::new();
    let [first, second] =
        ["pulse", "pulse_2"].map(|name| fixtures::stress(name, site.packages()).display().to_string());
    let planned = json_of(&site, &["extensions", "install", &first, "--dry-run", "--json"]);
    assert_eq!(
        (&planned["plan"][0]["name"], &planned["plan"][0]["from_version"]),
        (&json!("pulse"), &Json::Null)
    );
    let told = site.done(&["extensions", "install", &first, "--dry-run", "--yes"]);
    assert!(told.contains("pulse 0.1.0") && told.contains("nothing was changed"), "{told}");
    assert_eq!(site.sql("SELECT count(*) FROM tb_extensions WHERE name = 'pulse'"), "0");
    let done = json_of(&site, &["extensions", "install", &first, "--yes", "--json"]);
    assert_eq!(
        (&done["changes"][0]["kind"], &done["changes"][0]["to_version"]),
        (&json!("install"), &json!("0.1.0"))
    );
    let done = json_of(&site, &["extensions", "install", &second, "--yes", "--json"]);
    assert_eq!(
        (&done["changes"][0]["kind"], &done["changes"][0]["from_version"]),
        (&json!("update"), &json!("0.1.0"))
    );

    let plan = json!({"plan": [{"name": "pulse", "from_version": "0.2.0", "version": "0.1.0", "reverted_migrations": [2]}]});
    assert_eq!(json_of(&site, &["extensions", "rollback", "pulse", "--dry-run", "--json"]), plan);
    let told = site.done(&["extensions", "rollback", "pulse", "--dry-run"]);
    assert!(told.contains("0.2.0 → 0.1.0") && told.contains("nothing was changed"), "{told}");
    assert_eq!(site.sql("SELECT version FROM tb_extensions WHERE name = 'pulse'"), "0.2.0");
    let done = json_of(&site, &["extensions", "rollback", "pulse", "--json"]);
    assert_eq!(
        (&done["changes"][0]["kind"], &done["changes"][0]["to_version"]),
        (&json!("rollback"), &json!("0.1.0"))
    );
    let ran = site.run(&["extensions", "rollback", "pulse", "--dry-run"]);
    assert!(ran.code == Some(1) && ran.errors.contains("no version before"), "{ran:?}");
    assert_eq!(json_of(&site, &["extensions", "update", "--yes", "--json"]), json!({"changes": []}));
    assert_eq!(json_of(&site, &["extensions", "update", "--dry-run", "--json"]), json!({"plan": []}));
}

#[test]
fn a_search_that_finds_nothing_says_so() {
    let site = Site::new();
    let ran = site.run(&["extensions", "search", "zzz"]);
    assert!(ran.code == Some(0) && ran.out.is_empty() && ran.errors.contains("nothing found"), "{ran:?}");
    assert_eq!(json_of(&site, &["extensions", "search", "zzz", "--json"]), json!([]));
}

#[test]
fn help_and_completions_know_the_commands_of_extensions() {
    let site = Site::new();
    let elsewhere = tempfile::tempdir().unwrap();
    let dir = site.dir().display().to_string();
    // The program's own help texts mention collections too.
    let lists = |told: &str| told.lines().any(|line| line.starts_with("  collections "));
    for arguments in [&["--help"][..], &["-h"], &["completions", "bash"], &["completions", "fish"]] {
        let told = site.done(arguments);
        assert!(
            lists(&told) || told.contains("subcmd__collections") || told.contains("-a \"collections\""),
            "{arguments:?}: {told}"
        );
        let mut command = site.command(&[&["--dir", &dir], arguments].concat());
        let from_elsewhere: Ran = command.current_dir(elsewhere.path()).output().unwrap().into();
        assert_eq!(from_elsewhere.out, told, "{arguments:?}");
    }
    let ran = site.run(&[]);
    assert!(ran.code == Some(2) && lists(&ran.errors), "{ran:?}");
    site.done(&["extensions", "disable", "collections"]);
    assert!(!lists(&site.done(&["--help"])), "what is disabled has no commands");
}

#[test]
fn records_are_imported_from_a_pipe() {
    let site = Site::new();
    for (name, text) in [("lines", "{\"a\":1}\n{\"a\":2}\n"), ("cells", "a;b\n1;x\n2;y\n")] {
        let ran = answered(site.command(&["collections", "import", name, "-"]), text);
        assert!(ran.code == Some(0) && ran.out.contains("2 records were imported"), "{name}: {ran:?}");
    }
    assert_eq!(site.sql("SELECT sum(count) FROM collections_counts"), "4");
}

#[test]
fn a_folder_that_is_not_there_is_named() {
    let site = Site::new();
    let missing = site.run(&["--dir", "nope", "collections", "list"]);
    assert!(missing.errors.contains("the folder nope does not exist"), "{missing:?}");
    assert_eq!(missing.code, Some(1));
    if site.database_url().is_none() {
        fs::create_dir(site.dir().join("empty")).unwrap();
        let empty = site.run(&["--dir", "empty", "collections", "list"]);
        assert!(empty.code == Some(2) && empty.errors.contains("empty is no instance"), "{empty:?}");
    }
}

#[test]
fn a_name_that_the_host_needs_is_refused_everywhere() {
    let site = Site::new();
    for name in ["keys", "help", "backup"] {
        let package = fixtures::stress("pulse", site.packages());
        let manifest = package.join("extension.toml");
        let changed = fs::read_to_string(&manifest)
            .unwrap()
            .replace("\"pulse\"\nversion", &format!("\"{name}\"\nversion"));
        fs::write(&manifest, changed).unwrap();
        let folder = package.display().to_string();
        for command in [&["extensions", "install", "--yes", &folder][..], &["extensions", "pack", &folder]] {
            let ran = site.run(command);
            assert!(
                ran.code == Some(1) && ran.errors.contains("is reserved for the host"),
                "{command:?}: {ran:?}"
            );
        }
    }
}

#[test]
fn a_library_of_another_manifest_is_not_packed_for_any_target() {
    let site = Site::new();
    let package = fixtures::stress("pulse", site.packages());
    let folder = package.display().to_string();
    let out = site.packages().display().to_string();
    let pack = |target: &str| {
        let target = if target.is_empty() { vec![] } else { vec!["--target", target] };
        site.run(&[&["extensions", "pack", &folder, "--out", &out], &target[..]].concat())
    };
    // This machine's target, and another one, for which nothing can be loaded here.
    let targets = ["", "riscv64gc-unknown-linux-gnu"];
    for target in targets {
        let ran = pack(target);
        assert_eq!(ran.code, Some(0), "{target}: {ran:?}");
    }
    let manifest = package.join("extension.toml");
    let text = fs::read_to_string(&manifest).unwrap();
    // A newer version, and a prefix of the manifest that the library was built with.
    let shorter =
        text.lines().filter(|line| !line.starts_with("routes")).collect::<Vec<_>>().join("\n") + "\n";
    assert!(text.starts_with(&shorter), "it is the beginning of the other");
    for changed in [text.replace("0.1.0", "0.1.1"), shorter] {
        fs::write(&manifest, changed).unwrap();
        for target in targets {
            let ran = pack(target);
            assert!(ran.code == Some(1) && ran.errors.contains("was not built with"), "{target}: {ran:?}");
        }
    }
}

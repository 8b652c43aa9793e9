//! The README's console blocks, run as by a new user: the real output must match. `UPDATE_EXPECT=1` writes the real
//! output into it.

use std::{
    fs,
    os::unix::fs::symlink,
    path::Path,
    process::{Command, Stdio},
};

use regex_lite::Regex;
use tinybase_test_postgres::sqlite_only;
use tinybase_tests::{Server, profile_dir, root};

/// The marker before each command's output in the script's output.
const MARK: &str = "--8<-- command";
/// The address in the README.
const ADDRESS: &str = "127.0.0.1:8000";

/// A command of the README with the output below it.
struct Step {
    command: String,
    output: String,
}

fn steps(readme: &str) -> Vec<Step> {
    let mut steps: Vec<Step> = Vec::new();
    let mut inside = false;
    for line in readme.lines() {
        match (line, line.strip_prefix("$ ")) {
            ("```console", _) => inside = true,
            ("```", _) => inside = false,
            (_, Some(command)) if inside => {
                steps.push(Step { command: command.to_owned(), output: String::new() });
            }
            _ if inside => {
                let step = steps.last_mut().expect("a console block begins with a command");
                step.output.push_str(line);
                step.output.push('\n');
            }
            _ => {}
        }
    }
    steps
}

/// Runs all commands in one shell, like one person in one terminal.
fn run(folder: &Path, steps: &[Step], address: &str) -> Vec<String> {
    let script =
        steps.iter().map(|step| format!("echo '{MARK}'\n{}\necho\n", step.command)).collect::<String>();
    let output = Command::new("bash")
        .arg("-c")
        .arg(script.replace(ADDRESS, address))
        .current_dir(folder)
        .stdin(Stdio::null())
        .output()
        .expect("bash is there");
    let said = String::from_utf8_lossy(&output.stdout).replace(address, ADDRESS);
    let mark = format!("{MARK}\n");
    let outputs = said.split(&mark).skip(1);
    outputs.map(|output| format!("{}\n", output.trim_end()).trim_start_matches('\n').to_owned()).collect()
}

/// Normalizes ids and times, which differ in every run.
fn alike(text: &str) -> String {
    let id = Regex::new("[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
        .expect("the pattern is constant and valid");
    let time =
        Regex::new(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+Z").expect("the pattern is constant and valid");
    time.replace_all(&id.replace_all(text, "ID"), "TIME").into_owned()
}

fn updated(readme: &str, outputs: &[String]) -> String {
    let (mut text, mut outputs, mut inside) = (String::new(), outputs.iter(), false);
    for line in readme.lines() {
        let is_command = inside && line.starts_with("$ ");
        if !inside || is_command || line == "```" {
            text.push_str(line);
            text.push('\n');
        }
        if is_command {
            text.push_str(outputs.next().expect("every command has an output"));
        }
        inside = line == "```console" || (inside && line != "```");
    }
    text
}

#[test]
fn the_readme_shows_what_comes_out() {
    if sqlite_only("what a new user gets, a file") {
        return;
    }
    let path = root().join("README.md");
    let readme = fs::read_to_string(&path).unwrap();
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("target")).unwrap();
    symlink(profile_dir(), folder.path().join("target/release")).unwrap();
    let binary = profile_dir().join("tinybase");
    let data = folder.path().join("tinybase-data");
    let ready = Command::new(&binary).arg("init").arg(&data).stdin(Stdio::null()).output().unwrap();
    assert!(ready.status.success(), "{ready:?}");
    let mut serve = Command::new(&binary);
    serve.args(["serve", "--port", "0"]).current_dir(&data);
    let server = Server::start(serve).unwrap_or_else(|ran| panic!("serve: {ran:?}"));

    let steps = steps(&readme);
    assert!(steps.len() > 8, "the README has console blocks");
    let outputs = run(folder.path(), &steps, server.address());
    assert_eq!(outputs.len(), steps.len());
    if std::env::var_os("UPDATE_EXPECT").is_some() {
        fs::write(&path, updated(&readme, &outputs)).unwrap();
        return;
    }
    for (step, output) in steps.iter().zip(&outputs) {
        assert_eq!(alike(&step.output), alike(output), "$ {}", step.command);
    }
}

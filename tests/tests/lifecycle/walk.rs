//! The walk: the process that carries out a change is killed at each of its steps, like a power cut. The next start
//! must serve the version before or after the change, and no intermediate state.

use std::{
    path::{Path, PathBuf},
    process::Stdio,
};

use tinybase_tests::{Server, Site, fixtures, site};

use super::{pulse_version, wait_until};

/// More steps than any change has.
const STEPS_MAX: u32 = 60;

/// A change, and the versions of `pulse` that may serve once it was started; empty means none.
struct Walked {
    name: &'static str,
    /// The commands before it.
    before: &'static [&'static [&'static str]],
    /// The command; `@` stands for a package's folder.
    change: &'static [&'static str],
    /// The version before the change, and the version after it.
    versions: [&'static str; 2],
}

const INSTALL: &[&str] = &["extensions", "install", "--yes", "@pulse"];
const UPDATE: &[&str] = &["extensions", "install", "--yes", "@pulse_2"];

const CHANGES: &[Walked] = &[
    Walked { name: "install", before: &[], change: INSTALL, versions: ["", "0.1.0"] },
    Walked { name: "update", before: &[INSTALL], change: UPDATE, versions: ["0.1.0", "0.2.0"] },
    Walked {
        name: "rollback",
        before: &[INSTALL, UPDATE],
        change: &["extensions", "rollback", "pulse"],
        versions: ["0.2.0", "0.1.0"],
    },
    Walked {
        name: "disable",
        before: &[INSTALL],
        change: &["extensions", "disable", "pulse"],
        versions: ["0.1.0", ""],
    },
    Walked {
        name: "enable",
        before: &[INSTALL, &["extensions", "disable", "pulse"]],
        change: &["extensions", "enable", "pulse"],
        versions: ["", "0.1.0"],
    },
    Walked {
        name: "uninstall",
        before: &[INSTALL],
        change: &["extensions", "uninstall", "pulse", "--purge", "--yes"],
        versions: ["0.1.0", ""],
    },
];

/// Returns the arguments with the packages' folders inserted.
fn arguments(given: &[&str], packages: &Path) -> Vec<String> {
    let folder = |argument: &&str| match argument.strip_prefix('@') {
        Some(name) => packages.join(name).display().to_string(),
        None => (*argument).to_owned(),
    };
    given.iter().map(folder).collect()
}

fn run(site: &Site, given: &[&str]) -> site::Ran {
    let arguments = arguments(given, site.packages());
    site.run(&arguments.iter().map(String::as_str).collect::<Vec<_>>())
}

fn prepared(walked: &Walked) -> Site {
    let site = Site::new();
    for name in ["pulse", "pulse_2", "neighbour"] {
        let _: PathBuf = fixtures::stress(name, site.packages());
    }
    for before in [&["extensions", "install", "--yes", "@neighbour"] as &[&str]].iter().chain(walked.before) {
        let ran = run(&site, before);
        assert_eq!(ran.code, Some(0), "{before:?}: {ran:?}");
    }
    site
}

/// Simulates the time after which the other nodes consider a silent node dead. With a database file, they know by its
/// lock.
fn give_up_the_dead(site: &Site) {
    if site.database_url().is_some() {
        site.sql(
            "UPDATE tb_extension_changes SET held_until = 0 WHERE ended_at IS NULL; DELETE FROM tb_nodes",
        );
    }
}

/// Starts everything again and returns the version that serves. The other extension must serve in any case.
#[track_caller]
fn serves_one_of(site: &Site, walked: &Walked, at: u32) -> String {
    let server = site.serve();
    let client = server.client();
    assert_eq!(client.get("/api/neighbour/hello").status, 200, "{} at {at}: the one beside", walked.name);
    let settled = || site.sql("SELECT count(*) FROM tb_extension_changes WHERE ended_at IS NULL") == "0";
    wait_until("what was begun has ended", settled);
    let version = pulse_version(&client);
    assert!(walked.versions.contains(&version.as_str()), "{} at {at}: {version:?} serves", walked.name);
    // The files match the row, and it works with the existing tables.
    if !version.is_empty() {
        client.get("/api/pulse/heard/told").expect(200);
    }
    assert!(server.stop().success());
    version
}

/// Walks through a change until it completes without being killed.
#[allow(clippy::print_stdout, reason = "a test's output tells what it did")]
fn walk(name: &str, with_server: bool) {
    let walked = CHANGES.iter().find(|walked| walked.name == name).unwrap();
    let prepared = prepared(walked);
    let mut outcomes = [0, 0];
    for at in 1..STEPS_MAX {
        let mut site = prepared.copied();
        let is_over = if with_server {
            let mut command = site.command(&["serve", "--port", "0"]);
            command.env("STRESS_CRASH_AT", at.to_string());
            let mut server = Server::start(command).unwrap();
            site.set("TINYBASE_EXTENSIONS_CHANGE_TIMEOUT_MS", "30000");
            // The command outlives the server: it then completes or reverts the change, as the next server would.
            let arguments = arguments(walked.change, site.packages());
            let mut command = site.command(&arguments.iter().map(String::as_str).collect::<Vec<_>>());
            let mut asked = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
            let mut ended = None;
            wait_until("the command or the server ends", || {
                ended = asked.try_wait().unwrap();
                ended.is_some() || !server.is_alive()
            });
            if ended.is_none() {
                give_up_the_dead(&site);
            }
            let ended = asked.wait().unwrap();
            assert!(ended.code().is_some(), "{ended:?}");
            server.is_alive()
        } else {
            let arguments = arguments(walked.change, site.packages());
            let mut command = site.command(&arguments.iter().map(String::as_str).collect::<Vec<_>>());
            let ended = command.env("STRESS_CRASH_AT", at.to_string()).output().unwrap();
            ended.status.code().is_some()
        };
        if !is_over {
            give_up_the_dead(&site);
        }
        let version = serves_one_of(&site, walked, at);
        if is_over {
            assert_eq!(version, walked.versions[1], "{name} carried out");
            let (steps, [before, after]) = (at - 1, outcomes);
            println!(
                "{name}: {steps} places, {before} times the version before, {after} times the one after"
            );
            assert!(at > 5, "{name}: it was ended nowhere");
            return;
        }
        let is_after = version == walked.versions[1];
        outcomes[usize::from(is_after)] += 1;
        // Whatever the result, the change can be made again.
        if at % 4 == 0 && !is_after {
            let ran = run(&site, walked.change);
            assert_eq!(ran.code, Some(0), "{name} again, at {at}: {ran:?}");
        }
    }
    panic!("{name}: more than {STEPS_MAX} places");
}

/// One test per change, so that they run in parallel.
macro_rules! walks {
    ($($name:ident)+) => {
        mod by_command {
            $(#[test]
            fn $name() {
                super::walk(stringify!($name), false);
            })+
        }

        mod by_server {
            $(#[test]
            fn $name() {
                super::walk(stringify!($name), true);
            })+
        }
    };
}

walks!(install update rollback disable enable uninstall);

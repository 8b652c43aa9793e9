//! Failing changes: each is refused with its code, and the previous version keeps running with its tables and its
//! files.

use std::{fs, path::Path, process::Command, thread};

use tempfile::TempDir;
use tinybase_tests::{Server, Site, fixtures};

use super::{change, install, pulse_version, wait_until};

/// Returns the rows, tables and files of `pulse`.
fn traces(site: &Site) -> (String, String, Vec<String>) {
    let row = site.sql("SELECT version, hash, is_enabled FROM tb_extensions WHERE name = 'pulse'");
    let migrations = site.sql("SELECT count(*) FROM tb_migrations WHERE owner = 'pulse'");
    let folder = site.dir().join(".tinybase/extensions/pulse");
    let mut files: Vec<String> = fs::read_dir(folder)
        .map(|entries| entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect())
        .unwrap_or_default();
    files.sort();
    (row, migrations, files)
}

#[track_caller]
fn refused(site: &Site, server: Option<&Server>, name: &str, words: &[&str]) {
    let before = traces(site);
    let version = server.map(|server| pulse_version(&server.client()));
    let ran = change(site, name);
    assert_eq!(ran.code, Some(1), "{name}: {ran:?}");
    for word in words {
        assert!(ran.errors.contains(word), "{name}: {word:?} is not in {}", ran.errors);
    }
    assert_eq!(traces(site), before, "{name} left a trace");
    assert_eq!(server.map(|server| pulse_version(&server.client())), version, "{name}");
}

#[test]
fn a_version_that_does_not_start_is_taken_back() {
    let site = Site::new();
    install(&site, "neighbour");
    // A first version, without a server.
    refused(&site, None, "pulse_broken", &["start failed", "this version does not start", "no_pulse"]);
    install(&site, "pulse");
    refused(&site, None, "pulse_broken", &["no_pulse"]);
    refused(&site, None, "pulse_oneway", &["cannot be reverted", "nothing was changed"]);

    let server = site.serve();
    assert_eq!(pulse_version(&server.client()), "0.1.0");
    let instance = super::pulse(&server.client())["instance"].clone();
    refused(&site, Some(&server), "pulse_broken", &["no_pulse"]);
    refused(&site, Some(&server), "pulse_oneway", &["cannot be reverted"]);
    assert_eq!(super::pulse(&server.client())["instance"], instance, "it was never interrupted");
    server.logged(&["the change failed", "pulse"]);
    assert_eq!(server.client().get("/api/neighbour/hello").status, 200);
    assert!(server.stop().success());
}

#[test]
fn a_library_that_the_probe_refuses_changes_nothing_while_the_server_serves() {
    let mut site = Site::new();
    site.set("TINYBASE_PLUGINS_PROBE_TIMEOUT_MS", "1500");
    install(&site, "pulse");
    for (load, words) in [
        ("exit", ["ended the process", "exit code 0"]),
        ("abort", ["crashed the process", "SIGABRT"]),
        ("hang", ["did not load within", "1500 ms"]),
    ] {
        site.set("STRESS_LOAD", load);
        let server = site.serve();
        refused(&site, Some(&server), "on_load", &words);
        assert_eq!(site.sql("SELECT count(*) FROM tb_extensions WHERE name = 'on_load'"), "0");
        assert!(!site.dir().join(".tinybase/extensions/on_load").exists());
        assert!(server.stop().success());
    }
}

#[test]
fn a_manifest_that_is_not_the_librarys_is_refused() {
    let site = Site::new();
    install(&site, "pulse");
    let server = site.serve();
    let package = fixtures::stress("pulse_2", site.packages());
    let manifest = package.join("extension.toml");
    let changed = fs::read_to_string(&manifest).unwrap().replace("0.2.0", "0.2.1");
    fs::write(&manifest, changed).unwrap();
    let before = traces(&site);
    let ran = site.install(&package);
    assert!(ran.code == Some(1) && ran.errors.contains("manifest_differs"), "{ran:?}");
    assert_eq!(traces(&site), before);
    assert_eq!(pulse_version(&server.client()), "0.1.0");
}

#[test]
fn what_others_need_stays_and_what_is_needed_must_be_there() {
    let site = Site::new();
    let server = site.serve();
    let leaning = |range: &str| {
        let package = fixtures::stress("leaning", site.packages());
        let manifest = package.join("extension.toml");
        let text = fs::read_to_string(&manifest)
            .unwrap()
            .replace("pulse = \"^0.1\"", &format!("pulse = \"{range}\""));
        fs::write(manifest, text).unwrap();
        site.install(&package)
    };
    let told = leaning("^0.1").errors;
    let expected = "leaning 0.1.0 needs pulse ^0.1, which is neither installed nor in a registry";
    assert!(told.contains(expected), "{told}");
    install(&site, "pulse");
    let told = leaning("^0.9").errors;
    assert!(told.contains("leaning 0.1.0 needs pulse ^0.9, but 0.1.0 is installed"), "{told}");
    install(&site, "leaning");
    for refused in [&["disable", "pulse"][..], &["uninstall", "pulse", "--yes"]] {
        let ran = site.run(&[&["extensions"], refused].concat());
        assert!(ran.code == Some(1) && ran.errors.contains("pulse is needed by leaning"), "{ran:?}");
    }
    let told = change(&site, "pulse_2").errors;
    assert!(told.contains("leaning 0.1.0 needs pulse ^0.1"), "{told}");
    assert_eq!(pulse_version(&server.client()), "0.1.0");
    // At startup, dependencies come first.
    drop(server);
    let server = site.serve();
    assert_eq!(server.client().get("/api/leaning").status, 200);
    site.done(&["extensions", "disable", "leaning"]);
    site.done(&["extensions", "disable", "pulse"]);
    let ran = site.run(&["extensions", "enable", "leaning"]);
    assert!(ran.code == Some(1) && ran.errors.contains("is disabled"), "{ran:?}");
}

#[test]
fn two_changes_at_once_are_made_one_behind_the_other() {
    for with_server in [false, true] {
        let site = Site::new();
        let server = with_server.then(|| site.serve());
        let names = ["pulse", "neighbour", "beater"];
        for name in names {
            fixtures::stress(name, site.packages());
        }
        let all: Vec<_> = thread::scope(|scope| {
            let run = names.map(|name| scope.spawn(|| change(&site, name)));
            run.into_iter().map(|one| one.join().unwrap()).collect()
        });
        for ran in all {
            assert_eq!(ran.code, Some(0), "{ran:?}");
        }
        let server = server.unwrap_or_else(|| site.serve());
        assert_eq!(pulse_version(&server.client()), "0.1.0");
        assert_eq!(server.client().get("/api/neighbour/hello").status, 200);
    }
}

#[test]
fn a_change_that_waits_too_long_for_another_is_refused() {
    let mut site = Site::new();
    install(&site, "pulse");
    let server = site.serve();
    // A change of another process that is alive.
    let later = i64::MAX;
    site.sql(&format!(
        "INSERT INTO tb_extension_changes (id, kind, name, details, step, carrier, held_until, who, created_at) \
         VALUES ('x', 'disable', 'other', '{{}}', 'verified', 'somebody', {later}, '{{}}', '2026-01-01T00:00:00.000000Z')"
    ));
    site.set("TINYBASE_EXTENSIONS_CHANGE_TIMEOUT_MS", "200");
    if site.database_url().is_some() {
        let ran = site.run(&["extensions", "disable", "pulse"]);
        assert!(ran.code == Some(1) && ran.errors.contains("another change"), "{ran:?}");
        assert_eq!(pulse_version(&server.client()), "0.1.0");
    } else {
        // On SQLite the server knows that no other process can be running it.
        wait_until("it is taken back", || {
            site.sql("SELECT error_code FROM tb_extension_changes WHERE id = 'x'") == "change_interrupted"
        });
    }
}

/// A file system of a fixed size, until dropped.
struct Small(TempDir);

impl Small {
    fn mount(bytes: u64) -> Result<Small, String> {
        let folder = tempfile::tempdir().unwrap();
        let size = format!("size={bytes}");
        let mut mount = Command::new("mount");
        let ran = mount.args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(folder.path()).output();
        match ran {
            Ok(output) if output.status.success() => Ok(Small(folder)),
            Ok(output) => Err(String::from_utf8_lossy(&output.stderr).trim().to_owned()),
            Err(error) => Err(error.to_string()),
        }
    }

    /// Leaves this many bytes free.
    fn fill(&self, free: u64) {
        let filler = self.0.path().join("filler");
        let _ = fs::remove_file(&filler);
        let output = Command::new("df").args(["--output=avail", "-B1"]).arg(self.0.path()).output().unwrap();
        let listed = String::from_utf8_lossy(&output.stdout).into_owned();
        let there: u64 = listed.lines().nth(1).unwrap().trim().parse().unwrap();
        fs::write(filler, vec![0; usize::try_from(there.saturating_sub(free)).unwrap()]).unwrap();
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.0.path()).status();
    }
}

fn bytes_below(folder: &Path) -> u64 {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap());
    entries
        .map(
            |entry| {
                if entry.path().is_dir() {
                    bytes_below(&entry.path())
                } else {
                    entry.metadata().unwrap().len()
                }
            },
        )
        .sum()
}

#[test]
#[allow(clippy::print_stdout, reason = "a test's output tells what it did")]
fn a_full_disk_changes_nothing_wherever_it_fills_up() {
    let mut site = Site::new();
    let packages = ["pulse", "pulse_2"].map(|name| fixtures::stress(name, site.packages()));
    let collections = bytes_below(&site.dir().join(".tinybase/extensions"));
    let [first, second] = packages.each_ref().map(|package| bytes_below(package));
    let small = match Small::mount(collections + first + 2 * second + (1 << 20)) {
        Ok(small) => small,
        Err(reason) => return println!("not run, since no small file system can be mounted: {reason}"),
    };
    site.set("TINYBASE_EXTENSIONS_DIR", &small.0.path().display().to_string());
    let server = site.serve();
    let client = server.client();
    let folder = small.0.path().join("pulse");
    // Room for nothing, a few files, half of the library, all but the last page.
    let steps = |bytes: u64| [0, 8 << 10, bytes / 2, bytes.saturating_sub(4 << 10)];
    for free in steps(first) {
        small.fill(free);
        let ran = site.install(&packages[0]);
        assert!(ran.code == Some(1) && ran.errors.contains("space"), "{free} bytes: {ran:?}");
        assert_eq!(pulse_version(&client), "", "{free} bytes");
        assert!(
            !folder.exists() || fs::read_dir(&folder).unwrap().count() == 0,
            "{free} bytes: something is left"
        );
    }
    small.fill(1 << 30);
    install(&site, "pulse");
    for free in steps(second) {
        small.fill(free);
        let ran = site.install(&packages[1]);
        assert!(ran.code == Some(1) && ran.errors.contains("space"), "{free} bytes: {ran:?}");
        assert_eq!(pulse_version(&client), "0.1.0", "{free} bytes");
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 1, "{free} bytes: something is left");
    }
    small.fill(1 << 30);
    install(&site, "pulse_2");
    assert_eq!(pulse_version(&client), "0.2.0");
}

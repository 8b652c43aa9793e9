//! Libraries that were built for an earlier ABI and are kept: the current server must load and call each of them.

use std::{fs, path::PathBuf, process::Command};

use serde_json::json;
use tinybase_tests::{Site, root};

/// Returns the folder of each kept ABI.
fn kept() -> Vec<PathBuf> {
    let folders = fs::read_dir(root().join("tests/abi")).expect("the kept libraries are there");
    let mut folders: Vec<_> = folders.map(|entry| entry.expect("the folder can be read").path()).collect();
    folders.sort();
    assert!(!folders.is_empty());
    folders
}

/// Returns whether this machine can load the kept libraries.
fn is_loadable_here() -> bool {
    cfg!(all(target_os = "linux", target_arch = "x86_64", target_env = "gnu"))
}

#[test]
fn the_kept_libraries_are_the_ones_that_were_built() {
    for folder in kept() {
        let arguments = ["--check", "--strict", "--quiet", "SHA256SUMS"];
        let mut command = Command::new("sha256sum");
        let output = command.args(arguments).current_dir(folder.join("package")).output();
        let output = output.expect("sha256sum is installed");
        let words = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "{}: {words}", folder.display());
        let size = fs::metadata(folder.join("package/libfrozen.so")).expect("the library is there").len();
        assert!(size <= 512 << 10, "{} bytes are too many to keep", size);
    }
}

#[test]
fn the_kept_libraries_are_loaded_and_called() {
    if !is_loadable_here() {
        eprintln!("skipped: the kept libraries are for x86_64-unknown-linux-gnu");
        return;
    }
    for folder in kept() {
        let site = Site::new();
        let ran = site.install(&folder.join("package"));
        assert_eq!(ran.code, Some(0), "a change that breaks this is a new ABI major: {ran:?}");
        let server = site.serve();
        let admin = server.admin();
        let answer =
            admin.try_send("GET", "/api/frozen/ad%C3%A4", &[("x-frozen", "yes")], b"").expect("it answers");
        let expected = json!({
            "name": "adä",
            "number": 42,
            "caller": "root@example.com",
            "header": "yes",
            "storage_is_refused": true,
        });
        assert_eq!(answer.expect(200), expected);
        assert_eq!(admin.get("/api/frozen/panic").outcome(), (500, "plugin_panicked".into()));
        assert!(server.stop().success(), "it ends as it must");
    }
}

//! `extensions new`: the generated extension builds, passes its own tests, packs to the same bytes each time, installs
//! and serves.

#![allow(clippy::unwrap_used, reason = "a failed call fails its test")]

use std::{fs, process::Command};

use serde_json::json;
use tinybase_tests::{Site, target};

#[test]
fn a_new_extension_builds_passes_its_tests_and_serves() {
    let site = Site::new();
    let made = site.done(&["extensions", "new", "guest_book"]);
    assert!(made.contains("cargo test"), "{made}");
    let folder = site.dir().join("guest_book");
    let again = site.run(&["extensions", "new", "guest_book"]);
    assert!(again.code == Some(1) && again.errors.contains("is there already"), "{again:?}");
    for (name, code) in [("Guest", 2), ("user", 2)] {
        assert_eq!(site.run(&["extensions", "new", name]).code, Some(code), "{name}");
    }

    let cargo = |arguments: &[&str]| {
        let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        cargo.args(arguments).arg("--target-dir").arg(target().join("scaffold")).current_dir(&folder);
        let ran = cargo.output().unwrap();
        assert!(ran.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&ran.stderr));
    };
    cargo(&["test", "--quiet"]);
    cargo(&["build", "--quiet"]);
    let library = target().join("scaffold/debug/libtinybase_guest_book.so").display().to_string();
    let pack = |out: &str| {
        fs::create_dir_all(site.dir().join(out)).unwrap();
        let said = site.done(&["extensions", "pack", "guest_book", "--library", &library, "--out", out]);
        site.dir().join(said.split_whitespace().nth(1).unwrap())
    };
    let (one, other) = (pack("one"), pack("other"));
    assert_eq!(fs::read(&one).unwrap(), fs::read(other).unwrap());

    let server = site.serve();
    let installed = site.done(&["extensions", "install", "--yes", &one.to_string_lossy()]);
    assert!(installed.contains("nobody vouches for it"), "{installed}");
    let ada = server.client().registered("ada@example.com");
    let greeted = ada.post("/api/guest_book", &json!({"name": "Ada"})).expect(201);
    assert_eq!(greeted["message"], "Hello, Ada!");
    assert_eq!(ada.get("/api/guest_book").expect(200)["visits"][0]["name"], "Ada");
}

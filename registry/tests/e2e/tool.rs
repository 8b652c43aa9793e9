//! The tool's commands as users see them: their output and their errors.

use std::{fs, os::unix::fs::PermissionsExt};

use serde_json::Value;

use crate::site::{Site, files};

#[test]
fn keys_are_for_their_owner_alone_and_lists_are_json() {
    let site = Site::new();
    site.publish("notes", "0.1.0");
    let keys: Value = serde_json::from_str(&site.ok(&["keys", "list", "r-keys", "--json"])).unwrap();
    assert_eq!(keys.as_array().unwrap().len(), 6);
    for key in keys.as_array().unwrap() {
        let path = site.path(key["file"].as_str().unwrap());
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(!key.to_string().contains("PRIVATE") && key["id"].as_str().unwrap().len() == 64);
    }
    let listed: Value = serde_json::from_str(&site.ok(&["list", "r", "--json"])).unwrap();
    assert_eq!((&listed[0]["name"], &listed[0]["publisher"]["name"]), (&"notes".into(), &"acme".into()));
    let checked: Value = serde_json::from_str(&site.ok(&["verify", "r", "--json"])).unwrap();
    assert_eq!(checked["archives"], 1);
    assert!(site.ok(&["list", "r"]).starts_with("notes 0.1.0  "));
    let served: Vec<_> = files(&site.path("r")).into_iter().filter(|path| path.is_dir()).collect();
    assert_eq!(served.len(), 2, "nothing is left beside metadata and targets: {served:?}");
}

#[test]
fn what_makes_no_sense_is_refused_and_changes_nothing() {
    let site = Site::new();
    site.publish("notes", "0.1.0");
    let before = fs::read(site.path("r/metadata/timestamp.json")).unwrap();
    let changed = site.pack("notes", "0.1.0", "other content");
    let stranger = site.pack("stranger", "0.1.0", "x");
    fs::write(site.path("broken.tbx"), "no archive").unwrap();
    fs::write(site.path("bad.pem"), "no key").unwrap();
    let foreign = site.pack_foreign("notes", "0.2.0");
    let cases: [(&[&str], &str); 15] = [
        (&["publish", "r", foreign.to_str().unwrap()], "was not built with the extension.toml beside it"),
        (&["pack", "foreign-notes-0.2.0"], "was not built with the extension.toml beside it"),
        (&["delegate", "r", "keys", "--publisher", "acme"], "is reserved for the host"),
        (&["init", "r"], "there is a registry already"),
        (&["publish", "r", changed.to_str().unwrap()], "a version never changes: raise it (not_publishable)"),
        (&["publish", "r", stranger.to_str().unwrap()], "belongs to no publisher yet"),
        (&["publish", "r", "broken.tbx"], "archive_not_zstd"),
        (&["publish", "r", "missing.tbx"], "missing.tbx"),
        (&["delegate", "r", "notes", "--publisher", "evil"], "notes belongs to acme"),
        (&["delegate", "r", "No-Name", "--publisher", "evil"], "is no name of an extension"),
        (&["delegate", "r", "x", "--publisher", "targets"], "is no name of a publisher"),
        (
            &["delegate", "r", "x", "--publisher", "acme", "--publisher-key", "r-keys/publishers/evil.pem"],
            "replaced by `rotate`",
        ),
        (&["yank", "r", "notes", "7.0.0", "--reason", "x"], "was never published"),
        (&["rotate", "r", "publisher", "nobody"], "there is no publisher"),
        (&["publish", "r", stranger.to_str().unwrap(), "--key", "bad.pem"], "holds no Ed25519 key"),
    ];
    for (arguments, expected) in cases {
        let line = site.fails(arguments);
        assert!(line.contains(expected), "{arguments:?}: {line}");
    }
    assert_eq!(fs::read(site.path("r/metadata/timestamp.json")).unwrap(), before);
    assert_eq!(site.tool(&["publish", "r"]).status.code(), Some(2));
    assert_eq!(site.tool(&["rotate", "r", "publisher"]).status.code(), Some(2));
    assert_eq!(site.tool(&["refresh", "r", "--timestamp-expires", "soon"]).status.code(), Some(2));
}

#[test]
fn what_is_packed_by_the_tool_is_what_the_library_packs() {
    let site = Site::new();
    let packed = site.pack("notes", "0.1.0", "the bytes of a library");
    let folder = "source-notes-0.1.0-22";
    let said = site.ok(&["pack", folder, "--out", "r-keys"]);
    let path = said.trim().strip_prefix("packed ").unwrap();
    assert_eq!(fs::read(site.path(path)).unwrap(), fs::read(packed).unwrap());
    assert!(site.fails(&["pack", "r-keys"]).contains("archive_package_invalid"));
}

/// A limit on the size of files simulates a full disk for this process only.
#[test]
fn a_full_disk_leaves_the_registry_as_it_was() {
    let site = Site::new();
    site.publish("notes", "0.1.0");
    let big: String = (0..30_000_u32)
        .map(|number| char::from(33 + (number.wrapping_mul(2_654_435_761) >> 26) as u8))
        .collect();
    let archive = site.pack("notes", "0.2.0", &big);
    let before = fs::read(site.path("r/metadata/timestamp.json")).unwrap();
    let mut was_refused = 0;
    for kilobytes in 0..64 {
        let name = archive.file_name().unwrap().to_str().unwrap();
        let output = site.tool_on_full_disk(kilobytes, &["publish", "r", name]);
        if output.status.success() {
            break;
        }
        was_refused += 1;
        let line = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(line.contains("File too large"), "{kilobytes}: {line}");
        assert_eq!(fs::read(site.path("r/metadata/timestamp.json")).unwrap(), before, "{kilobytes}: {line}");
        assert_eq!(files(&site.path("r/targets")).len(), 1, "{kilobytes}: {line}");
        assert_eq!(
            files(&site.path("r")).iter().filter(|path| path.is_dir()).count(),
            2,
            "{kilobytes}: {line}"
        );
        site.ok(&["verify", "r"]);
    }
    assert!(was_refused > 3, "{was_refused}");
    assert!(site.ok(&["list", "r"]).contains("notes 0.2.0"));
}

#[test]
fn publishing_twice_is_nothing_and_at_once_loses_nothing() {
    let site = Site::new();
    site.publish("notes", "0.1.0");
    let again = site.pack("notes", "0.1.0", "the bytes of a library");
    assert_eq!(site.ok(&["publish", "r", again.to_str().unwrap()]), "all of it was published already\n");
    let archives: Vec<_> = (2..6).map(|minor| site.pack("notes", &format!("0.{minor}.0"), "x")).collect();
    std::thread::scope(|scope| {
        for archive in &archives {
            scope.spawn(|| site.ok(&["publish", "r", archive.to_str().unwrap()]));
        }
    });
    let listed: Value = serde_json::from_str(&site.ok(&["list", "r", "--json"])).unwrap();
    assert_eq!(listed.as_array().unwrap().len(), 5);
}

//! Tests of hand-made archives, one per error. Each is rejected with its code and leaves nothing behind.

use std::{
    fs::{self, File},
    io::Write,
    path::Path,
    time::{Duration, SystemTime},
};

use serde_json::json;
use sha2::{Digest, Sha256};
use tar::{EntryType, Header};

use super::*;
use crate::unpacked::{Package, hex};

const MANIFEST: &str = "name = \"notes\"\nversion = \"0.1.0\"\nabi = 1\n";
const LIBRARY: &str = "libtinybase_notes.so";

/// A draft of an archive: its list and its entries.
struct Draft {
    files: Vec<(String, Vec<u8>)>,
    index: serde_json::Value,
    entries: Vec<(Header, Vec<u8>)>,
    behind: Vec<u8>,
}

fn header(path: &str, kind: EntryType, bytes: usize) -> Header {
    let mut header = Header::new_ustar();
    // The name is written directly, since the crate rejects most of these names.
    header.as_old_mut().name[..path.len()].copy_from_slice(path.as_bytes());
    header.set_entry_type(kind);
    header.set_mode(0o644);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header.set_size(bytes as u64);
    header.set_cksum();
    header
}

impl Draft {
    fn of(files: &[(&str, &[u8])]) -> Draft {
        let listed: Vec<_> = files
            .iter()
            .map(|(path, content)| {
                json!({"path": path, "bytes": content.len(), "sha256": hex(&Sha256::digest(content))})
            })
            .collect();
        Draft {
            files: files.iter().map(|(path, content)| ((*path).to_owned(), content.to_vec())).collect(),
            index: json!({
                "format": 1, "name": "notes", "version": "0.1.0", "target": HOST_TARGET, "files": listed
            }),
            entries: files
                .iter()
                .map(|(path, content)| (header(path, EntryType::Regular, content.len()), content.to_vec()))
                .collect(),
            behind: Vec::new(),
        }
    }

    fn good() -> Draft {
        Draft::of(&[("extension.toml", MANIFEST.as_bytes()), (LIBRARY, b"bytes")])
    }

    /// Creates a draft with one file too many.
    fn with(path: &str) -> Draft {
        Draft::of(&[("extension.toml", MANIFEST.as_bytes()), (LIBRARY, b"bytes"), (path, b"x")])
    }

    /// Creates a draft with an entry that is not in the list.
    fn and(path: &str, kind: EntryType) -> Draft {
        let mut draft = Draft::good();
        draft.entries.push((header(path, kind, 0), Vec::new()));
        draft
    }

    fn edit(mut self, edit: impl FnOnce(&mut Draft)) -> Draft {
        edit(&mut self);
        self
    }

    fn tar(&self) -> Vec<u8> {
        let mut index = serde_json::to_vec(&self.index).unwrap();
        index.push(b'\n');
        let mut tar = tar::Builder::new(Vec::new());
        tar.append(&header(INDEX_NAME, EntryType::Regular, index.len()), index.as_slice()).unwrap();
        for (header, content) in &self.entries {
            tar.append(header, content.as_slice()).unwrap();
        }
        let mut bytes = tar.into_inner().unwrap();
        bytes.extend(&self.behind);
        bytes
    }

    fn archive(&self) -> Vec<u8> {
        compress(&self.tar())
    }
}

fn compress(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = zstd::Encoder::new(Vec::new(), 3).unwrap();
    encoder.include_checksum(true).unwrap();
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// Unpacks these bytes in a new folder. If they are rejected, nothing may be left behind.
fn unpacked(archive: &[u8], limits: &Limits) -> Result<Unpacked, ArchiveError> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.tbx");
    fs::write(&path, archive).unwrap();
    let into = folder.path().join("into");
    let result = unpack(&path, &into, limits);
    assert_eq!(into.exists(), result.is_ok(), "what was refused is gone, what was not is there");
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1 + usize::from(result.is_ok()));
    result
}

fn code(archive: &[u8]) -> &'static str {
    unpacked(archive, &Limits::default()).map_or_else(|error| error.code(), |_| "taken")
}

fn fixture(folder: &Path) {
    fs::write(folder.join("extension.toml"), MANIFEST).unwrap();
    fs::create_dir_all(folder.join("pages/parts")).unwrap();
    fs::write(folder.join("pages/parts/table.js"), "export {}").unwrap();
    fs::create_dir_all(folder.join("migrations/sqlite")).unwrap();
    fs::write(folder.join("migrations/sqlite/0001_start.up.sql"), "SELECT 1;").unwrap();
    fs::write(folder.join(LIBRARY), vec![7; 100_000]).unwrap();
    fs::write(folder.join("README.md"), "is left out").unwrap();
}

#[test]
fn what_is_packed_is_unpacked() {
    let folder = tempfile::tempdir().unwrap();
    fixture(folder.path());
    let limits = Limits { ratio_max: 1_000_000, ..Limits::default() };
    let archive = pack(folder.path(), HOST_TARGET, folder.path()).unwrap();
    assert_eq!(archive.file_name().unwrap().to_str().unwrap(), format!("notes-0.1.0-{HOST_TARGET}.tbx"));
    let into = folder.path().join("into");
    let unpacked = unpack(&archive, &into, &limits).unwrap();
    let (before, after) = (Package::read(folder.path()).unwrap(), Package::read(&into).unwrap());
    assert_eq!((&unpacked.hash, &unpacked.manifest), (&before.hash, &before.manifest));
    assert_eq!(before.hash, after.hash);
    assert_eq!(unpacked.archive_sha256, hex(&Sha256::digest(fs::read(&archive).unwrap())));
    assert_eq!((unpacked.target.as_str(), check_target(&unpacked.target).is_ok()), (HOST_TARGET, true));
    assert!(!into.join("README.md").exists() && !into.join(INDEX_NAME).exists());
    let again = unpack(&archive, &into, &limits).unwrap_err();
    assert_eq!(again.code(), "archive_folder_exists");
    assert!(into.join(LIBRARY).exists(), "a folder that was there is left alone");
}

#[test]
fn a_draft_by_hand_is_what_pack_writes_and_is_taken() {
    assert_eq!(code(&Draft::good().archive()), "taken");
    assert_eq!(code(&Draft::with("pages/a.js").archive()), "taken");
}

#[test]
fn packing_copies_of_a_folder_gives_the_same_bytes() {
    let mut archives = Vec::new();
    for (days, mode) in [(1, 0o600), (400, 0o755)] {
        let folder = tempfile::tempdir().unwrap();
        fixture(folder.path());
        let then = SystemTime::UNIX_EPOCH + Duration::from_secs(86_400 * days);
        for file in ["extension.toml", LIBRARY, "pages/parts/table.js"] {
            let path = folder.path().join(file);
            fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(mode)).unwrap();
            File::open(&path).unwrap().set_modified(then).unwrap();
        }
        archives.push(fs::read(pack(folder.path(), HOST_TARGET, folder.path()).unwrap()).unwrap());
    }
    assert_eq!(archives[0], archives[1]);
}

#[test]
fn what_is_no_plain_file_is_not_packed() {
    let folder = tempfile::tempdir().unwrap();
    fixture(folder.path());
    std::os::unix::fs::symlink("/etc/hostname", folder.path().join("migrations/sqlite/0002_x.up.sql"))
        .unwrap();
    let error = pack(folder.path(), HOST_TARGET, folder.path()).unwrap_err();
    assert_eq!(error.code(), "archive_entry_kind");
    assert_eq!(pack(folder.path(), "linux", folder.path()).unwrap_err().code(), "archive_target_differs");
    assert!(fs::read_dir(folder.path()).unwrap().all(|entry| !entry.unwrap().path().ends_with(EXTENSION)));
}

#[test]
fn odd_paths_are_refused() {
    let cases = [
        ("../up.js", "archive_path_traversal"),
        ("pages/../../up.js", "archive_path_traversal"),
        ("/etc/passwd", "archive_path_absolute"),
        ("pages\\a.js", "archive_path_odd"),
        ("pages/./a.js", "archive_path_odd"),
        ("pages//a.js", "archive_path_odd"),
        ("pages/", "archive_path_odd"),
        ("", "archive_path_odd"),
        ("pages/a\u{1}.js", "archive_path_odd"),
        ("pages/a\0.js", "archive_path_odd"),
        ("pages/LIBTINYBASE_notes.so/../a", "archive_path_traversal"),
    ];
    for (path, expected) in cases {
        assert_eq!(code(&Draft::with(path).archive()), expected, "{path:?} in the list");
        // The same path, missing in the list.
        let expected = if path.contains('\0') { "archive_header_odd" } else { expected };
        assert_eq!(code(&Draft::and(path, EntryType::Regular).archive()), expected, "{path:?} as an entry");
    }
    let latin = Draft::and("pages/a.js", EntryType::Regular).edit(|draft| {
        let header = &mut draft.entries[2].0;
        header.as_old_mut().name[6] = 0xe4;
        header.set_cksum();
    });
    assert_eq!(code(&latin.archive()), "archive_path_odd");
}

#[test]
fn entries_that_are_no_files_are_refused() {
    let cases = [
        (EntryType::Symlink, "archive_entry_link"),
        (EntryType::Link, "archive_entry_link"),
        (EntryType::Char, "archive_entry_device"),
        (EntryType::Block, "archive_entry_device"),
        (EntryType::Fifo, "archive_entry_fifo"),
        (EntryType::Directory, "archive_entry_folder"),
        (EntryType::Continuous, "archive_entry_kind"),
        (EntryType::GNUSparse, "archive_entry_kind"),
        (EntryType::GNULongName, "archive_entry_kind"),
        (EntryType::XHeader, "archive_entry_kind"),
        (EntryType::XGlobalHeader, "archive_entry_kind"),
    ];
    for (kind, expected) in cases {
        assert_eq!(code(&Draft::and("pages/a.js", kind).archive()), expected, "{kind:?}");
        let listed = Draft::with("pages/a.js").edit(|draft| {
            draft.entries[2] = (header("pages/a.js", kind, 0), Vec::new());
        });
        assert_eq!(code(&listed.archive()), expected, "{kind:?} in the list");
    }
}

#[test]
fn files_and_list_must_agree() {
    let drop_library = |draft: &mut Draft| drop(draft.entries.remove(1));
    let twice = |draft: &mut Draft| draft.entries.push(draft.entries[1].clone());
    let swap = |draft: &mut Draft| draft.entries.swap(0, 1);
    let longer = |draft: &mut Draft| draft.index["files"][1]["bytes"] = json!(6);
    let rotten = |draft: &mut Draft| draft.entries[1].1 = b"bytez".to_vec();
    let cases: [(&str, Draft); 14] = [
        ("archive_file_missing", Draft::good().edit(drop_library)),
        ("archive_duplicate", Draft::good().edit(twice)),
        ("archive_file_missing", Draft::good().edit(swap)),
        ("archive_length_differs", Draft::good().edit(longer)),
        ("archive_hash_differs", Draft::good().edit(rotten)),
        ("archive_file_unlisted", Draft::and("pages/a.js", EntryType::Regular)),
        ("archive_duplicate", Draft::with("LIBTINYBASE_NOTES.SO")),
        ("archive_duplicate", Draft::with("extension.toml/a")),
        ("archive_duplicate", Draft::with(INDEX_NAME)),
        ("archive_file_foreign", Draft::with("zzz")),
        ("archive_file_foreign", Draft::with("migrations/mysql/0001_a.up.sql")),
        ("archive_file_missing", Draft::of(&[(LIBRARY, b"bytes")])),
        ("archive_file_missing", Draft::of(&[("extension.toml", MANIFEST.as_bytes())])),
        ("archive_package_invalid", Draft::of(&[("extension.toml", b"name = 3"), (LIBRARY, b"bytes")])),
    ];
    for (position, (expected, draft)) in cases.into_iter().enumerate() {
        let names: Vec<_> = draft.files.iter().map(|(name, _)| name.clone()).collect();
        assert_eq!(code(&draft.archive()), expected, "case {position} with {names:?}");
    }
    let unordered = Draft::of(&[(LIBRARY, b"bytes"), ("extension.toml", MANIFEST.as_bytes())]);
    assert_eq!(code(&unordered.archive()), "archive_index_invalid");
}

#[test]
fn the_list_itself_is_checked() {
    let set = |key: &'static str, value: serde_json::Value| {
        Draft::good().edit(|draft| draft.index[key] = value).archive()
    };
    assert_eq!(code(&set("format", json!(2))), "archive_format_unknown");
    assert_eq!(code(&set("name", json!("other"))), "archive_manifest_differs");
    assert_eq!(code(&set("version", json!("0.2.0"))), "archive_manifest_differs");
    assert_eq!(code(&set("version", json!("one"))), "archive_index_invalid");
    assert_eq!(code(&set("target", json!("linux"))), "archive_index_invalid");
    assert_eq!(code(&set("more", json!(1))), "archive_index_invalid");
    let elsewhere = unpacked(&set("target", json!("riscv64gc-unknown-none")), &Limits::default()).unwrap();
    assert_eq!(check_target(&elsewhere.target).unwrap_err().code(), "archive_target_differs");
    let without = tar_of(&[("extension.toml", MANIFEST.as_bytes())]);
    assert_eq!(code(&compress(&without)), "archive_index_missing");
    let spaced = tar_of(&[(INDEX_NAME, b"{\"format\": 1}")]);
    assert_eq!(code(&compress(&spaced)), "archive_index_invalid");
    assert_eq!(code(&compress(&tar_of(&[(INDEX_NAME, b"no json")]))), "archive_index_invalid");
}

fn tar_of(entries: &[(&str, &[u8])]) -> Vec<u8> {
    let mut tar = tar::Builder::new(Vec::new());
    for (path, content) in entries {
        tar.append(&header(path, EntryType::Regular, content.len()), *content).unwrap();
    }
    tar.into_inner().unwrap()
}

#[test]
fn what_is_no_archive_is_refused() {
    let good = Draft::good();
    let archive = good.archive();
    assert_eq!(code(b""), "archive_not_zstd");
    assert_eq!(code(b"PK\x03\x04 something else"), "archive_not_zstd");
    assert_eq!(code(&good.tar()), "archive_not_zstd");
    assert_eq!(code(&compress(b"")), "archive_truncated");
    assert_eq!(code(&compress(&[b'x'; 2048])), "archive_not_tar");
    for length in 4..archive.len() {
        let found = code(&archive[..length]);
        assert!(["archive_truncated", "archive_damaged"].contains(&found), "{length}: {found}");
    }
    let tar = good.tar();
    for length in [512, 1024, 1536, tar.len() - 1024, tar.len() - 512, tar.len() - 1] {
        assert_eq!(code(&compress(&tar[..length])), "archive_truncated", "{length}");
    }
    let mut behind = archive.clone();
    behind.push(0);
    assert_eq!(code(&behind), "archive_trailing_bytes");
    assert_eq!(code(&[archive.clone(), archive.clone()].concat()), "archive_trailing_bytes");
    let within = Draft::good().edit(|draft| draft.behind = vec![0; 512]);
    assert_eq!(code(&within.archive()), "archive_trailing_bytes");
    let mut one_block = tar.clone();
    let end = one_block.len() - 1;
    one_block[end] = 1;
    assert_eq!(code(&compress(&one_block)), "archive_trailing_bytes");
}

#[test]
fn headers_and_padding_are_the_packers() {
    let with = |edit: &dyn Fn(&mut Header)| {
        Draft::good()
            .edit(|draft| {
                edit(&mut draft.entries[1].0);
                draft.entries[1].0.set_cksum();
            })
            .archive()
    };
    assert_eq!(code(&with(&|header| header.set_mode(0o4755))), "archive_header_odd");
    assert_eq!(code(&with(&|header| header.set_mtime(1))), "archive_header_odd");
    assert_eq!(code(&with(&|header| header.set_uid(1))), "archive_header_odd");
    assert_eq!(code(&with(&|header| header.set_username("root").unwrap())), "archive_header_odd");
    let mut tar = Draft::good().tar();
    let end = tar.len() - 1025;
    tar[end] = 1;
    assert_eq!(code(&compress(&tar)), "archive_header_odd");
}

#[test]
fn bombs_are_refused_before_they_grow() {
    let zeros = vec![0; 2 << 20];
    let bomb = Draft::of(&[("extension.toml", MANIFEST.as_bytes()), (LIBRARY, &zeros)]).archive();
    let with = |limits: Limits| unpacked(&bomb, &limits).unwrap_err().code();
    let open = Limits { ratio_max: u64::MAX, ..Limits::default() };
    assert_eq!(with(Limits::default()), "archive_ratio");
    assert_eq!(with(Limits { file_bytes_max: 1 << 20, ..open }), "archive_file_too_large");
    assert_eq!(with(Limits { unpacked_bytes_max: 2 << 20, ..open }), "archive_too_large");
    assert_eq!(with(Limits { files_max: 1, ..open }), "archive_too_many_files");
    assert_eq!(with(Limits { index_bytes_max: 100, ..open }), "archive_file_too_large");
    assert!(unpacked(&bomb, &open).is_ok());
    // A list with a wrong size, and sizes whose sum overflows.
    let quiet = Draft::of(&[("extension.toml", MANIFEST.as_bytes()), (LIBRARY, &zeros)])
        .edit(|draft| draft.index["files"][1]["bytes"] = json!(5));
    assert_eq!(code(&quiet.archive()), "archive_length_differs");
    let huge = Draft::good().edit(|draft| {
        draft.index["files"][0]["bytes"] = json!(u64::MAX);
        draft.index["files"][1]["bytes"] = json!(u64::MAX);
    });
    assert_eq!(code(&huge.archive()), "archive_file_too_large");
    // A window for which the decoder would need 128 MiB.
    let mut encoder = zstd::Encoder::new(Vec::new(), 3).unwrap();
    encoder.window_log(27).unwrap();
    encoder.write_all(&Draft::good().tar()).unwrap();
    assert_eq!(code(&encoder.finish().unwrap()), "archive_damaged");
}

#[test]
fn no_flipped_bit_passes() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("extension.toml"), MANIFEST).unwrap();
    fs::write(folder.path().join(LIBRARY), "some bytes of a library").unwrap();
    let archive = fs::read(pack(folder.path(), HOST_TARGET, folder.path()).unwrap()).unwrap();
    let good = unpacked(&archive, &Limits::default()).unwrap();
    let mut harmless = Vec::new();
    for position in 0..archive.len() {
        for bit in [position % 8, (position + 3) % 8] {
            let mut flipped = archive.clone();
            flipped[position] ^= 1 << bit;
            if let Ok(taken) = unpacked(&flipped, &Limits::default()) {
                assert_eq!(taken.hash, good.hash, "byte {position}, bit {bit}: other files were taken");
                assert_ne!(taken.archive_sha256, good.archive_sha256);
                harmless.push((position, bit));
            }
        }
    }
    // Some bits of the compression have no effect: the files are the same, but the archive's hash differs.
    assert!(harmless.len() * 100 < archive.len() * 2, "{harmless:?}");
}

//! Extensions as third parties build them, in any version: an example copied out of the repository, its version set,
//! and built against this checkout. It never changes the example itself.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
};

use crate::{
    fixtures::{Toolchain, package_of},
    root, target,
};

/// Files that are not part of an extension's source.
const NOT_COPIED: &[&str] = &["target", "Cargo.lock"];

/// Builds the example `name` with this version, and returns the folder of the package. The folder is shared by all
/// tests with this version: copy it before you change anything in it.
///
/// Two versions differ in the manifest, and so in the library, which embeds it.
pub fn build_extension(name: &str, version: &str) -> PathBuf {
    let folder = target().join("third-party").join(format!("{name}-{version}"));
    let source = folder.join("source");
    fs::create_dir_all(&source).unwrap();
    // Tests are processes that run in parallel; the lock of the build is taken within this one.
    let guard = File::create(folder.join(".lock")).unwrap();
    guard.lock().unwrap();
    copy_changed(&root().join("examples").join(name), &source, &|file, text| at_version(file, text, version));
    let made = package_of(&source, name, Toolchain::Same, &folder.join("made"));
    let package = folder.join(name);
    // An unchanged package is not replaced: another test may be reading it.
    if !same_files(&made, &package) {
        let _ = fs::remove_dir_all(&package);
        fs::rename(&made, &package).unwrap();
    }
    package
}

/// Returns a file of the example as it is in the copy.
fn at_version(file: &str, text: String, version: &str) -> String {
    match file {
        "extension.toml" => {
            let line = text.lines().find(|line| line.starts_with("version = "));
            let line = line.expect("a manifest has a version in a line of its own");
            text.replacen(line, &format!("version = \"{version}\""), 1)
        }
        // The copy is in another folder, but its dependencies are not.
        "Cargo.toml" => text.replace("\"../../", &format!("\"{}/", root().display())),
        _ => text,
    }
}

/// Copies changed files only, so that cargo rebuilds only what changed, and removes deleted files.
fn copy_changed(from: &Path, to: &Path, change: &dyn Fn(&str, String) -> String) {
    fs::create_dir_all(to).unwrap();
    let names = |folder: &Path| -> Vec<String> {
        let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name());
        let names = entries.map(|name| name.into_string().expect("a source file's name is UTF-8"));
        names.filter(|name| !NOT_COPIED.contains(&name.as_str())).collect()
    };
    for name in names(from) {
        let (source, copy) = (from.join(&name), to.join(&name));
        if source.is_dir() {
            copy_changed(&source, &copy, change);
            continue;
        }
        let wanted = match String::from_utf8(fs::read(&source).unwrap()) {
            Ok(text) => change(&name, text).into_bytes(),
            Err(bytes) => bytes.into_bytes(),
        };
        if fs::read(&copy).ok().as_deref() != Some(&wanted) {
            fs::write(&copy, wanted).unwrap();
        }
    }
    for gone in names(to).into_iter().filter(|name| !from.join(name).exists()) {
        let gone = to.join(gone);
        if gone.is_dir() { fs::remove_dir_all(gone).unwrap() } else { fs::remove_file(gone).unwrap() }
    }
}

/// Returns whether two folders have the same files with the same bytes.
fn same_files(one: &Path, other: &Path) -> bool {
    let files = |folder: &Path| {
        let mut files = Vec::new();
        collect(folder, folder, &mut files);
        files.sort();
        files
    };
    files(one) == files(other)
}

fn collect(top: &Path, folder: &Path, files: &mut Vec<(PathBuf, Vec<u8>)>) {
    for entry in fs::read_dir(folder).into_iter().flatten() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(top, &path, files);
        } else {
            let name = path.strip_prefix(top).expect("it lies below").to_owned();
            files.push((name, fs::read(path).unwrap()));
        }
    }
}

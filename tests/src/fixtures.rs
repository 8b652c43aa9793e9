//! Builds the plugins for the tests, and creates packages of them. Each workspace is built by one call of cargo, and
//! again only after a change.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::Command,
    sync::OnceLock,
    time::SystemTime,
};

use crate::{root, target};

/// How many attempts a build gets before the test gives up because others keep overwriting it.
const BUILDS_MAX: usize = 5;

/// The toolchain for the examples.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Toolchain {
    /// The compiler of the host.
    Same,
    /// The nightly compiler.
    Nightly,
}

/// Checks whether the nightly compiler is installed; the error is the reason if that is unknown.
pub fn nightly() -> Result<(), String> {
    let listed = Command::new("rustup").args(["toolchain", "list"]).output();
    let listed = listed.map_err(|error| format!("rustup cannot be asked: {error}"))?;
    let has = String::from_utf8_lossy(&listed.stdout).lines().any(|line| line.starts_with("nightly"));
    if has { Ok(()) } else { Err("no nightly toolchain is installed".to_owned()) }
}

/// Runs cargo in a workspace outside of this one, with the versions in this one's lock file. Returns its target folder.
fn cargo(folder: &Path, toolchain: Toolchain, arguments: &[&str]) -> PathBuf {
    cargo_and(folder, toolchain, arguments, Path::to_owned)
}

/// Like [`cargo`], and takes the build result from the target folder before another test overwrites it.
fn cargo_and<T>(folder: &Path, toolchain: Toolchain, arguments: &[&str], take: impl FnOnce(&Path) -> T) -> T {
    let target = match toolchain {
        Toolchain::Same => target().join("fixtures"),
        Toolchain::Nightly => target().join("fixtures-nightly"),
    };
    fs::create_dir_all(&target).unwrap();
    // Tests are processes that run in parallel.
    let guard = File::create(target.join(".harness-lock")).unwrap();
    guard.lock().unwrap();
    take_lock_file(folder);
    forget_others(folder, &target.join("debug"));
    let mut command = match toolchain {
        Toolchain::Same => Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into())),
        Toolchain::Nightly => {
            let mut command = Command::new("rustup");
            command.args(["run", "nightly", "cargo"]).env_remove("RUSTUP_TOOLCHAIN").env_remove("RUSTC");
            command
        }
    };
    command.args(arguments).arg("--target-dir").arg(&target).current_dir(folder);
    let output = command.output().expect("cargo can be run");
    assert!(
        output.status.success(),
        "cargo {arguments:?} in {}:\n{}{}",
        folder.display(),
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    take(&target)
}

/// Removes the library of another copy of the extension. Cargo gives the libraries of all copies the same name, and
/// would use another copy's library if this one's source has not changed since.
fn forget_others(folder: &Path, built: &Path) {
    let Ok(manifest) = fs::read_to_string(folder.join("extension.toml")) else { return };
    let library = manifest.lines().find_map(|line| line.strip_prefix("library = "));
    let Some(library) = library.map(|library| library.trim_matches('"')) else { return };
    let marker = built.join(format!(".{library}.source"));
    let of_this = folder.to_string_lossy();
    if fs::read_to_string(&marker).is_ok_and(|source| source == of_this) {
        return;
    }
    for left in [built.join("deps"), built.to_owned()] {
        // It does not exist before the first build.
        let _ = fs::remove_file(left.join(format!("lib{library}.so")));
    }
    fs::create_dir_all(built).unwrap();
    fs::write(&marker, &*of_this).unwrap();
}

/// Copies the workspace's lock file if it is newer, so that nothing is resolved again.
fn take_lock_file(folder: &Path) {
    let (ours, theirs) = (root().join("Cargo.lock"), folder.join("Cargo.lock"));
    let modified = |path: &Path| fs::metadata(path).and_then(|metadata| metadata.modified()).ok();
    if modified(&theirs) < modified(&ours) {
        fs::copy(ours, theirs).unwrap();
    }
}

/// A plugin's source folder, and the path of its built library.
struct Built {
    source: PathBuf,
    library: PathBuf,
}

impl Built {
    /// Assembles a package, as an operator installs it, in a folder below `into`.
    fn package(&self, into: &Path) -> PathBuf {
        let manifest = fs::read_to_string(self.source.join("extension.toml")).unwrap();
        let library = manifest.lines().find_map(|line| line.strip_prefix("library = "));
        let library = library.expect("a fixture's manifest names its library").trim_matches('"');
        let package = into.join(self.source.file_name().expect("a fixture's folder has a name"));
        fs::create_dir_all(&package).unwrap();
        fs::write(package.join("extension.toml"), &manifest).unwrap();
        fs::copy(&self.library, package.join(format!("lib{library}.so"))).unwrap();
        for folder in ["migrations", "pages"] {
            copy_folder(&self.source.join(folder), &package.join(folder));
        }
        package
    }
}

/// Copies a folder recursively.
pub fn copy_folder(from: &Path, to: &Path) {
    let Ok(entries) = fs::read_dir(from) else { return };
    fs::create_dir_all(to).unwrap();
    for entry in entries {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_folder(&entry.path(), &to);
        } else {
            fs::copy(entry.path(), to).unwrap();
        }
    }
}

/// Builds the misbehaving plugins, once per process, and creates a package of one below `into`.
pub fn stress(name: &str, into: &Path) -> PathBuf {
    static TARGET: OnceLock<PathBuf> = OnceLock::new();
    let folder = root().join("tests/stress");
    let built = TARGET.get_or_init(|| cargo(&folder, Toolchain::Same, &["build", "--quiet"]));
    Built { source: folder.join(name), library: built.join("debug").join(format!("lib{name}.so")) }
        .package(into)
}

/// Builds the plugin `aborting` with the forbidden setting `panic = "abort"`, and creates a package of it.
pub fn aborting(into: &Path) -> PathBuf {
    let folder = root().join("tests/stress");
    let arguments = ["build", "--quiet", "--package", "aborting", "--profile", "aborting"];
    let built = cargo(&folder, Toolchain::Same, &arguments);
    Built { source: folder.join("aborting"), library: built.join("aborting/libaborting.so") }.package(into)
}

/// Builds an example extension, which is outside of the workspace, and creates a package of it below `into`.
pub fn example(name: &str, toolchain: Toolchain, into: &Path) -> PathBuf {
    package_of(&root().join("examples").join(name), name, toolchain, into)
}

/// Builds the extension `name` in a folder, and creates a package of it below `into`.
pub(crate) fn package_of(source: &Path, name: &str, toolchain: Toolchain, into: &Path) -> PathBuf {
    let manifest = fs::read(source.join("extension.toml")).unwrap();
    for _ in 0..BUILDS_MAX {
        let made = cargo_and(source, toolchain, &["build", "--quiet", "--lib"], |target| {
            let library = target.join("debug").join(format!("libtinybase_{name}.so"));
            let is_its_own = memchr::memmem::find(&fs::read(&library).unwrap(), &manifest).is_some();
            is_its_own.then(|| Built { source: source.to_owned(), library }.package(into))
        });
        if let Some(package) = made {
            return package;
        }
        // Cargo gives libraries with the same name the same path, and does not notice that another folder's library is
        // there now.
        File::options()
            .append(true)
            .open(source.join("src/lib.rs"))
            .unwrap()
            .set_modified(SystemTime::now())
            .unwrap();
    }
    panic!("{}: each build was built over by another", source.display());
}

/// Runs an example's own tests.
pub fn test_example(name: &str) {
    cargo(&root().join("examples").join(name), Toolchain::Same, &["test", "--quiet"]);
}

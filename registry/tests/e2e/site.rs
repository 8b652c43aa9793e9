//! A separate registry for each test, changed by the real tool, and the client's side of it.

use std::{
    fs,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
};

use tempfile::TempDir;
use tinybase_package::archive;
use tinybase_registry::{Limits, Location, Registry, RegistryError, Source};

/// A folder with a registry `r`, its keys in `r-keys`, and the client's state in `known`.
pub(crate) struct Site {
    folder: TempDir,
    /// The registry's first root of trust.
    pub(crate) root: Vec<u8>,
}

/// The running `serve` command, stopped on drop.
pub(crate) struct Served {
    child: Child,
    pub(crate) url: String,
}

impl Drop for Served {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Site {
    /// Creates a registry in which `acme` publishes `notes` and `chat`, and `evil` publishes `evil`.
    pub(crate) fn new() -> Site {
        Site::with(&[])
    }

    /// Creates the same registry, with more arguments for `init`.
    pub(crate) fn with(init: &[&str]) -> Site {
        let mut site = Site { folder: tempfile::tempdir().unwrap(), root: Vec::new() };
        site.ok(&[&["init", "r"], init].concat());
        site.root = fs::read(site.path("r/root.json")).unwrap();
        site.ok(&["delegate", "r", "notes", "chat", "--publisher", "acme"]);
        site.ok(&["delegate", "r", "evil", "--publisher", "evil"]);
        site
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tinybase-registry"));
        command.args(arguments).current_dir(self.folder.path());
        command
    }

    pub(crate) fn tool(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().unwrap()
    }

    /// Runs the tool with a limit on the size of files, which has the same effect as a full disk.
    pub(crate) fn tool_on_full_disk(&self, kilobytes: u32, arguments: &[&str]) -> Output {
        let script = format!("trap '' XFSZ; ulimit -f {kilobytes}; exec \"$0\" \"$@\"");
        let mut command = Command::new("bash");
        command.args(["-c", &script, env!("CARGO_BIN_EXE_tinybase-registry")]).args(arguments);
        command.current_dir(self.folder.path()).output().unwrap()
    }

    /// Runs the tool, which must succeed. Returns its output.
    pub(crate) fn ok(&self, arguments: &[&str]) -> String {
        let output = self.tool(arguments);
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    /// Runs the tool, which must fail with one line. Returns the line.
    pub(crate) fn fails(&self, arguments: &[&str]) -> String {
        let output = self.tool(arguments);
        let line = String::from_utf8(output.stderr).unwrap();
        assert_eq!((output.status.code(), line.lines().count()), (Some(1), 1), "{arguments:?}: {line}");
        line
    }

    /// Packs an extension whose library has this content. Returns the archive.
    pub(crate) fn pack(&self, name: &str, version: &str, content: &str) -> PathBuf {
        let folder = self.path(&format!("source-{name}-{version}-{}", content.len()));
        fs::create_dir_all(&folder).unwrap();
        let manifest = format!(
            "name = \"{name}\"\nversion = \"{version}\"\nabi = 1\nhost = \">=0.1.0\"\ndescription = \"Of {name}\"\n\
             capabilities = [\"database\"]\n[dependencies]\ncollections = \"^1\"\n"
        );
        // A library contains the manifest it was built with.
        fs::write(folder.join(format!("libtinybase_{name}.so")), format!("{content}{manifest}")).unwrap();
        fs::write(folder.join("extension.toml"), manifest).unwrap();
        archive::pack(&folder, archive::HOST_TARGET, self.folder.path()).unwrap()
    }

    /// Packs an extension whose library was built with another manifest, for another target.
    pub(crate) fn pack_foreign(&self, name: &str, version: &str) -> PathBuf {
        let folder = self.path(&format!("foreign-{name}-{version}"));
        fs::create_dir_all(&folder).unwrap();
        let manifest = |version: &str| format!("name = \"{name}\"\nversion = \"{version}\"\nabi = 1\n");
        fs::write(folder.join("extension.toml"), manifest(version)).unwrap();
        fs::write(folder.join(format!("libtinybase_{name}.so")), manifest("0.1.9")).unwrap();
        archive::pack(&folder, "riscv64gc-unknown-linux-gnu", self.folder.path()).unwrap()
    }

    /// Packs and publishes an extension.
    pub(crate) fn publish(&self, name: &str, version: &str) {
        let archive = self.pack(name, version, "the bytes of a library");
        self.ok(&["publish", "r", archive.to_str().unwrap()]);
    }

    /// Serves the registry with the tool.
    pub(crate) fn serve(&self) -> Served {
        let mut child = self.command(&["serve", "r", "--port", "0"]).stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let url = line.trim().rsplit(' ').next().unwrap().to_owned();
        Served { child, url }
    }

    /// Returns the registry as a client configures it, in its folder or elsewhere.
    pub(crate) fn source(&self, location: &str) -> Source {
        let location = match Location::parse(location).unwrap() {
            Location::Path(path) => Location::Path(self.path(path.to_str().unwrap())),
            url => url,
        };
        Source { name: "test".to_owned(), location, root: self.root.clone(), allow_expired: false }
    }

    /// Opens the registry's folder, and stores the client's state in `known`.
    pub(crate) async fn open(&self, known: &str) -> Result<Registry, RegistryError> {
        Registry::open(&self.source("r"), &self.path(known), &Limits::default()).await
    }

    /// Returns the error code of opening the folder.
    pub(crate) async fn refused(&self, known: &str) -> &'static str {
        match self.open(known).await {
            Ok(_) => "opened",
            Err(error) => error.code(),
        }
    }

    /// Copies the registry's folder, or restores it.
    pub(crate) fn copy(&self, from: &str, to: &str) {
        let (from, to) = (self.path(from), self.path(to));
        let _ = fs::remove_dir_all(&to);
        copy_folder(&from, &to);
    }

    /// Returns the file in `targets/` of the only archive with `part` in its name.
    pub(crate) fn stored(&self, part: &str) -> PathBuf {
        let mut found = files(&self.path("r/targets"));
        found.retain(|path| path.to_str().unwrap().contains(part));
        assert_eq!(found.len(), 1, "{found:?}");
        found.remove(0)
    }
}

/// Copies a folder recursively.
pub(crate) fn copy_folder(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy_folder(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

/// Returns the files of a folder, in order.
pub(crate) fn files(folder: &Path) -> Vec<PathBuf> {
    let mut files: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

/// Fetches the only entry of a name into a new folder of the site. After an error, nothing may be left there.
pub(crate) async fn fetch(site: &Site, registry: &Registry, name: &str) -> Result<PathBuf, RegistryError> {
    let entry = registry.entries().iter().find(|entry| entry.listing.name == name).unwrap();
    let into = tempfile::tempdir_in(site.path("")).unwrap();
    let fetched = registry.fetch(entry, into.path(), &|_, _| ()).await;
    assert_eq!(files(into.path()).len(), usize::from(fetched.is_ok()), "what was refused is gone");
    fetched.map(|path| {
        let kept = site.path(&format!("fetched-{name}"));
        fs::rename(&path, &kept).unwrap();
        kept
    })
}

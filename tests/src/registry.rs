//! A registry per test: created and signed by the real tool, and served over HTTP on loopback by the tool itself.

use std::{
    fs,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use tempfile::TempDir;

use crate::{Site, profile_dir, site::Ran};

/// A registry, served until it is dropped.
pub struct Registry {
    folder: TempDir,
    server: Option<Child>,
    url: String,
}

impl Registry {
    /// Creates an empty registry in which `acme` publishes these extensions, and serves it on a free port.
    pub fn start(names: &[&str]) -> Registry {
        let folder = tempfile::tempdir().unwrap();
        let mut registry = Registry { folder, server: None, url: String::new() };
        registry.done(&["init", "packages"]);
        registry.done(&[&["delegate", "packages"], names, &["--publisher", "acme"]].concat());
        registry.serve();
        registry
    }

    /// Returns the folder of its files.
    pub fn files(&self) -> PathBuf {
        self.folder.path().join("packages")
    }

    /// Returns its URL.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Runs the tool in the folder with the registry `packages` and its keys.
    pub fn run(&self, arguments: &[&str]) -> Ran {
        self.command(arguments).output().expect("the tool can be run").into()
    }

    /// Runs the tool, which must succeed.
    pub fn done(&self, arguments: &[&str]) -> String {
        let ran = self.run(arguments);
        assert_eq!(ran.code, Some(0), "{arguments:?}: {ran:?}");
        ran.out
    }

    /// Packs a folder and publishes the package.
    pub fn publish(&self, site: &Site, package: &Path) -> PathBuf {
        let out = self.folder.path().display().to_string();
        let packed = site.done(&["extensions", "pack", &package.to_string_lossy(), "--out", &out]);
        let path = packed.split_whitespace().nth(1).expect("the path is told").to_owned();
        self.done(&["publish", "packages", &path]);
        PathBuf::from(path)
    }

    /// Configures a site to install from this registry only.
    pub fn configure(&self, site: &mut Site) {
        let roots = site.dir().join("registries");
        fs::create_dir_all(&roots).unwrap();
        fs::copy(self.files().join("root.json"), roots.join("acme.json")).unwrap();
        site.set("TINYBASE_EXTENSIONS_REGISTRIES", &format!("acme={}", self.url));
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let tool = profile_dir().join("tinybase-registry");
        assert!(tool.exists(), "{} is not there: run `cargo xtask build` first", tool.display());
        let mut command = Command::new(tool);
        command.args(arguments).current_dir(self.folder.path()).stdin(Stdio::null());
        command
    }

    fn serve(&mut self) {
        let mut command = self.command(&["serve", "packages", "--port", "0"]);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().expect("stdout is piped")).read_line(&mut line).unwrap();
        let (_, url) = line.trim().split_once(" on ").unwrap_or_else(|| panic!("it says {line:?}"));
        self.url = url.to_owned();
        self.server = Some(child);
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        if let Some(mut server) = self.server.take() {
            // It may have ended already.
            let _ = server.kill();
            let _ = server.wait();
        }
    }
}

//! `cargo xtask dist`: packs one folder and one archive that run on a machine without Rust. It only ships what the
//! build staged.

use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use crate::build;
use crate::process::{self, Running};
use crate::registry;
use crate::step;
use crate::workspace::{Profile, Workspace, cargo};

/// The files shipped with the binary: the path in the source, and the name in the folder.
const PAPERS: [(&str, &str); 6] = [
    ("xtask/dist/README.md", "README.md"),
    ("xtask/dist/tinybase.service", "tinybase.service"),
    ("CHANGELOG.md", "CHANGELOG.md"),
    ("LICENSE-MIT", "LICENSE-MIT"),
    ("LICENSE-APACHE", "LICENSE-APACHE"),
    ("registry/README.md", "docs/registry.md"),
];

/// Links in the documentation whose targets are elsewhere in the folder than in the source.
const LINKS: [(&str, &str); 2] = [
    ("](../../plugin-api/README.md", "](../../sdk/plugin-api/README.md"),
    ("](../../registry/README.md", "](../registry.md"),
];

/// The arguments of `dist`.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Where to put the folder and the archive
    #[arg(long, default_value = "dist")]
    out: std::path::PathBuf,
}

/// Builds, packs, and tests the packed binary without the build around it.
///
/// # Errors
/// When the build fails, a file cannot be written, or the packed binary does not start.
pub(crate) fn run(options: &Options) -> Result<()> {
    let workspace = Workspace::load()?;
    build::build_and_stage(&workspace, Profile::Dist)?;
    let name = format!("tinybase-{}-{}", workspace.version, target_triple()?);
    let out = std::env::current_dir()?.join(&options.out);
    let folder = out.join(&name);
    if folder.exists() {
        fs::remove_dir_all(&folder)?;
    }
    fs::create_dir_all(&folder)?;
    pack(&workspace, &folder)?;
    try_alone(&folder)?;
    let archive = format!("{name}.tar.gz");
    step::run("archive", Command::new("tar").current_dir(&out).args(["-czf", &archive, &name]))?;
    println!("==> {} and {archive} beside it", folder.display());
    Ok(())
}

/// Copies the binaries, the staged extensions, their registry and the documents.
fn pack(workspace: &Workspace, folder: &Path) -> Result<()> {
    let binary = workspace.binary(Profile::Dist);
    for binary in [binary, registry::tool(workspace, Profile::Dist)] {
        let name = binary.file_name().context("the binary has a name")?;
        fs::copy(&binary, folder.join(name)).with_context(|| format!("copying {}", binary.display()))?;
    }
    let place = Path::new(registry::FOLDER);
    build::copy_tree(&workspace.profile_dir(Profile::Dist).join(place), &folder.join(place))?;
    for plugin in &workspace.plugins {
        let place = Path::new("extensions").join(&plugin.name);
        build::copy_tree(&workspace.profile_dir(Profile::Dist).join(&place), &folder.join(&place))?;
    }
    build::copy_tree(&workspace.profile_dir(Profile::Dist).join("sdk"), &folder.join("sdk"))?;
    build::copy_tree(&workspace.root.join("docs"), &folder.join("docs"))?;
    for (source, name) in PAPERS {
        fs::copy(workspace.root.join(source), folder.join(name))
            .with_context(|| format!("copying {source}"))?;
    }
    fs::write(folder.join("LICENSES-THIRD-PARTY.md"), third_party(workspace)?)?;
    let mut pages = Vec::new();
    collect_pages(&folder.join("docs"), &mut pages)?;
    for page in &pages {
        let text = fs::read_to_string(page)?;
        let moved = LINKS.iter().fold(text.clone(), |text, (from, to)| text.replace(from, to));
        if moved != text {
            fs::write(page, moved)?;
        }
    }
    pages.push(folder.join("README.md"));
    pages.iter().try_for_each(|page| check_links(page))
}

/// Collects every page below a folder.
fn collect_pages(folder: &Path, pages: &mut Vec<PathBuf>) -> Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            collect_pages(&path, pages)?;
        } else if path.extension().is_some_and(|ending| ending == "md") {
            pages.push(path);
        }
    }
    Ok(())
}

/// Refuses a page with a link to a file that is not shipped.
fn check_links(page: &Path) -> Result<()> {
    let text = fs::read_to_string(page)?;
    for link in text.split("](").skip(1).filter_map(|rest| rest.split([')', '#', ' ']).next()) {
        let is_file = !link.is_empty() && !link.contains("://") && !link.contains('`');
        if is_file && !page.parent().context("a page is in a folder")?.join(link).exists() {
            bail!("{} links to {link}, which is not shipped", page.display());
        }
    }
    Ok(())
}

/// Returns the crates that are built in, with their licenses, according to cargo.
fn third_party(workspace: &Workspace) -> Result<String> {
    let output = cargo()
        .args(["metadata", "--format-version", "1", "--locked", "--filter-platform", &target_triple()?])
        .current_dir(&workspace.root)
        .output()
        .context("cargo cannot be started")?;
    if !output.status.success() {
        bail!("cargo metadata failed: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    let metadata: Value = serde_json::from_slice(&output.stdout).context("cargo metadata printed no JSON")?;
    let packages = metadata["packages"].as_array().context("cargo metadata names no packages")?;
    let mut text = "# Crates that are built in\n\nTheir sources are on crates.io, each with the text of its licence.\n\n\
                    | crate | version | licence |\n|---|---|---|\n"
        .to_owned();
    let word = |package: &Value, key: &str| package[key].as_str().unwrap_or_default().to_owned();
    for package in packages.iter().filter(|package| !package["source"].is_null()) {
        let (name, licence) = (word(package, "name"), word(package, "license"));
        if licence.is_empty() && package["license_file"].is_null() {
            bail!("the crate {name} names no licence");
        }
        let licence = if licence.is_empty() { "see its source".to_owned() } else { licence };
        writeln!(text, "| {name} | {} | {licence} |", word(package, "version"))?;
    }
    Ok(text)
}

/// Runs the packed binary with an empty environment, away from the build: it initializes, starts, and a bundled plugin
/// responds.
fn try_alone(folder: &Path) -> Result<()> {
    let place = std::env::temp_dir().join(format!("tinybase-dist-{}", std::process::id()));
    fs::create_dir_all(&place)?;
    let result = try_in(folder, &place);
    fs::remove_dir_all(&place)?;
    result.context("the packed binary does not run by itself")
}

fn try_in(folder: &Path, place: &Path) -> Result<()> {
    let mut verify = Command::new(folder.join(registry::TOOL_PACKAGE));
    step::run(
        "verify the packed registry",
        verify.env_clear().arg("verify").arg(folder.join(registry::FOLDER)),
    )?;
    let binary = folder.join("tinybase");
    let mut init = Command::new(&binary);
    step::run(
        "initialise with the packed binary, no environment",
        init.env_clear().current_dir(place).arg("init"),
    )?;
    let port = process::free_port()?;
    let mut serve = process::guarded(&binary);
    serve.env_clear().current_dir(place).args(["serve", "--port", &port.to_string()]);
    let mut server = Running::start(&mut serve, &place.join("serve.log"))?;
    let url = format!("http://127.0.0.1:{port}/api/collections");
    let started = Instant::now();
    let tried = server.wait_for(&url, started).and_then(|_| first_steps(port)).and_then(|()| {
        let mut backup = Command::new(&binary);
        step::run("back it up", backup.env_clear().current_dir(place).args(["backup", "create"]))
    });
    if let Err(error) = tried {
        let log = fs::read_to_string(place.join("serve.log")).unwrap_or_default();
        bail!("{error:#}; it says: {log}");
    }
    server.stop()
}

/// Runs the first steps in the shipped README: the first login, a collection, a record.
fn first_steps(port: u16) -> Result<()> {
    let post = |path: &str, token: &str, body: Value| -> Result<Value> {
        let mut answer = ureq::post(format!("http://127.0.0.1:{port}{path}"))
            .header("authorization", format!("Bearer {token}"))
            .header("content-type", "application/json")
            .send(body.to_string())?;
        Ok(serde_json::from_str(&answer.body_mut().read_to_string()?)?)
    };
    let login = json!({"email": "admin@example.org", "password": "correct horse battery"});
    let login = post("/api/auth/login", "", login)?;
    let token = login["access_token"].as_str().context("the first login answers a token")?;
    let fields = json!([{"name": "text", "type": "string", "required": true}]);
    post(
        "/api/collections",
        token,
        json!({"name": "notes", "label": "Notes", "schema": {"fields": fields}}),
    )?;
    post("/api/collections/notes/records", token, json!({"data": {"text": "Hello"}}))?;
    Ok(())
}

/// Returns cargo's target triple for this machine, such as `x86_64-unknown-linux-gnu`.
fn target_triple() -> Result<String> {
    let output = cargo().arg("-vV").output().context("cargo cannot be started")?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let Some(host) = text.lines().find_map(|line| line.strip_prefix("host: ")) else {
        bail!("cargo -vV names no host target");
    };
    Ok(host.to_owned())
}

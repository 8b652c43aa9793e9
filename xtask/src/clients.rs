//! `cargo xtask clients`: generates clients in TypeScript and Python from the document of a live server, compiles them
//! strictly and runs them against that server. It never changes generated code.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};

use crate::api_site::Site;
use crate::build;
use crate::step;
use crate::workspace::{Profile, Workspace};

/// The tested releases.
const PYTHON_PACKAGES: [&str; 2] = ["openapi-python-client==0.29.*", "mypy==2.*"];
const NODE_PACKAGES: &str = r#"{
    "private": true,
    "type": "module",
    "dependencies": {
        "@types/node": "^20",
        "openapi-fetch": "~0.17.0",
        "openapi-typescript": "~7.13.0",
        "typescript": "~5.9.0"
    }
}"#;

const TYPESCRIPT_SETTINGS: &str = r#"{
    "compilerOptions": {
        "strict": true, "noUncheckedIndexedAccess": true, "module": "nodenext", "target": "es2022", "types": ["node"],
        "outDir": "built"
    },
    "files": ["client.ts", "api.d.ts"]
}"#;

/// The programs that use the clients: each signs in, and changes a record field by field.
const TYPESCRIPT_PROGRAM: &str = include_str!("clients/client.ts");
const PYTHON_PROGRAM: &str = include_str!("clients/client.py");

/// Builds the workspace and checks the clients.
///
/// # Errors
/// When a client cannot be generated or compiled, or changes fields that it does not name.
pub(crate) fn run() -> Result<()> {
    let workspace = Workspace::load()?;
    build::build_and_stage(&workspace, Profile::Debug)?;
    check(&workspace)
}

/// Checks the clients as a part of `cargo xtask test`. The workspace must be built.
///
/// # Errors
/// As [`run`].
pub(crate) fn check(workspace: &Workspace) -> Result<()> {
    let dir = workspace.target_dir.join("clients");
    for folder in ["python", "typescript"] {
        fs::create_dir_all(dir.join(folder)).with_context(|| format!("creating {}", dir.display()))?;
    }
    let site = Site::prepare(&workspace.binary(Profile::Debug), &dir)?;
    write(&dir.join("openapi.json"), &site.document()?)?;
    typescript(&dir.join("typescript"), &site)?;
    python(&dir.join("python"), &site)?;
    site.stop()
}

fn write(path: &Path, text: &str) -> Result<()> {
    fs::write(path, text).with_context(|| format!("writing {}", path.display()))
}

/// Returns the command of a program that runs against the server.
fn client(program: &Path, dir: &Path, site: &Site) -> Command {
    let (email, password) = site.admin.credentials();
    let mut command = Command::new(program);
    command.current_dir(dir).env("CLIENT_URL", site.url());
    command.env("CLIENT_EMAIL", email).env("CLIENT_PASSWORD", password);
    command
}

fn typescript(dir: &Path, site: &Site) -> Result<()> {
    write(&dir.join("package.json"), NODE_PACKAGES)?;
    write(&dir.join("tsconfig.json"), TYPESCRIPT_SETTINGS)?;
    write(&dir.join("client.ts"), TYPESCRIPT_PROGRAM)?;
    let programs = dir.join("node_modules").join(".bin");
    if !["openapi-typescript", "tsc"].iter().all(|program| programs.join(program).exists()) {
        let mut install = Command::new("npm");
        install.current_dir(dir).args(["install", "--no-audit", "--no-fund", "--loglevel", "error"]);
        step::run("install openapi-typescript", &mut install)?;
    }
    let mut generate = Command::new(programs.join("openapi-typescript"));
    generate.current_dir(dir).args(["../openapi.json", "--output", "api.d.ts"]);
    step::run("make the client in TypeScript", &mut generate)?;
    let mut compile = Command::new(programs.join("tsc"));
    step::run("compile it", compile.current_dir(dir).args(["--project", "tsconfig.json"]))?;
    step::run("let it work", client(Path::new("node"), dir, site).arg("built/client.js"))
}

fn python(dir: &Path, site: &Site) -> Result<()> {
    let programs = step::python_environment(dir, &["openapi-python-client", "mypy"], &PYTHON_PACKAGES)?;
    write(&dir.join("client.py"), PYTHON_PROGRAM)?;
    let mut generate = Command::new(programs.join("openapi-python-client"));
    generate.current_dir(dir).args(["generate", "--path", "../openapi.json", "--overwrite"]);
    generate.args(["--meta", "none", "--output-path", "tinybase_client"]);
    step::run("make the client in Python", &mut generate)?;
    let mut compile = Command::new(programs.join("python"));
    step::run("compile it", compile.current_dir(dir).args(["-m", "compileall", "-q", "tinybase_client"]))?;
    // The generated code is not checked, but our code on top of it must have the right types.
    let mut check = Command::new(programs.join("mypy"));
    check.current_dir(dir).args(["--strict", "--follow-imports=silent", "client.py"]);
    step::run("check the types of what uses it", &mut check)?;
    step::run("let it work", client(&programs.join("python"), dir, site).arg("client.py"))
}

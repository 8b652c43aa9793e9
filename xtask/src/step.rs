//! Runs one step of a command: prints its name before, its time after, and one clear line when it fails. It never
//! decides what runs.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

/// Runs `command` with its output shown, and fails with one line that names the step.
///
/// # Errors
/// When the program cannot be started or ends with a code other than 0.
pub(crate) fn run(name: &str, command: &mut Command) -> Result<()> {
    println!("==> {name}: {}", describe(command));
    let started = Instant::now();
    let status = command
        .status()
        .with_context(|| format!("step \"{name}\": {:?} cannot be started", command.get_program()))?;
    if !status.success() {
        bail!("step \"{name}\" failed ({status}) after {}", seconds(started.elapsed()));
    }
    println!("==> {name}: done in {}", seconds(started.elapsed()));
    Ok(())
}

/// Runs `command` with its output captured, and fails with its last lines.
///
/// # Errors
/// When the program cannot be started or ends with a code other than 0.
pub(crate) fn quiet(name: &str, command: &mut Command) -> Result<()> {
    let output = command
        .output()
        .with_context(|| format!("step \"{name}\": {:?} cannot be started", command.get_program()))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        bail!("step \"{name}\" failed at {}: {}", describe(command), said.trim());
    }
    Ok(())
}

/// Installs Python packages in an environment in `dir` if their programs are missing, and returns the folder of the
/// programs.
///
/// # Errors
/// When Python is missing, or PyPI does not have them.
pub(crate) fn python_environment(dir: &Path, programs: &[&str], packages: &[&str]) -> Result<PathBuf> {
    let venv = dir.join("venv");
    let folder = venv.join("bin");
    if programs.iter().all(|program| folder.join(program).exists()) {
        return Ok(folder);
    }
    let mut make = Command::new("python3");
    run("prepare a Python environment", make.args(["-m", "venv", "--clear"]).arg(&venv))?;
    let mut pip = Command::new(folder.join("python"));
    pip.args(["-m", "pip", "install", "--quiet"]).args(packages).env("PIP_DISABLE_PIP_VERSION_CHECK", "1");
    run(&format!("install {}", programs.join(" and ")), &mut pip)?;
    Ok(folder)
}

/// Formats a duration for people, `12.3 s`.
pub(crate) fn seconds(duration: Duration) -> String {
    format!("{:.1} s", duration.as_secs_f64())
}

/// Returns the command line as typed in a shell.
fn describe(command: &Command) -> String {
    let program = Path::new(command.get_program());
    let words = std::iter::once(program.file_name().unwrap_or_default()).chain(command.get_args());
    words.map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
}

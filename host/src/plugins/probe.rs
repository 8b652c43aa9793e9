//! The probe: a process of its own that opens a new library first, so that a library that crashes, exits or hangs at
//! load never does so in the serving process.

use std::{
    io::Read,
    path::Path,
    process::{Command, ExitCode, Stdio},
    time::{Duration, Instant},
};

use super::{LoadError, loader, package::Package};

/// The hidden command of the binary that probes.
pub const COMMAND: &str = "__probe";
/// What the probe prints when all is well: a library that ends the process cannot have printed it.
const VERDICT: &str = "probed:ok";
/// How often the end of the probe is looked for.
const LOOK_EVERY: Duration = Duration::from_millis(2);
/// How much of the probe's words is kept, in bytes.
const WORDS_BYTES_MAX: u64 = 8192;

/// Opens the extension in `folder` in this process and prints the verdict: the probe's own side.
#[allow(clippy::print_stdout)]
pub fn run(folder: &Path) -> ExitCode {
    let opened = Package::read(folder).map_err(LoadError::from).and_then(|package| {
        let root = loader::open_verified(&package.library())?;
        loader::check_descriptor(&root, &package)
    });
    match opened {
        Ok(()) => {
            println!("{VERDICT}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            println!("{}: {error}", error.code());
            ExitCode::FAILURE
        }
    }
}

/// Has the extension in `folder` probed by a process of its own. Blocks.
///
/// # Errors
/// What the probe found, or that it crashed or hung.
pub fn probe(folder: &Path, timeout: Duration) -> Result<(), LoadError> {
    let unfit = |code: &str, message: String| LoadError::Probe { code: code.to_owned(), message };
    let failed = |problem: String| unfit("probe_failed", problem);
    let program =
        std::env::current_exe().map_err(|error| failed(format!("cannot find this program: {error}")))?;
    let mut child = Command::new(program)
        .arg(COMMAND)
        .arg(folder)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .map_err(|error| failed(format!("cannot start the probe: {error}")))?;
    let started = Instant::now();
    let status = loop {
        match child.try_wait() {
            Ok(Some(status)) => break status,
            Ok(None) if started.elapsed() < timeout => std::thread::sleep(LOOK_EVERY),
            Ok(None) => {
                // It is ours and still runs: both can only fail where it has just ended by itself.
                let _ = child.kill();
                let _ = child.wait();
                let words = format!("the library did not load within {} ms", timeout.as_millis());
                return Err(unfit("probe_timeout", words));
            }
            Err(error) => return Err(failed(format!("cannot wait for the probe: {error}"))),
        }
    };
    let mut words = String::new();
    if let Some(output) = child.stdout.take() {
        let _ = output.take(WORDS_BYTES_MAX).read_to_string(&mut words);
    }
    let words = words.trim();
    if status.success() && words.ends_with(VERDICT) {
        return Ok(());
    }
    Err(match status.code() {
        Some(_) if !words.is_empty() && !status.success() => {
            // What the probe's own side prints begins with the code.
            let code = words.split_once(": ").map_or("probe_failed", |(code, _)| code);
            unfit(code, words.to_owned())
        }
        Some(code) => unfit(
            "probe_exited",
            format!("the library ended the process that loaded it, with exit code {code}"),
        ),
        None => unfit("probe_crashed", format!("the library crashed the process that loaded it ({status})")),
    })
}

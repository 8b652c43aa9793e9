//! Finds PostgreSQL's programs, and installs Debian's if they are missing and this process may install them. It never
//! starts one of them, and never touches the server that Debian's package sets up.

use std::{
    env, fs, io,
    path::{Path, PathBuf},
    process::Command,
};

use rustix::process::geteuid;

/// Debian's folder for all installed versions.
const DEBIAN: &str = "/usr/lib/postgresql";

/// The user created by Debian's package. PostgreSQL refuses to run as root.
const SERVICE_USER: &str = "postgres";

/// An installation of PostgreSQL.
#[derive(Debug, Clone)]
pub struct Installation {
    /// The folder with `initdb`, `postgres` and `psql`.
    pub programs: PathBuf,
    /// The user and group of the server, if it must not run as this process's user.
    pub user: Option<(u32, u32)>,
}

impl Installation {
    /// Returns the programs of the newest version, and the user to run them as.
    ///
    /// # Errors
    /// What to install, if nothing is installed and this process may not install it.
    pub fn find_or_install() -> io::Result<Installation> {
        let programs = match find() {
            Some(programs) => programs,
            None => {
                install()?;
                find().ok_or_else(|| io::Error::other(format!("the package has no programs in {DEBIAN}")))?
            }
        };
        let user = if geteuid().is_root() { Some((id("-u")?, id("-g")?)) } else { None };
        Ok(Installation { programs, user })
    }

    /// Returns one of the programs, without the caller's environment variables for it.
    pub(crate) fn command(&self, program: &str) -> Command {
        clean(Command::new(self.programs.join(program)))
    }
}

/// Removes environment variables that would redirect PostgreSQL's programs.
pub(crate) fn clean(mut command: Command) -> Command {
    for (name, _) in env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("PG")) {
        command.env_remove(name);
    }
    command
}

/// Returns the folder of the programs: the newest of Debian's versions, or the one in the search path.
pub(crate) fn find() -> Option<PathBuf> {
    let versions = fs::read_dir(DEBIAN).into_iter().flatten().filter_map(Result::ok);
    let number = |path: &Path| path.file_name()?.to_str()?.parse::<u32>().ok();
    let newest = versions
        .map(|entry| entry.path())
        .filter(|path| has_all(&path.join("bin")))
        .max_by_key(|path| number(path));
    let searched = || env::split_paths(&env::var_os("PATH")?).find(|folder| has_all(folder));
    newest.map(|path| path.join("bin")).or_else(searched)
}

fn has_all(folder: &Path) -> bool {
    ["initdb", "postgres", "psql"].iter().all(|program| folder.join(program).is_file())
}

/// Installs Debian's package, only as root on Debian.
#[allow(clippy::print_stdout, reason = "what is done to the machine is said")]
fn install() -> io::Result<()> {
    let apt = Path::new("/usr/bin/apt-get");
    if !geteuid().is_root() || !apt.exists() {
        return Err(io::Error::new(
            io::ErrorKind::NotFound,
            "PostgreSQL is not installed: install the package `postgresql` (its server, 15 or later), \
             so that initdb, postgres and psql are in the search path",
        ));
    }
    for arguments in
        [&["update", "-q"][..], &["install", "-q", "-y", "--no-install-recommends", "postgresql"]]
    {
        println!("==> PostgreSQL is not installed: apt-get {}", arguments.join(" "));
        let status = Command::new(apt).args(arguments).env("DEBIAN_FRONTEND", "noninteractive").status()?;
        if !status.success() {
            return Err(io::Error::other(format!("apt-get {} failed: {status}", arguments.join(" "))));
        }
    }
    Ok(())
}

/// Returns a number of the service's user, by `id`.
fn id(which: &str) -> io::Result<u32> {
    let output = Command::new("id").args([which, SERVICE_USER]).output()?;
    let number = String::from_utf8_lossy(&output.stdout).trim().parse();
    number.map_err(|_| {
        io::Error::other(format!(
            "PostgreSQL refuses to run as root, and there is no user {SERVICE_USER} to run it as"
        ))
    })
}

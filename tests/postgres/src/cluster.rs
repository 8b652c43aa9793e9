//! A temporary PostgreSQL server: created, started, stopped and restarted. It always ends with its owner. If its folder
//! is left behind, the next cluster removes it.

use std::{
    env,
    fs::{self, File, Permissions},
    io,
    net::TcpListener,
    ops::Range,
    os::unix::{
        fs::{DirBuilderExt, PermissionsExt, chown},
        process::CommandExt,
    },
    path::{Path, PathBuf},
    process::{Command, ExitStatus, Stdio},
    sync::mpsc::{Receiver, sync_channel},
    thread,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};

use crate::{install::Installation, random};

/// The superuser of every cluster.
const USER: &str = "tinybase_tests";
/// How long the server may take to start or to stop.
const PATIENCE: Duration = Duration::from_secs(30);
/// How many taken ports are tolerated.
const PORTS_TRIED_MAX: u32 = 20;
/// Below the ephemeral ports for outgoing connections: while the server is down, a reconnecting client must not get
/// this port as its own and so connect to itself.
const PORTS: Range<u16> = 20_000..32_000;
/// The prefix of a cluster's folder.
const FOLDER: &str = "tinybase-postgres-";

/// The server's settings: data need not survive a crash of the machine, and times and dates differ from the usual
/// settings, to find queries that depend on them.
const SETTINGS: [&str; 11] = [
    "listen_addresses=127.0.0.1",
    "max_connections=300",
    "shared_buffers=32MB",
    "fsync=off",
    "full_page_writes=off",
    "timezone=Asia/Kathmandu",
    "datestyle=SQL, DMY",
    "log_min_messages=fatal",
    "log_min_error_statement=panic",
    "unix_socket_permissions=0700",
    "cluster_name=tinybase-tests",
];

/// A server in a temporary folder, on a local port. It is stopped and removed on drop.
pub struct Cluster {
    installation: Installation,
    folder: PathBuf,
    /// The lock on the folder while it is in use.
    _lock: File,
    port: u16,
    password: String,
    settings: Vec<&'static str>,
    server: Option<Running>,
}

/// The server's process.
struct Running {
    pid: Pid,
    ended: Receiver<io::Result<ExitStatus>>,
}

impl Cluster {
    /// Creates a cluster and starts its server. Installs PostgreSQL first if it is missing.
    ///
    /// # Errors
    /// What to install; the errors of PostgreSQL's programs; a timeout of the server's start.
    pub fn start() -> io::Result<Cluster> {
        Cluster::start_with(&[])
    }

    /// Like [`Cluster::start`], with server settings `name=value` that override those for tests.
    ///
    /// # Errors
    /// As [`Cluster::start`].
    pub fn start_with(settings: &[&'static str]) -> io::Result<Cluster> {
        Cluster::start_with_files(settings, &[])
    }

    /// Like [`Cluster::start_with`], with files in the data folder, by name, which only its user may read: files named
    /// in settings, or replacements of those that every cluster has.
    ///
    /// # Errors
    /// As [`Cluster::start`].
    pub fn start_with_files(settings: &[&'static str], files: &[(&str, &str)]) -> io::Result<Cluster> {
        remove_abandoned();
        let installation = Installation::find_or_install()?;
        let (folder, lock) = make_folder()?;
        if let Some((user, group)) = installation.user {
            chown(&folder, Some(user), Some(group))?;
        }
        let password = random::word()?;
        let settings = settings.to_vec();
        let mut cluster =
            Cluster { installation, folder, _lock: lock, port: 0, password, settings, server: None };
        cluster.initialise()?;
        for (name, content) in files {
            cluster.write(&cluster.data().join(name), content)?;
        }
        for _ in 0..PORTS_TRIED_MAX {
            cluster.port = random::port(PORTS)?;
            if is_free(cluster.port) && cluster.launch()? {
                return Ok(cluster);
            }
        }
        Err(io::Error::new(
            io::ErrorKind::AddrInUse,
            format!("{PORTS_TRIED_MAX} ports of {PORTS:?} are taken"),
        ))
    }

    /// Returns the folder with all files of the cluster.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Returns the superuser's URL, with the database `postgres`.
    pub fn url(&self) -> String {
        format!("postgres://{USER}:{}@127.0.0.1:{}/postgres", self.password, self.port)
    }

    /// Stops the server gracefully, and removes everything.
    ///
    /// # Errors
    /// A timeout, after which the server was killed.
    pub fn stop(mut self) -> io::Result<()> {
        self.end(Signal::INT)
    }

    /// Stops the server immediately, like a crash: connections break, and the next start runs recovery. The data stays.
    ///
    /// # Errors
    /// A timeout, after which the server was killed.
    pub fn stop_now(&mut self) -> io::Result<()> {
        self.end(Signal::QUIT)
    }

    /// Starts the server again, on the same port with the same data, and waits until it responds.
    ///
    /// # Errors
    /// A port that was taken meanwhile, or the server's error.
    pub fn start_again(&mut self) -> io::Result<()> {
        if self.server.is_some() || self.launch()? {
            return Ok(());
        }
        Err(io::Error::new(io::ErrorKind::AddrInUse, format!("port {} was taken meanwhile", self.port)))
    }

    /// Creates the cluster's files.
    fn initialise(&self) -> io::Result<()> {
        let secret = self.folder.join("password");
        self.write(&secret, &self.password)?;
        let mut command = self.installation.command("initdb");
        command.args(["-E", "UTF8", "--locale=C.UTF-8", "--no-sync", "--auth=scram-sha-256"]);
        command.args(["-U", USER, "--pwfile"]).arg(&secret).arg("-D").arg(self.data());
        let output = self.as_its_user(&mut command).output()?;
        fs::remove_file(&secret)?;
        if !output.status.success() {
            return Err(io::Error::other(format!(
                "initdb: {}",
                String::from_utf8_lossy(&output.stderr).trim()
            )));
        }
        Ok(())
    }

    /// Writes a file that only the server's user may read.
    fn write(&self, path: &Path, content: &str) -> io::Result<()> {
        fs::write(path, content)?;
        fs::set_permissions(path, Permissions::from_mode(0o600))?;
        match self.installation.user {
            Some((user, group)) => chown(path, Some(user), Some(group)),
            None => Ok(()),
        }
    }

    /// Starts the server and waits until it responds; returns `false` if its port is taken.
    fn launch(&mut self) -> io::Result<bool> {
        let log = self.folder.join("log");
        let out = File::create(&log)?;
        let mut command = guarded(&self.installation, "postgres");
        command.arg("-D").arg(self.data()).args(["-p", &self.port.to_string(), "-k"]).arg(&self.folder);
        // The server uses the last value of a setting.
        for setting in SETTINGS.iter().chain(&self.settings) {
            command.args(["-c", setting]);
        }
        // A separate process group: Ctrl-C is for the command that uses the server. When that command ends, it stops
        // the server.
        command.process_group(0).stdin(Stdio::null()).stdout(out.try_clone()?).stderr(out);
        self.as_its_user(&mut command);
        let running = spawn(command)?;
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Ok(ended) = running.ended.recv_timeout(Duration::from_millis(5)) {
                let said = fs::read_to_string(&log)?;
                if said.contains("could not create any TCP/IP sockets") {
                    return Ok(false);
                }
                return Err(io::Error::other(format!("postgres ended ({}): {said}", ended?)));
            }
            if is_ready(&self.data(), running.pid) {
                self.server = Some(running);
                return Ok(true);
            }
            if Instant::now() > deadline {
                kill_process(running.pid, Signal::KILL)?;
                let said = fs::read_to_string(&log)?;
                return Err(io::Error::other(format!(
                    "postgres is not ready in {} s: {said}",
                    PATIENCE.as_secs()
                )));
            }
        }
    }

    /// Ends the server by `signal`, or kills it after a timeout.
    fn end(&mut self, signal: Signal) -> io::Result<()> {
        let Some(running) = self.server.take() else { return Ok(()) };
        // It may have ended by itself.
        let _ = kill_process(running.pid, signal);
        if running.ended.recv_timeout(PATIENCE).is_ok() {
            return Ok(());
        }
        // The processes of its connections end by themselves when it is gone.
        let _ = kill_process(running.pid, Signal::KILL);
        let _ = running.ended.recv_timeout(PATIENCE);
        Err(io::Error::other(format!("postgres did not end in {} s", PATIENCE.as_secs())))
    }

    fn data(&self) -> PathBuf {
        self.folder.join("data")
    }

    fn as_its_user<'a>(&self, command: &'a mut Command) -> &'a mut Command {
        command.current_dir(&self.folder).env("LC_ALL", "C.UTF-8");
        if let Some((user, group)) = self.installation.user {
            command.uid(user).gid(group);
        }
        command
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        // Callers who need the result call `stop`.
        let _ = self.end(Signal::INT);
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// Returns a program that the system kills when the thread that starts it ends for any reason.
fn guarded(installation: &Installation, program: &str) -> Command {
    let setpriv = Path::new("/usr/bin/setpriv");
    if !setpriv.exists() {
        return installation.command(program);
    }
    let mut command = crate::install::clean(Command::new(setpriv));
    command.args(["--pdeathsig", "QUIT"]).arg(installation.programs.join(program));
    command
}

/// Starts the process from a separate thread that lives as long as the process: the system watches that thread, and the
/// caller's thread may belong to a pool.
fn spawn(mut command: Command) -> io::Result<Running> {
    let (started, start) = sync_channel(1);
    let (sender, ended) = sync_channel(1);
    let keep = move || {
        let child = command.spawn();
        let (told, child) = match child {
            Ok(child) => (Ok(child.id()), Some(child)),
            Err(error) => (Err(error), None),
        };
        // The receiver may be gone already.
        let _ = started.send(told);
        if let Some(mut child) = child {
            let _ = sender.send(child.wait());
        }
    };
    thread::Builder::new().name("postgres".into()).spawn(keep)?;
    let id = start.recv().map_err(io::Error::other)??;
    let pid = i32::try_from(id).ok().and_then(Pid::from_raw).expect("a process's id is positive");
    Ok(Running { pid, ended })
}

/// Returns whether the server with this process id accepts connections, according to the eighth line of this file,
/// which it writes for `pg_ctl`.
fn is_ready(data: &Path, pid: Pid) -> bool {
    let Ok(noted) = fs::read_to_string(data.join("postmaster.pid")) else { return false };
    let mut lines = noted.lines();
    lines.next() == Some(&pid.as_raw_nonzero().to_string())
        && lines.nth(6).is_some_and(|status| status.trim() == "ready")
}

fn is_free(port: u16) -> bool {
    TcpListener::bind(("127.0.0.1", port)).is_ok()
}

/// Creates a folder that only gets its final name once it is locked.
fn make_folder() -> io::Result<(PathBuf, File)> {
    let word = random::word()?;
    let (unnamed, folder) =
        (env::temp_dir().join(format!(".{FOLDER}{word}")), env::temp_dir().join(format!("{FOLDER}{word}")));
    fs::DirBuilder::new().mode(0o700).create(&unnamed)?;
    let lock = File::open(&unnamed)?;
    lock.lock()?;
    fs::rename(&unnamed, &folder)?;
    Ok((folder, lock))
}

/// Removes the folders of killed owners, which are not locked.
fn remove_abandoned() {
    let entries = fs::read_dir(env::temp_dir()).into_iter().flatten().filter_map(Result::ok);
    for entry in entries.filter(|entry| entry.file_name().to_string_lossy().starts_with(FOLDER)) {
        if File::open(entry.path()).is_ok_and(|folder| folder.try_lock().is_ok()) {
            // Another process may be removing it too.
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

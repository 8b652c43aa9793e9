//! A PostgreSQL server of its own: made, started, stopped and started again. It ends with its owner, however that
//! ends, and never leaves its folder behind for longer than until the next one is made.

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
/// How long the server may take to come up or to go down.
const PATIENCE: Duration = Duration::from_secs(30);
/// How often a port may turn out to be taken.
const PORTS_TRIED_MAX: u32 = 20;
/// Below the ports that the system gives to outgoing connections: while the server is down, a client that tries again
/// must not be given this very port and so connect to itself.
const PORTS: Range<u16> = 20_000..32_000;
/// What a cluster's folder begins with.
const FOLDER: &str = "tinybase-postgres-";

/// How the server runs: nothing outlives the machine's crash, and nothing of time or dates is as it is on the machine
/// of whoever wrote a query that depends on it.
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

/// A server in a temporary folder, on a port of this machine alone. It is stopped and removed with this.
pub struct Cluster {
    installation: Installation,
    folder: PathBuf,
    /// The folder, held for as long as it is used.
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
    /// Makes a cluster and starts its server, and installs PostgreSQL before where it is missing.
    ///
    /// # Errors
    /// What to install; what PostgreSQL's programs say; that the server does not come up in time.
    pub fn start() -> io::Result<Cluster> {
        Cluster::start_with(&[])
    }

    /// The same with settings of the server's, `name=value`, in the place of those for tests.
    ///
    /// # Errors
    /// As [`Cluster::start`].
    pub fn start_with(settings: &[&'static str]) -> io::Result<Cluster> {
        Cluster::start_with_files(settings, &[])
    }

    /// The same with files in the folder of its data, by their names, which only its user may read: those that settings
    /// name, or in the place of those that every cluster has.
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

    /// Where everything of it lies.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The URL of the superuser, with the database `postgres`.
    pub fn url(&self) -> String {
        format!("postgres://{USER}:{}@127.0.0.1:{}/postgres", self.password, self.port)
    }

    /// Stops the server as its operator would, and removes everything.
    ///
    /// # Errors
    /// That it did not end in time; it was killed then.
    pub fn stop(mut self) -> io::Result<()> {
        self.end(Signal::INT)
    }

    /// Stops the server at once, as a crash would: connections break, and the next start recovers. The data stay.
    ///
    /// # Errors
    /// That it did not end in time; it was killed then.
    pub fn stop_now(&mut self) -> io::Result<()> {
        self.end(Signal::QUIT)
    }

    /// Starts the server again, on the same port with the same data, and waits until it answers.
    ///
    /// # Errors
    /// That the port was taken meanwhile, or what the server says.
    pub fn start_again(&mut self) -> io::Result<()> {
        if self.server.is_some() || self.launch()? {
            return Ok(());
        }
        Err(io::Error::new(io::ErrorKind::AddrInUse, format!("port {} was taken meanwhile", self.port)))
    }

    /// Makes the cluster's files.
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

    /// Writes a file that the server's user alone may read.
    fn write(&self, path: &Path, content: &str) -> io::Result<()> {
        fs::write(path, content)?;
        fs::set_permissions(path, Permissions::from_mode(0o600))?;
        match self.installation.user {
            Some((user, group)) => chown(path, Some(user), Some(group)),
            None => Ok(()),
        }
    }

    /// Starts the server and waits until it answers; `false` where its port is taken.
    fn launch(&mut self) -> io::Result<bool> {
        let log = self.folder.join("log");
        let out = File::create(&log)?;
        let mut command = guarded(&self.installation, "postgres");
        command.arg("-D").arg(self.data()).args(["-p", &self.port.to_string(), "-k"]).arg(&self.folder);
        // Of two values of one setting, the server takes the later.
        for setting in SETTINGS.iter().chain(&self.settings) {
            command.args(["-c", setting]);
        }
        // A group of its own: Ctrl-C is for the command that uses the server, whose end then ends the server.
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

    /// Ends the server by `signal`, and by force where that takes too long.
    fn end(&mut self, signal: Signal) -> io::Result<()> {
        let Some(running) = self.server.take() else { return Ok(()) };
        // It may have ended by itself.
        let _ = kill_process(running.pid, signal);
        if running.ended.recv_timeout(PATIENCE).is_ok() {
            return Ok(());
        }
        // The processes of its connections end by themselves where it is gone.
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
        // Whoever wants to know calls `stop`.
        let _ = self.end(Signal::INT);
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// A program that the system ends when the thread that starts it does, however that happens.
fn guarded(installation: &Installation, program: &str) -> Command {
    let setpriv = Path::new("/usr/bin/setpriv");
    if !setpriv.exists() {
        return installation.command(program);
    }
    let mut command = crate::install::clean(Command::new(setpriv));
    command.args(["--pdeathsig", "QUIT"]).arg(installation.programs.join(program));
    command
}

/// Starts the process from a thread of its own that lives as long as it: the system watches that thread, while the
/// caller's may be one of a pool.
fn spawn(mut command: Command) -> io::Result<Running> {
    let (started, start) = sync_channel(1);
    let (sender, ended) = sync_channel(1);
    let keep = move || {
        let child = command.spawn();
        let (told, child) = match child {
            Ok(child) => (Ok(child.id()), Some(child)),
            Err(error) => (Err(error), None),
        };
        // Whoever went away meanwhile needs no answer.
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

/// Whether the server with this id takes connections, as it notes for `pg_ctl` in the eighth line of this file.
fn is_ready(data: &Path, pid: Pid) -> bool {
    let Ok(noted) = fs::read_to_string(data.join("postmaster.pid")) else { return false };
    let mut lines = noted.lines();
    lines.next() == Some(&pid.as_raw_nonzero().to_string())
        && lines.nth(6).is_some_and(|status| status.trim() == "ready")
}

fn is_free(port: u16) -> bool {
    TcpListener::bind(("127.0.0.1", port)).is_ok()
}

/// A folder that is found by its name only once it is held.
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

/// Removes what owners left that were killed: nobody holds it.
fn remove_abandoned() {
    let entries = fs::read_dir(env::temp_dir()).into_iter().flatten().filter_map(Result::ok);
    for entry in entries.filter(|entry| entry.file_name().to_string_lossy().starts_with(FOLDER)) {
        if File::open(entry.path()).is_ok_and(|folder| folder.try_lock().is_ok()) {
            // Another process may be removing it too.
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

//! A running server: its address, its log, its end. It is killed on drop.

use std::{
    io::{BufRead, BufReader, Read},
    process::{Child, Command, ExitStatus, Stdio},
    sync::{Arc, Condvar, Mutex},
    time::{Duration, Instant},
};

use crate::{Client, site::Ran};

/// The maximum wait for anything before the test fails.
const WAIT_MAX: Duration = Duration::from_secs(20);

/// The lines of the log so far, and a notification for new ones.
#[derive(Default)]
struct Log {
    lines: Mutex<Vec<String>>,
    more: Condvar,
}

/// A running server.
pub struct Server {
    child: Child,
    address: String,
    log: Arc<Log>,
}

impl Server {
    /// Starts a server and waits for the address that it prints.
    ///
    /// # Errors
    /// Its output, if it ended before.
    pub fn start(mut command: Command) -> Result<Server, Ran> {
        let mut child =
            command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the binary runs");
        let log = Arc::new(Log::default());
        let errors = child.stderr.take().expect("stderr is piped");
        let reader = std::thread::spawn({
            let log = Arc::clone(&log);
            move || collect(errors, &log)
        });
        let mut out = BufReader::new(child.stdout.take().expect("stdout is piped"));
        let (mut printed, mut line) = (String::new(), String::new());
        while out.read_line(&mut line).is_ok_and(|read| read > 0) {
            if let Some(address) = line.trim().strip_prefix("serving http://") {
                let address = address.to_owned();
                // Drained until the server ends, so that the server never blocks on writing.
                std::thread::spawn(move || out.read_to_string(&mut String::new()));
                return Ok(Server { child, address, log });
            }
            printed.push_str(&line);
            line.clear();
        }
        let code = child.wait().expect("a child is waited for").code();
        reader.join().expect("the log's reader ends with the log");
        let errors = log.lines.lock().unwrap().join("\n");
        Err(Ran { code, out: printed, errors })
    }

    /// Returns host and port.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Returns the process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Returns whether the process is still running.
    pub fn is_alive(&mut self) -> bool {
        self.child.try_wait().expect("a child is waited for").is_none()
    }

    /// Returns an anonymous client.
    pub fn client(&self) -> Client {
        Client::new(&self.address)
    }

    /// Returns a client signed in as the admin.
    pub fn admin(&self) -> Client {
        self.client().signed_in(crate::site::ADMIN_EMAIL)
    }

    /// Returns the log so far.
    pub fn log(&self) -> Vec<String> {
        self.log.lines.lock().unwrap().clone()
    }

    /// Waits for a log line that contains all of these, and returns it.
    pub fn logged(&self, parts: &[&str]) -> String {
        let deadline = Instant::now() + WAIT_MAX;
        let mut lines = self.log.lines.lock().unwrap();
        loop {
            if let Some(line) = lines.iter().find(|line| parts.iter().all(|part| line.contains(part))) {
                return line.clone();
            }
            let left = deadline.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "the log has no line with {parts:?}:\n{}", lines.join("\n"));
            lines = self.log.more.wait_timeout(lines, left).unwrap().0;
        }
    }

    /// Returns the server's peak memory in bytes.
    pub fn peak_bytes(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("Linux tells the peak");
        peak.trim().trim_end_matches(" kB").parse::<u64>().expect("the peak is a number") * 1024
    }

    /// Signals the server to end, as `kill` does, and does not wait for it.
    pub fn ask_to_end(&self) {
        signal(self.child.id(), "TERM");
    }

    /// Signals the server to end, as `kill` does, and waits for it.
    pub fn stop(mut self) -> ExitStatus {
        signal(self.child.id(), "TERM");
        self.ended()
    }

    /// Kills the server, like a power cut.
    pub fn kill(mut self) {
        self.child.kill().expect("the server runs");
        self.ended();
    }

    fn ended(&mut self) -> ExitStatus {
        let deadline = Instant::now() + WAIT_MAX;
        loop {
            if let Some(status) = self.child.try_wait().expect("a child is waited for") {
                return status;
            }
            assert!(Instant::now() < deadline, "the server does not end:\n{}", self.log().join("\n"));
            std::thread::park_timeout(Duration::from_millis(5));
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("the server's log:\n{}", self.log().join("\n"));
        }
    }
}

fn collect(errors: impl Read, log: &Log) {
    for line in BufReader::new(errors).split(b'\n').map_while(Result::ok) {
        log.lines.lock().unwrap().push(String::from_utf8_lossy(&line).into_owned());
        log.more.notify_all();
    }
}

/// Sends a signal to a process that this test started.
fn signal(pid: u32, name: &str) {
    let sent = Command::new("kill").args([format!("-{name}"), pid.to_string()]).status();
    assert!(sent.is_ok_and(|status| status.success()), "process {pid} cannot be sent {name}");
}

//! The output of plugin commands: a terminal with a progress bar, a pipe with plain lines, or the log while
//! the server serves.

use std::{
    io::{IsTerminal, Write},
    time::{Duration, Instant},
};

use indicatif::{ProgressBar, ProgressStyle};
use parking_lot::Mutex;

/// How often progress is printed to a pipe.
const PLAIN_PROGRESS_EVERY: Duration = Duration::from_secs(2);

/// The output of plugin commands.
pub struct Console {
    mode: Mode,
    progress: Mutex<Progress>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Mode {
    Log,
    Terminal,
    Pipe,
}

#[derive(Default)]
struct Progress {
    bar: Option<ProgressBar>,
    printed: Option<Instant>,
}

impl Console {
    /// Creates the console of a server: lines go to the log.
    pub fn of_server() -> Console {
        Console { mode: Mode::Log, progress: Mutex::default() }
    }

    /// Creates the console of a command: lines go to standard output, progress to standard error.
    pub fn of_command() -> Console {
        let mode = if std::io::stderr().is_terminal() { Mode::Terminal } else { Mode::Pipe };
        Console { mode, progress: Mutex::default() }
    }

    /// Returns whether a command is running, not a server.
    pub fn is_of_command(&self) -> bool {
        self.mode != Mode::Log
    }

    /// Returns whether the output is a terminal.
    pub fn is_terminal(&self) -> bool {
        self.mode == Mode::Terminal
    }

    /// Prints a line of the result.
    pub fn line(&self, text: &str) {
        if self.mode == Mode::Log {
            tracing::info!("{text}");
            return;
        }
        // A reader that closes the pipe (`| head`) does not stop the command: its work matters more than its
        // output.
        self.above_bar(|| drop(writeln!(std::io::stdout(), "{text}")));
    }

    /// Prints a line about the work.
    pub fn error_line(&self, text: &str) {
        if self.mode == Mode::Log {
            tracing::warn!("{text}");
            return;
        }
        self.above_bar(|| drop(writeln!(std::io::stderr(), "{text}")));
    }

    fn above_bar(&self, print: impl FnOnce()) {
        match &self.progress.lock().bar {
            Some(bar) => bar.suspend(print),
            None => print(),
        }
    }

    /// Shows progress. A `total` of 0 means unknown. The bar is removed at the end.
    pub fn progress(&self, done: u64, total: u64, unit: &str) {
        let mut progress = self.progress.lock();
        let ended = total > 0 && done >= total;
        match self.mode {
            Mode::Log => {}
            Mode::Terminal => {
                let bar = progress.bar.get_or_insert_with(|| new_bar(total));
                bar.set_position(done);
                if ended {
                    bar.finish_and_clear();
                    progress.bar = None;
                }
            }
            Mode::Pipe => {
                let due = progress.printed.is_none_or(|printed| printed.elapsed() >= PLAIN_PROGRESS_EVERY);
                if due && !ended {
                    progress.printed = Some(Instant::now());
                    let of = if total > 0 { format!(" of {total}") } else { String::new() };
                    let _ = writeln!(std::io::stderr(), "{done}{of} {unit}");
                }
            }
        }
    }
}

fn new_bar(total: u64) -> ProgressBar {
    let bar = if total > 0 { ProgressBar::new(total) } else { ProgressBar::new_spinner() };
    let template = "{wide_bar} {human_pos}/{human_len} {per_sec} {eta}";
    let style =
        ProgressStyle::with_template(if total > 0 { template } else { "{spinner} {human_pos} {per_sec}" });
    bar.with_style(style.expect("the template is constant and valid"))
}

//! Where a plugin's command prints: a terminal with a progress bar, a pipe with plain lines, or, while the server
//! serves, the log.

use std::{
    io::{IsTerminal, Write},
    time::{Duration, Instant},
};

use indicatif::{ProgressBar, ProgressStyle};
use parking_lot::Mutex;

/// How often progress is printed into a pipe.
const PLAIN_PROGRESS_EVERY: Duration = Duration::from_secs(2);

/// Where a plugin's command prints.
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
    /// Of a server: lines go to the log.
    pub fn of_server() -> Console {
        Console { mode: Mode::Log, progress: Mutex::default() }
    }

    /// Of a command: lines go to standard output, progress to standard error.
    pub fn of_command() -> Console {
        let mode = if std::io::stderr().is_terminal() { Mode::Terminal } else { Mode::Pipe };
        Console { mode, progress: Mutex::default() }
    }

    /// Whether a command runs, and no server.
    pub fn is_of_command(&self) -> bool {
        self.mode != Mode::Log
    }

    /// Whether a person sees the output.
    pub fn is_terminal(&self) -> bool {
        self.mode == Mode::Terminal
    }

    /// Prints a line of the result.
    pub fn line(&self, text: &str) {
        if self.mode == Mode::Log {
            tracing::info!("{text}");
            return;
        }
        // A reader that went away (`| head`) ends nothing: the command's work matters more than its words.
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

    /// Shows progress; `total` 0 is unknown. The bar goes away at its end.
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

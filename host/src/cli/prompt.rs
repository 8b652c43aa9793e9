//! Asks a person at a terminal. It never asks if stdin or stderr is not a terminal.

use std::io::{self, BufRead, IsTerminal, Write};

use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};

/// Whether there is a person to ask.
pub(super) fn is_interactive() -> bool {
    io::stdin().is_terminal() && io::stderr().is_terminal()
}

/// Asks `question` and returns the trimmed reply.
pub(super) fn ask(question: &str) -> io::Result<String> {
    let mut stderr = io::stderr();
    write!(stderr, "{question}: ")?;
    stderr.flush()?;
    let mut answer = String::new();
    io::stdin().lock().read_line(&mut answer)?;
    Ok(answer.trim().to_owned())
}

/// Asks `question` and returns the reply, which is not echoed.
pub(super) fn ask_hidden(question: &str) -> io::Result<String> {
    let shown = tcgetattr(io::stdin())?;
    let mut hidden = shown.clone();
    hidden.local_modes.remove(LocalModes::ECHO);
    tcsetattr(io::stdin(), OptionalActions::Flush, &hidden)?;
    let _restored = Restore(shown);
    let answer = ask(question);
    eprintln!();
    answer
}

/// Turns the echo on again, however the prompt ended.
struct Restore(Termios);

impl Drop for Restore {
    fn drop(&mut self) {
        // Nothing can be done if the terminal is gone.
        let _ = tcsetattr(io::stdin(), OptionalActions::Flush, &self.0);
    }
}

/// Whether a person agrees to `question`. Returns false without asking if stdin or stderr is not a terminal: silence is
/// not consent, and scripts can use the command's `--yes`.
pub(super) fn confirm(question: &str) -> io::Result<bool> {
    if !is_interactive() {
        return Ok(false);
    }
    let answer = ask(&format!("{question} [y/N]"))?;
    Ok(matches!(answer.to_lowercase().as_str(), "y" | "yes"))
}

//! Gets a new password for a command: from an argument, a variable, stdin, or a hidden prompt. It never shows a
//! password, and never validates it.

use std::io::{self, BufRead, IsTerminal};

use super::{Failure, prompt};

/// The variable with an admin's password.
pub(super) const VARIABLE: &str = "TINYBASE_ADMIN_PASSWORD";

/// The maximum number of bytes of stdin that are read for a password; the longest valid one is shorter.
const LINE_BYTES_MAX: u64 = 4096;

/// The possible sources of a password.
pub(super) struct Source {
    /// The value of the argument or the variable.
    pub(super) given: Option<String>,
    /// Whether to read stdin was requested explicitly.
    pub(super) from_stdin: bool,
    /// The question for a person at the terminal.
    pub(super) question: String,
}

impl Source {
    /// Returns the password: as given, or else the first line of stdin if that is no terminal, or else typed hidden.
    /// `None` if there is none.
    pub(super) fn read(self) -> Result<Option<String>, Failure> {
        if self.from_stdin && io::stdin().is_terminal() {
            return Ok(Some(prompt::ask_hidden(&self.question)?));
        }
        if !self.from_stdin
            && let Some(given) = self.given.filter(|given| !given.is_empty())
        {
            return Ok(Some(given));
        }
        if prompt::is_interactive() {
            return Ok(Some(prompt::ask_hidden(&self.question)?));
        }
        if io::stdin().is_terminal() {
            return Ok(None);
        }
        let line = first_line(io::stdin().lock())?;
        Ok((!line.is_empty()).then_some(line))
    }
}

/// Reads the first line unchanged, without its end.
fn first_line(input: impl BufRead) -> Result<String, Failure> {
    let mut line = Vec::new();
    let read = input.take(LINE_BYTES_MAX + 1).read_until(b'\n', &mut line);
    read.map_err(|cause| Failure::new(format!("the password cannot be read from stdin: {cause}")))?;
    if line.last() == Some(&b'\n') {
        line.pop();
        line.pop_if(|last| *last == b'\r');
    }
    if line.len() as u64 > LINE_BYTES_MAX {
        return Err(Failure::new(format!("the password on stdin is longer than {LINE_BYTES_MAX} bytes")));
    }
    String::from_utf8(line).map_err(|_| Failure::new("the password on stdin is not UTF-8"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_the_first_line_and_keeps_its_spaces() {
        for (input, expected) in
            [("secret\n", "secret"), ("secret", "secret"), (" a b \r\nmore\n", " a b "), ("\n", ""), ("", "")]
        {
            assert_eq!(first_line(input.as_bytes()).unwrap_or_else(|_| panic!("{input:?}")), expected);
        }
        assert!(first_line("x".repeat(5000).as_bytes()).is_err());
        assert!(first_line(&b"\xff\n"[..]).is_err());
    }
}

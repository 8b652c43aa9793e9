//! Names the extension whose code ends the process: a handler of the signals of a crash, and one of `exit`, writes what the
//! thread ran to a file that was opened before. It never keeps a process from ending, and costs calls of extensions nothing.
//!
//! The signals are handled by `libc` itself: crates for signals refuse those of a fault, since a handler that returns from
//! one must first give the signal back to whoever had it.

use std::{
    fs::File,
    io,
    mem::MaybeUninit,
    os::fd::IntoRawFd,
    ptr,
    sync::{
        OnceLock,
        atomic::{AtomicBool, AtomicI32, Ordering},
    },
};

use libc::{c_int, c_void, sigaction, siginfo_t};

use super::{Bulkhead, threads};

const SIGNALS: [(c_int, &str); 5] = [
    (libc::SIGABRT, "SIGABRT"),
    (libc::SIGBUS, "SIGBUS"),
    (libc::SIGFPE, "SIGFPE"),
    (libc::SIGILL, "SIGILL"),
    (libc::SIGSEGV, "SIGSEGV"),
];

/// The longest line that is written; names of extensions are far shorter.
const LINE_BYTES_MAX: usize = 256;

/// Where the handlers write.
static FILE: AtomicI32 = AtomicI32::new(-1);
/// A crash is reported once: a handler may crash too, and a stack overflow ends in an abort.
static IS_TOLD: AtomicBool = AtomicBool::new(false);
/// What each signal did before, in the order of [`SIGNALS`].
static BEFORE: [OnceLock<sigaction>; SIGNALS.len()] = [const { OnceLock::new() }; SIGNALS.len()];

/// Tells of crashes in `file` from now on, one line of JSON each: `{"name", "work", "cause", "in_host"}`. The file stays open
/// until the process ends.
///
/// # Errors
/// Where the system takes no handler.
pub fn watch(file: File) -> io::Result<()> {
    if FILE.swap(file.into_raw_fd(), Ordering::SeqCst) >= 0 {
        return Ok(());
    }
    let mut action = nothing();
    action.sa_sigaction = handle as extern "C" fn(c_int, *mut siginfo_t, *mut c_void) as usize;
    // A stack that overflowed holds no handler; std gives each thread another one for that.
    action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK;
    for ((signal, _), before) in SIGNALS.iter().zip(&BEFORE) {
        let mut replaced = nothing();
        // SAFETY: both pointers lead to whole ones of this stack, and the handler does only what one may do.
        if unsafe { libc::sigaction(*signal, &raw const action, &raw mut replaced) } != 0 {
            return Err(io::Error::last_os_error());
        }
        // The first one is std's, which tells of a stack that overflowed.
        let _ = before.set(replaced);
    }
    // SAFETY: the function takes nothing, and does only what a handler of a signal may do.
    if unsafe { libc::atexit(handle_exit) } != 0 {
        return Err(io::Error::other("there is no place for a further handler of exit"));
    }
    Ok(())
}

/// What leaves a signal to the system.
fn nothing() -> sigaction {
    // SAFETY: an all-zero `sigaction` is a whole one: no function, no flags, no signals.
    unsafe { MaybeUninit::zeroed().assume_init() }
}

/// Whether this process tells of its crashes.
pub fn is_watching() -> bool {
    FILE.load(Ordering::SeqCst) >= 0
}

extern "C" fn handle(signal: c_int, info: *mut siginfo_t, _context: *mut c_void) {
    // SAFETY: the system hands in a whole `siginfo_t`, as was asked for by SA_SIGINFO.
    let info = unsafe { &*info };
    let is_sent = info.si_code <= 0;
    let at = SIGNALS.iter().position(|(known, _)| *known == signal);
    // What others send reaches any thread, whatever that runs.
    if let Some((_, name)) = at.and_then(|at| SIGNALS.get(at)).filter(|_| !is_sent || is_from_here(info)) {
        tell(name);
    }
    let before = at.and_then(|at| BEFORE.get(at)).and_then(OnceLock::get).copied();
    let before = before.unwrap_or_else(nothing);
    // SAFETY: `sigaction` may be called in a handler, and the pointer leads to a whole one of this stack.
    unsafe { libc::sigaction(signal, &raw const before, ptr::null_mut()) };
    // A fault comes again by itself when this returns.
    if is_sent {
        // SAFETY: `raise` may be called in a handler; the signal is held back until this returns.
        unsafe { libc::raise(signal) };
    }
}

/// Whether this process has sent the signal, as `abort` does.
fn is_from_here(info: &siginfo_t) -> bool {
    // SAFETY: a signal that was sent holds its sender's id.
    let sender = unsafe { info.si_pid() };
    u32::try_from(sender) == Ok(std::process::id())
}

extern "C" fn handle_exit() {
    tell("exit");
}

/// Writes what this thread runs, where that is an extension. It takes no lock and no memory.
fn tell(cause: &str) {
    let Some(noted) = threads::own() else { return };
    let Some(bulkhead) = Bulkhead::of_number(noted.plugin) else { return };
    if IS_TOLD.swap(true, Ordering::SeqCst) {
        return;
    }
    let mut line = Line { bytes: [0; LINE_BYTES_MAX], len: 0 };
    let in_host = if noted.in_host { "true" } else { "false" };
    for part in [
        "{\"name\":\"",
        bulkhead.name(),
        "\",\"work\":\"",
        noted.work.name(),
        "\",\"cause\":\"",
        cause,
        "\",\"in_host\":",
        in_host,
        "}\n",
    ] {
        line.push(part);
    }
    let file = FILE.load(Ordering::SeqCst);
    // SAFETY: `write` may be called in a handler, and reads as many bytes as there are. What it answers helps nobody here.
    unsafe { libc::write(file, line.bytes.as_ptr().cast(), line.len) };
}

/// A line without memory of its own. What does not fit is left out.
struct Line {
    bytes: [u8; LINE_BYTES_MAX],
    len: usize,
}

impl Line {
    fn push(&mut self, text: &str) {
        for (place, byte) in self.bytes.iter_mut().skip(self.len).zip(text.bytes()) {
            *place = byte;
            self.len += 1;
        }
    }
}

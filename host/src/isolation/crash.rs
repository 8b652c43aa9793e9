//! Names the extension whose code ends the process. A handler of crash signals and one of `exit` write what
//! the thread ran to a file that is already open. Never keeps a process from ending, and adds no cost to
//! calls of extensions.
//!
//! Uses `libc` directly for the signals: signal crates refuse fault signals, since a handler must restore the
//! previous handler of such a signal before it returns.

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

/// The maximum length of a written line; names of extensions are far shorter.
const LINE_BYTES_MAX: usize = 256;

/// The file descriptor that the handlers write to.
static FILE: AtomicI32 = AtomicI32::new(-1);
/// Whether a crash was reported. This happens only once: a handler may crash too, and a stack overflow ends
/// in an abort.
static IS_TOLD: AtomicBool = AtomicBool::new(false);
/// The previous action of each signal, in the order of [`SIGNALS`].
static BEFORE: [OnceLock<sigaction>; SIGNALS.len()] = [const { OnceLock::new() }; SIGNALS.len()];

/// Starts to report crashes to `file`, one line of JSON each: `{"name", "work", "cause", "in_host"}`. The
/// file stays open until the process ends.
///
/// # Errors
/// If the system accepts no handler.
pub fn watch(file: File) -> io::Result<()> {
    if FILE.swap(file.into_raw_fd(), Ordering::SeqCst) >= 0 {
        return Ok(());
    }
    let mut action = nothing();
    action.sa_sigaction = handle as extern "C" fn(c_int, *mut siginfo_t, *mut c_void) as usize;
    // A handler cannot run on a stack that overflowed; std provides an alternate stack for each thread.
    action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK;
    for ((signal, _), before) in SIGNALS.iter().zip(&BEFORE) {
        let mut replaced = nothing();
        // SAFETY: both pointers lead to valid values on this stack, and the handler only does what a signal
        // handler may do.
        if unsafe { libc::sigaction(*signal, &raw const action, &raw mut replaced) } != 0 {
            return Err(io::Error::last_os_error());
        }
        // The first one is std's, which reports stack overflows.
        let _ = before.set(replaced);
    }
    // SAFETY: the function takes no arguments, and only does what a signal handler may do.
    if unsafe { libc::atexit(handle_exit) } != 0 {
        return Err(io::Error::other("there is no place for a further handler of exit"));
    }
    Ok(())
}

/// Returns the action that leaves a signal to the system.
fn nothing() -> sigaction {
    // SAFETY: an all-zero `sigaction` is valid: no function, no flags, no signals.
    unsafe { MaybeUninit::zeroed().assume_init() }
}

/// Returns whether this process reports its crashes.
pub fn is_watching() -> bool {
    FILE.load(Ordering::SeqCst) >= 0
}

extern "C" fn handle(signal: c_int, info: *mut siginfo_t, _context: *mut c_void) {
    // SAFETY: the system passes a valid `siginfo_t`, as requested by SA_SIGINFO.
    let info = unsafe { &*info };
    let is_sent = info.si_code <= 0;
    let at = SIGNALS.iter().position(|(known, _)| *known == signal);
    // A signal from another process reaches any thread, whatever it runs.
    if let Some((_, name)) = at.and_then(|at| SIGNALS.get(at)).filter(|_| !is_sent || is_from_here(info)) {
        tell(name);
    }
    let before = at.and_then(|at| BEFORE.get(at)).and_then(OnceLock::get).copied();
    let before = before.unwrap_or_else(nothing);
    // SAFETY: `sigaction` may be called in a handler, and the pointer leads to a valid value on this stack.
    unsafe { libc::sigaction(signal, &raw const before, ptr::null_mut()) };
    // A fault occurs again by itself when this returns.
    if is_sent {
        // SAFETY: `raise` may be called in a handler; the signal is blocked until this returns.
        unsafe { libc::raise(signal) };
    }
}

/// Returns whether this process sent the signal, as `abort` does.
fn is_from_here(info: &siginfo_t) -> bool {
    // SAFETY: a signal that was sent contains its sender's id.
    let sender = unsafe { info.si_pid() };
    u32::try_from(sender) == Ok(std::process::id())
}

extern "C" fn handle_exit() {
    tell("exit");
}

/// Writes what this thread runs, if that is an extension. Does not lock or allocate.
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
    // SAFETY: `write` may be called in a handler, and reads only `len` bytes of `bytes`. Its result is of no
    // use here.
    unsafe { libc::write(file, line.bytes.as_ptr().cast(), line.len) };
}

/// A line in a fixed buffer. What does not fit is cut off.
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

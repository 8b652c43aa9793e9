//! Signals that neither stop a server nor change it, but would kill the process if they were not handled. It never
//! handles those that stop it.

use tokio::{
    signal::unix::{SignalKind, signal},
    task::JoinSet,
};

use super::Failure;

/// A signal's name, the signal, and its log message.
type Harmless = (&'static str, fn() -> SignalKind, &'static str);

const HARMLESS: [Harmless; 3] = [
    (
        "SIGHUP",
        SignalKind::hangup,
        "nothing is read again while the server runs: restart it to apply a changed configuration",
    ),
    ("SIGUSR1", SignalKind::user_defined1, "it has no meaning here"),
    ("SIGUSR2", SignalKind::user_defined2, "it has no meaning here"),
];

/// Handles and logs these signals for the lifetime of the returned value. Must be called within the runtime.
pub(super) fn take_harmless() -> Result<JoinSet<()>, Failure> {
    let mut taking = JoinSet::new();
    for (name, kind, meaning) in HARMLESS {
        let mut signals = signal(kind())?;
        taking.spawn(async move {
            while signals.recv().await.is_some() {
                tracing::info!("{name} is ignored: {meaning}");
            }
        });
    }
    Ok(taking)
}

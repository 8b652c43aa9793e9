//! Runs plugin code that may never return on a thread of its own. A thread that does not return is abandoned,
//! so that its callers can continue. Never stops a thread, since there is no safe way to do that.

use std::{thread, time::Duration};

use tokio::{runtime::Handle, sync::oneshot, time};

/// How much longer than its own deadline a thread may take to return. Within this time it notices the
/// deadline itself.
pub const GRACE: Duration = Duration::from_millis(500);

/// Why there is no result.
#[derive(Debug, PartialEq, Eq)]
pub enum Lost {
    /// The thread did not return in time, and may never do so.
    Stuck,
    /// The thread could not be started, or panicked.
    Broke(String),
}

/// Runs `work` within the runtime, but on a thread of its own. A result that comes too late is dropped on
/// that thread.
///
/// # Errors
/// See [`Lost`].
pub async fn run<T: Send + 'static>(
    runtime: &Handle,
    time_max: Duration,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Lost> {
    let (sender, result) = oneshot::channel();
    let handle = runtime.clone();
    let body = move || {
        let _entered = handle.enter();
        // Perhaps nobody waits any more.
        drop(sender.send(work()));
    };
    thread::Builder::new()
        .name("tinybase-plugin".to_owned())
        .spawn(body)
        .map_err(|error| Lost::Broke(format!("no thread can be started: {error}")))?;
    match time::timeout(time_max, result).await {
        Ok(Ok(result)) => Ok(result),
        Ok(Err(_)) => Err(Lost::Broke("the thread panicked".to_owned())),
        Err(_) => Err(Lost::Stuck),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_does_not_come_back_is_left() {
        let (runtime, soon) = (Handle::current(), Duration::from_millis(50));
        assert_eq!(run(&runtime, Duration::from_secs(10), || 3).await, Ok(3));
        assert!(matches!(
            run(&runtime, Duration::from_secs(10), || panic!("on purpose")).await,
            Err(Lost::Broke(_))
        ));
        let stuck = run(&runtime, soon, || {
            loop {
                thread::park();
            }
        });
        assert_eq!(stuck.await, Err::<(), _>(Lost::Stuck));
    }
}

//! Requests that try to stop a server or to fill its memory, and the monitoring of the server meanwhile. It judges
//! nothing: the benchmark and the soak do.

mod attack;
mod slow;
mod stock;
mod watch;

pub(crate) use attack::Attack;
pub(crate) use stock::{Admin, Stock};
pub(crate) use watch::{Health, percentile};

use std::collections::BTreeMap;
use std::fmt;
use std::net::Ipv4Addr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::Result;

/// How long a hostile client waits for a response.
const ANSWER_WAIT_MAX: Duration = Duration::from_secs(90);

/// Returns the source address of hostile client `number`, which is never that of the ordinary ones.
pub(crate) fn address(number: usize) -> Ipv4Addr {
    let number = u8::try_from(number % 200).expect("below 200");
    Ipv4Addr::new(127, 0, 1, 1 + number)
}

/// The results of hostile requests: the count of each status, or of any other result.
#[derive(Default)]
pub(crate) struct Outcomes {
    counts: Mutex<BTreeMap<String, u64>>,
}

impl Outcomes {
    /// Counts one result.
    pub(crate) fn note(&self, what: impl Into<String>) {
        *self.counts.lock().expect("nobody panics with it").entry(what.into()).or_default() += 1;
    }

    fn note_answer(&self, answer: &Result<u16>) {
        match answer {
            Ok(status) => self.note(status.to_string()),
            Err(_) => self.note("closed"),
        }
    }

    /// Returns the total count.
    pub(crate) fn total(&self) -> u64 {
        self.counts.lock().expect("nobody panics with it").values().sum()
    }
}

impl fmt::Display for Outcomes {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        let counts = self.counts.lock().expect("nobody panics with it");
        let shown: Vec<_> = counts.iter().map(|(what, count)| format!("{what} × {count}")).collect();
        write!(to, "{}", shown.join(", "))
    }
}

/// The target of an attack.
pub(crate) struct Target<'t> {
    pub(crate) port: u16,
    pub(crate) stock: &'t Stock,
    /// Set when the attack is to end.
    pub(crate) stop: &'t AtomicBool,
    pub(crate) outcomes: &'t Outcomes,
}

impl Target<'_> {
    fn stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }
}

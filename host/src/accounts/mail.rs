//! The mails that accounts request, and the interface that takes them. It never knows who sends mail, or how.

use std::{
    fmt,
    time::{Duration, Instant},
};

use futures_util::future::BoxFuture;
use parking_lot::Mutex;
use serde_json::{Value as Json, json};

/// The minimum interval between log lines about missing mail delivery.
const NO_MAIL_LOG_INTERVAL: Duration = Duration::from_secs(60);

/// A mail, as the service `mail@1` takes it. Its data contain a secret.
#[derive(Clone, PartialEq)]
pub struct Mail {
    /// The recipient's address.
    pub to: String,
    /// The template that the service renders: `password_reset` or `login_link`.
    pub template: &'static str,
    /// The template's data: `token`, `email`, `instance_name`, `expires_minutes`, and `url` if the operator has set
    /// one.
    pub data: Json,
}

impl Mail {
    /// Returns the payload for the service's method `send`.
    pub fn payload(&self) -> Vec<u8> {
        json!({"to": self.to, "template": self.template, "data": self.data}).to_string().into_bytes()
    }
}

impl fmt::Debug for Mail {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Mail({})", self.template)
    }
}

/// A receiver of mails from accounts.
pub trait Mailer: fmt::Debug + Send + Sync {
    /// Returns whether mail can be sent now.
    fn is_there(&self) -> bool;

    /// Submits a mail. Success means that it was accepted, not that it arrived. An error is only its stable code,
    /// because the service's message may repeat contents of the mail.
    fn send(&self, mail: Mail) -> BoxFuture<'_, Result<(), String>>;
}

/// No mail delivery.
#[derive(Debug, Clone, Copy)]
pub struct NoMailer;

impl Mailer for NoMailer {
    fn is_there(&self) -> bool {
        false
    }

    fn send(&self, _mail: Mail) -> BoxFuture<'_, Result<(), String>> {
        Box::pin(std::future::ready(Err("service_unavailable".to_owned())))
    }
}

/// Logs that no mail can be sent, but not for every request.
#[derive(Debug, Default)]
pub(super) struct NoMailLog {
    said_at: Mutex<Option<Instant>>,
}

impl NoMailLog {
    /// Writes the log line, unless it was written within the last minute before `now`.
    pub(super) fn say(&self, now: Instant) {
        if self.is_due(now) {
            tracing::warn!(
                "a mail was asked for and could not go out: no enabled extension offers the service mail@1"
            );
        }
    }

    fn is_due(&self, now: Instant) -> bool {
        let mut said_at = self.said_at.lock();
        let due = said_at.is_none_or(|at| now.saturating_duration_since(at) >= NO_MAIL_LOG_INTERVAL);
        if due {
            *said_at = Some(now);
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_log_says_it_once_a_minute() {
        let (log, start) = (NoMailLog::default(), Instant::now());
        let due =
            [0, 1, 59, 60, 61, 119, 120].map(|seconds| log.is_due(start + Duration::from_secs(seconds)));
        assert_eq!(due, [true, false, false, true, false, false, true]);
    }

    #[test]
    fn a_mail_shows_no_secret() {
        let mail =
            Mail { to: "ada@example.org".into(), template: "login_link", data: json!({"token": "tbo_x"}) };
        assert_eq!(format!("{mail:?}"), "Mail(login_link)");
        let payload: Json = serde_json::from_slice(&mail.payload()).unwrap();
        assert_eq!(
            payload,
            json!({"to": "ada@example.org", "template": "login_link", "data": {"token": "tbo_x"}})
        );
    }
}

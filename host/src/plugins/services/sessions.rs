//! Sessions for plugins: data about a user whom a plugin has verified is parsed and checked against limits.
//! Never verifies users itself.

use std::{net::IpAddr, sync::Arc, time::Instant};

use serde::Deserialize;
use tinybase_abi::{
    bytes::Bytes,
    error::RawError,
    future::{RawFuture, ready},
    interfaces::sessions,
};

use super::{PluginHost, accounts::refused, apart};
use crate::{
    accounts::{Client, ExternalIdentity, Subject},
    audit::{Actor, ActorKind},
};

/// The maximum number of sign-ins per extension and minute. Each writes a session, and may create an account.
const SIGN_INS_PER_MINUTE_MAX: u32 = 600;

/// The maximum length of a sign-in method's name.
const METHOD_BYTES_MAX: usize = 32;

/// The sign-in data that a plugin sends.
#[derive(Debug, Deserialize)]
struct SignInPayload {
    email: Option<String>,
    user_id: Option<String>,
    #[serde(default)]
    create: bool,
    method: String,
    address: Option<String>,
    user_agent: Option<String>,
}

impl SignInPayload {
    fn read(who: &[u8], extension: &str) -> Result<ExternalIdentity, RawError> {
        let told: SignInPayload = serde_json::from_slice(who).map_err(|error| invalid(&error.to_string()))?;
        let who = match (told.email, told.user_id) {
            (Some(email), None) => Subject::Email(email),
            (None, Some(id)) => Subject::UserId(id),
            _ => return Err(invalid("it must name either an email or a user_id")),
        };
        let mut letters = told.method.bytes();
        let is_word = letters.next().is_some_and(|first| first.is_ascii_lowercase())
            && letters.all(|letter| letter.is_ascii_lowercase() || letter.is_ascii_digit() || letter == b'_');
        if !is_word || told.method.len() > METHOD_BYTES_MAX {
            return Err(invalid(&format!(
                "its method must be [a-z][a-z0-9_]*, {METHOD_BYTES_MAX} bytes at most"
            )));
        }
        let is_address = |address: &String| address.parse::<IpAddr>().is_ok();
        if !told.address.iter().all(is_address) {
            return Err(invalid("its address must be an IP address"));
        }
        let actor = Actor { address: told.address, ..Actor::local(ActorKind::Extension, extension) };
        let client = Client::told(actor, told.user_agent.as_deref());
        // The extension's name as a prefix keeps a method from passing for another extension's, or for the
        // password.
        let method = format!("{extension}:{}", told.method);
        Ok(ExternalIdentity { who, create: told.create, method, client })
    }
}

fn invalid(problem: &str) -> RawError {
    RawError::new(500, "sign_in_invalid", format!("the sign-in cannot be taken: {problem}"))
}

/// The sign-ins of one extension in the current minute.
#[derive(Debug, Default)]
pub(super) struct SignIns {
    minute_began: Option<Instant>,
    count: u32,
}

impl SignIns {
    /// Counts a sign-in, or returns the seconds after which it may be retried.
    fn take(&mut self, now: Instant) -> Result<(), u64> {
        let elapsed = self.minute_began.map(|began| now.saturating_duration_since(began).as_secs());
        match elapsed.filter(|seconds| *seconds < 60) {
            Some(seconds) if self.count >= SIGN_INS_PER_MINUTE_MAX => return Err(60 - seconds),
            Some(_) => self.count += 1,
            None => (self.minute_began, self.count) = (Some(now), 1),
        }
        Ok(())
    }
}

impl sessions::Server for PluginHost {
    fn sign_in(&self, who: Bytes) -> RawFuture<Bytes> {
        let told = match SignInPayload::read(&who, &self.manifest.name) {
            Ok(told) => told,
            Err(error) => return ready(Err(error)),
        };
        if let Err(seconds) = self.sign_ins.lock().take(Instant::now()) {
            let message = format!("too many sign-ins by this extension; try again in {seconds} s");
            let mut error = RawError::new(429, "sign_in_rate_limited", message);
            error.retryable = 1;
            return ready(Err(error));
        }
        let accounts = Arc::clone(&self.shared.accounts);
        apart(async move {
            let answer = accounts.sign_in_external(told).await.map_err(|error| refused(&error))?;
            let answer = serde_json::to_string(&answer).map_err(|error| {
                RawError::new(500, "internal_error", format!("an answer is no JSON: {error}"))
            })?;
            Ok(Bytes::from(answer))
        })
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::{Value as Json, json};

    use super::*;

    #[test]
    fn a_sign_in_is_read_and_its_method_is_the_extensions() {
        let told = json!({"email": "ada@example.org", "create": true, "method": "code", "address": "::1",
            "user_agent": "curl\n"});
        let told = SignInPayload::read(told.to_string().as_bytes(), "door").unwrap();
        assert_eq!((told.who, told.create), (Subject::Email("ada@example.org".into()), true));
        assert_eq!((told.method.as_str(), told.client.user_agent.as_deref()), ("door:code", Some("curl")));
        assert_eq!(told.client.actor.address.as_deref(), Some("::1"));
        assert_eq!((told.client.actor.kind, told.client.actor.name.as_str()), (ActorKind::Extension, "door"));
    }

    #[test]
    fn what_is_no_sign_in_is_refused() {
        let cases = [
            json!([]),
            json!({"method": "code"}),
            json!({"email": "a@b.c", "user_id": "u1", "method": "code"}),
            json!({"email": "a@b.c"}),
            json!({"email": "a@b.c", "method": "Code"}),
            json!({"email": "a@b.c", "method": "a:b"}),
            json!({"email": "a@b.c", "method": "a".repeat(33)}),
            json!({"email": "a@b.c", "method": "code", "address": "here"}),
        ];
        for told in cases {
            let error = SignInPayload::read(told.to_string().as_bytes(), "door").unwrap_err();
            assert_eq!(error.words().code, "sign_in_invalid", "{told}");
        }
        assert!(SignInPayload::read(Json::Null.to_string().as_bytes(), "door").is_err());
    }

    #[test]
    fn so_many_are_taken_a_minute() {
        let (mut sign_ins, start) = (SignIns::default(), Instant::now());
        for _ in 0..SIGN_INS_PER_MINUTE_MAX {
            sign_ins.take(start).unwrap();
        }
        assert_eq!(sign_ins.take(start + Duration::from_secs(50)), Err(10));
        sign_ins.take(start + Duration::from_secs(60)).unwrap();
    }
}

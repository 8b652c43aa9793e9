//! How many requests a client, a user or an application token may send: which rule a route falls under, and who is
//! counted. It never verifies who somebody is, and never looks at a route's answer.

mod buckets;

#[cfg(test)]
mod tests;

use std::{
    hash::{BuildHasher, RandomState},
    net::IpAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use http::{HeaderMap, HeaderName, HeaderValue, Method};

use self::buckets::Buckets;
use super::{Networks, access::Authenticated};
use crate::{config::Config, error::ApiError};

const LIMIT: HeaderName = HeaderName::from_static("x-ratelimit-limit");
const REMAINING: HeaderName = HeaderName::from_static("x-ratelimit-remaining");
const RESET: HeaderName = HeaderName::from_static("x-ratelimit-reset");

/// The routes that let somebody guess, or that send mail: all `POST`, so many a minute and address.
const SIGN_IN: [(&str, u32); 6] = [
    ("/api/auth/register", 5),
    ("/api/auth/login", 10),
    ("/api/auth/password-reset/request", 5),
    ("/api/auth/password-reset/confirm", 10),
    ("/api/auth/login-link/request", 5),
    ("/api/auth/login-link/confirm", 10),
];

/// What requests are counted by together: everyone who sends them has a bucket for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Rule {
    /// Which of all rules, so that one who is counted by several has a bucket in each.
    number: u8,
    /// Tokens that a bucket gains in a minute, and holds at most.
    per_minute: u32,
}

/// Who is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Subject<'s> {
    Address(IpAddr),
    User(&'s str),
    Token(&'s str),
}

/// What a bucket holds after a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Quota {
    /// Requests a minute.
    limit: u32,
    /// Requests that may follow at once.
    remaining: u32,
    /// Seconds until the bucket is full again.
    reset_seconds: u32,
}

/// The rules, and everyone's buckets.
#[derive(Debug)]
pub(super) struct RateLimits {
    auth: Rule,
    admin: Rule,
    api: Rule,
    exempt: Networks,
    buckets: Buckets,
    /// Buckets are found by a hash under a key of this process: nobody can aim at another's.
    hasher: RandomState,
}

impl RateLimits {
    /// The limits that `config` asks for; `None` where they are off.
    pub(super) fn from_config(config: &Config) -> Option<Arc<RateLimits>> {
        let config = &config.rate_limit;
        let rule = |number, per_minute| Rule { number, per_minute };
        config.enabled.then(|| {
            Arc::new(RateLimits {
                auth: rule(6, config.auth_per_minute),
                admin: rule(7, config.admin_per_minute),
                api: rule(8, config.api_per_minute),
                exempt: Networks::new(&config.exempt),
                buckets: Buckets::new(config.buckets_max, Instant::now()),
                hasher: RandomState::new(),
            })
        })
    }

    /// The rule of a route of the host; `None` for what is served outside of `/api`.
    pub(super) fn rule_of_own(&self, method: &Method, path: &str) -> Option<Rule> {
        let sign_in = (0..).zip(SIGN_IN).find(|(_, (limited, _))| *limited == path);
        match sign_in.filter(|_| method == Method::POST) {
            Some((number, (_, per_minute))) => Some(Rule { number, per_minute }),
            None => path.starts_with("/api/").then(|| self.rule_of_plugin(path)),
        }
    }

    /// The rule of an extension's route, wherever it is mounted.
    pub(super) fn rule_of_plugin(&self, path: &str) -> Rule {
        match path.strip_prefix("/api/") {
            Some(rest) if rest.starts_with("auth/") => self.auth,
            Some(rest) if rest.starts_with("admin/") => self.admin,
            _ => self.api,
        }
    }

    /// Counts a request: by the application token or the user that its token was verified for, else by its address.
    /// One whose token does not hold counts by its address as well, so that whoever tries tokens out is slowed down.
    pub(super) fn admit(
        &self,
        rule: Rule,
        authenticated: Authenticated,
        client: IpAddr,
        now: Instant,
    ) -> (Authenticated, Option<Quota>) {
        if rule.per_minute == 0 || self.exempt.contain(client) {
            return (authenticated, None);
        }
        let subject = match &authenticated {
            Ok(Some(caller)) => match &caller.token_id {
                Some(token) => Subject::Token(token),
                None => Subject::User(&caller.user_id),
            },
            Ok(None) | Err(_) => Subject::Address(subscriber(client)),
        };
        match self.take(rule, subject, now) {
            (quota, None) => (authenticated, Some(quota)),
            (quota, Some(refused)) => (Err(refused), Some(quota)),
        }
    }

    fn take(&self, rule: Rule, subject: Subject<'_>, now: Instant) -> (Quota, Option<ApiError>) {
        let key = self.hasher.hash_one((rule.number, subject));
        let taken = self.buckets.take(key, rule.per_minute, now);
        let quota = Quota {
            limit: rule.per_minute,
            remaining: taken.remaining,
            reset_seconds: seconds_up(taken.full_after),
        };
        let refused = taken.refused_for.map(|wait| {
            let whom = match subject {
                Subject::Address(_) => "from this address",
                Subject::User(_) => "of this user",
                Subject::Token(_) => "with this application token",
            };
            let detail = format!("too many requests {whom}: {} a minute are allowed here", rule.per_minute);
            ApiError::too_many("rate_limited", detail, seconds_up(wait).into())
        });
        (quota, refused)
    }
}

impl Quota {
    /// Tells the client, on every answer that was counted.
    pub(super) fn tell(self, headers: &mut HeaderMap) {
        headers.insert(LIMIT, HeaderValue::from(self.limit));
        headers.insert(REMAINING, HeaderValue::from(self.remaining));
        headers.insert(RESET, HeaderValue::from(self.reset_seconds));
    }
}

/// Whole seconds, none too few.
fn seconds_up(time: Duration) -> u32 {
    let whole = time.as_secs() + u64::from(time.subsec_nanos() > 0);
    u32::try_from(whole).unwrap_or(u32::MAX)
}

/// IPv6 clients own a whole /64, so that is what is counted.
fn subscriber(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => IpAddr::from((v6.to_bits() & !u128::from(u64::MAX)).to_be_bytes()),
        v4 => v4,
    }
}

//! Rate limits for clients, users and application tokens: the rule of a route, and the subject that is counted. It
//! never verifies identities, and never looks at a route's response.

mod buckets;
mod leases;
mod rows;
mod shared;

#[cfg(test)]
mod tests;

use std::{
    hash::{BuildHasher, RandomState},
    net::IpAddr,
    sync::{Arc, OnceLock},
    time::{Duration, Instant},
};

use http::{HeaderMap, HeaderName, HeaderValue, Method};
use sha2::{Digest, Sha256};
use tokio::task::AbortHandle;

use self::{
    buckets::{Buckets, Taken},
    leases::Key,
    rows::BucketRows,
    shared::Shared,
};
use super::{Networks, auth::Authenticated};
use crate::{config::Config, db::Engine, error::ApiError, nodes::NodeCount, sql::HostSql};

pub(super) const LIMIT: HeaderName = HeaderName::from_static("x-ratelimit-limit");
pub(super) const REMAINING: HeaderName = HeaderName::from_static("x-ratelimit-remaining");
pub(super) const RESET: HeaderName = HeaderName::from_static("x-ratelimit-reset");

/// How often full shared buckets are deleted.
const SWEEP_EVERY: Duration = Duration::from_secs(60);

/// The routes that allow guessing or send mail: all `POST`, with their limits per minute and address.
const SIGN_IN: [(&str, u32); 6] = [
    ("/api/auth/register", 5),
    ("/api/auth/login", 10),
    ("/api/auth/password-reset/request", 5),
    ("/api/auth/password-reset/confirm", 10),
    ("/api/auth/login-link/request", 5),
    ("/api/auth/login-link/confirm", 10),
];

/// A rule for a group of routes. Each subject has one bucket per rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Rule {
    /// The rule's number, part of the bucket's key.
    number: u8,
    /// The tokens that a bucket gains per minute, and its capacity.
    per_minute: u32,
}

/// The subject that is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Subject<'s> {
    Address(IpAddr),
    User(&'s str),
    Token(&'s str),
}

/// The state of a bucket after a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Quota {
    /// The limit per minute.
    limit: u32,
    /// The number of requests that may follow at once.
    remaining: u32,
    /// The number of seconds until the bucket is full again.
    reset_seconds: u32,
}

/// The rules, and the buckets of all subjects.
#[derive(Debug)]
pub(super) struct RateLimits {
    auth: Rule,
    admin: Rule,
    api: Rule,
    exempt: Networks,
    buckets: Buckets,
    /// Buckets are keyed by a hash with a key of this process, so that nobody can target the bucket of another.
    hasher: RandomState,
    /// The maximum time for a call of the shared buckets.
    shared_time_max: Duration,
    /// Set if several nodes may use the database.
    shared: OnceLock<Shared>,
}

impl RateLimits {
    /// Creates the limits from `config`; `None` if they are disabled.
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
                shared_time_max: Duration::from_millis(config.shared_timeout_ms),
                shared: OnceLock::new(),
            })
        })
    }

    /// Shares the limits between nodes from now on, if there can be several. Returns the job that deletes full buckets.
    /// Call this once, within the runtime.
    pub(super) fn share(&self, sql: HostSql, nodes: NodeCount, leases_max: usize) -> Option<Sweeping> {
        if sql.database().engine() == Engine::Sqlite {
            return None;
        }
        let rows = Arc::new(BucketRows::new(sql));
        let shared = Shared::new(Arc::clone(&rows) as _, nodes, leases_max, self.shared_time_max);
        self.shared.set(shared).expect("limits are shared once");
        let job = tokio::spawn(async move {
            let mut clock = tokio::time::interval(SWEEP_EVERY);
            loop {
                clock.tick().await;
                if let Err(error) = rows.sweep().await {
                    tracing::warn!(%error, "rate limits that are over could not be deleted");
                }
            }
        });
        Some(Sweeping(job.abort_handle()))
    }

    /// Returns the rule of a route of the host; `None` for routes outside `/api`.
    pub(super) fn rule_of_own(&self, method: &Method, path: &str) -> Option<Rule> {
        let sign_in = (0..).zip(SIGN_IN).find(|(_, (limited, _))| *limited == path);
        match sign_in.filter(|_| method == Method::POST) {
            Some((number, (_, per_minute))) => Some(Rule { number, per_minute }),
            None => path.starts_with("/api/").then(|| self.rule_of_plugin(path)),
        }
    }

    /// Returns the rule of an extension's route, wherever it is mounted.
    pub(super) fn rule_of_plugin(&self, path: &str) -> Rule {
        match path.strip_prefix("/api/") {
            Some(rest) if rest.starts_with("auth/") => self.auth,
            Some(rest) if rest.starts_with("admin/") => self.admin,
            _ => self.api,
        }
    }

    /// Counts a request: by the application token or user of its verified token, otherwise by its address. A request
    /// with an invalid token counts by its address as well, which slows down attempts to guess tokens.
    pub(super) async fn admit(
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
        let taken = match self.shared.get().filter(|shared| shared.nodes() > 1) {
            None => self.take_own(rule, subject, rule.per_minute, now),
            Some(shared) => Box::pin(self.take_shared(shared, rule, subject, now)).await,
        };
        match told(rule, subject, taken) {
            (quota, None) => (authenticated, Some(quota)),
            (quota, Some(refused)) => (Err(refused), Some(quota)),
        }
    }

    fn take_own(&self, rule: Rule, subject: Subject<'_>, per_minute: u32, now: Instant) -> Taken {
        let key = self.hasher.hash_one((rule.number, subject));
        self.buckets.take(key, per_minute, now)
    }

    /// Takes a token from the shared bucket, and counts what it admits in this node's own bucket too. The own bucket
    /// contains at least as many tokens, so it refuses nothing more. It then knows the usage if the node is alone
    /// again, or has to admit its part alone.
    async fn take_shared(&self, shared: &Shared, rule: Rule, subject: Subject<'_>, now: Instant) -> Taken {
        let nodes = u32::try_from(shared.nodes()).unwrap_or(u32::MAX);
        match shared.take(shared_key(rule, subject), rule.per_minute, now).await {
            None => self.take_own(rule, subject, (rule.per_minute / nodes).max(1), now),
            Some(taken) if taken.refused_for.is_some() => taken,
            Some(taken) => match self.take_own(rule, subject, rule.per_minute, now) {
                own if own.refused_for.is_some() => own,
                _ => taken,
            },
        }
    }
}

/// Returns the key of a bucket, the same on every node.
fn shared_key(rule: Rule, subject: Subject<'_>) -> Key {
    let hash = Sha256::new().chain_update([rule.number]);
    let hash = match subject {
        Subject::Address(address) => hash.chain_update("address").chain_update(address.to_string()),
        Subject::User(id) => hash.chain_update("user").chain_update(id),
        Subject::Token(id) => hash.chain_update("token").chain_update(id),
    };
    *hash.finalize().first_chunk().expect("a hash is longer than a key")
}

/// The job that deletes full shared buckets. Dropping this stops it.
#[derive(Debug)]
pub struct Sweeping(AbortHandle);

impl Drop for Sweeping {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Returns the quota for the caller, and the error if the request is refused.
fn told(rule: Rule, subject: Subject<'_>, taken: Taken) -> (Quota, Option<ApiError>) {
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

impl Quota {
    /// Adds the headers to every counted response.
    pub(super) fn tell(self, headers: &mut HeaderMap) {
        headers.insert(LIMIT, HeaderValue::from(self.limit));
        headers.insert(REMAINING, HeaderValue::from(self.remaining));
        headers.insert(RESET, HeaderValue::from(self.reset_seconds));
    }
}

/// Returns the duration in whole seconds, rounded up.
fn seconds_up(time: Duration) -> u32 {
    let whole = time.as_secs() + u64::from(time.subsec_nanos() > 0);
    u32::try_from(whole).unwrap_or(u32::MAX)
}

/// Returns the counted address: for IPv6 the /64, because clients own a whole /64.
fn subscriber(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => IpAddr::from((v6.to_bits() & !u128::from(u64::MAX)).to_be_bytes()),
        v4 => v4,
    }
}

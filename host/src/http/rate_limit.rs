//! How many requests a client, a user or an application token may send: which rule a route falls under, and who is
//! counted. It never verifies who somebody is, and never looks at a route's answer.

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

/// How often shared buckets that are full again are deleted.
const SWEEP_EVERY: Duration = Duration::from_secs(60);

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
    /// How long the shared buckets may take.
    shared_time_max: Duration,
    /// Where several nodes may serve the database.
    shared: OnceLock<Shared>,
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
                shared_time_max: Duration::from_millis(config.shared_timeout_ms),
                shared: OnceLock::new(),
            })
        })
    }

    /// Holds the limits over all nodes together from now on, where there can be several. Answers the job that deletes what
    /// is over. To be called once, within the runtime.
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

    /// What the shared bucket admits is counted in this node's own as well. That one holds at least as much, so it refuses
    /// nothing else; and it knows what was used where the node is alone again, or alone admits its part.
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

/// A bucket's name on every node.
fn shared_key(rule: Rule, subject: Subject<'_>) -> Key {
    let hash = Sha256::new().chain_update([rule.number]);
    let hash = match subject {
        Subject::Address(address) => hash.chain_update("address").chain_update(address.to_string()),
        Subject::User(id) => hash.chain_update("user").chain_update(id),
        Subject::Token(id) => hash.chain_update("token").chain_update(id),
    };
    *hash.finalize().first_chunk().expect("a hash is longer than a key")
}

/// The job that deletes shared buckets that are full again. It ends when this is dropped.
#[derive(Debug)]
pub struct Sweeping(AbortHandle);

impl Drop for Sweeping {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// What a caller is answered, and the refusal where there is one.
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

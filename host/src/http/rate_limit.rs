//! How often one client address may try to sign in and the like. It never limits any other route.

use std::{
    collections::HashMap,
    net::IpAddr,
    time::{Duration, Instant},
};

use http::Method;
use parking_lot::Mutex;

use crate::error::ApiError;

/// Addresses that are remembered at most, a route; beyond that the fullest buckets are forgotten.
const ADDRESSES_MAX: usize = 20_000;

/// The limited routes: all `POST`, so many a minute.
const PER_MINUTE: [(&str, u32); 6] = [
    ("/api/auth/register", 5),
    ("/api/auth/login", 10),
    ("/api/auth/password-reset/request", 5),
    ("/api/auth/password-reset/confirm", 10),
    ("/api/auth/login-link/request", 5),
    ("/api/auth/login-link/confirm", 10),
];

/// The buckets of every limited route.
#[derive(Debug, Default)]
pub(super) struct RateLimits {
    routes: [Mutex<HashMap<IpAddr, Bucket>>; PER_MINUTE.len()],
}

/// A bucket that fills by `per_minute` tokens a minute and holds as many at most.
#[derive(Debug, Clone, Copy)]
struct Bucket {
    tokens: f64,
    filled_at: Instant,
}

impl RateLimits {
    /// Takes a token for this request, or refuses it with 429 and `Retry-After`.
    pub(super) fn check(&self, method: &Method, path: &str, address: IpAddr) -> Result<(), ApiError> {
        let limited = PER_MINUTE.iter().position(|(limited, _)| *limited == path.trim_end_matches('/'));
        match limited.filter(|_| method == Method::POST) {
            Some(route) => self.take(route, subscriber(address), Instant::now()),
            None => Ok(()),
        }
    }

    fn take(&self, route: usize, address: IpAddr, now: Instant) -> Result<(), ApiError> {
        let per_minute = PER_MINUTE[route].1;
        let mut buckets = self.routes[route].lock();
        if buckets.len() >= ADDRESSES_MAX && !buckets.contains_key(&address) {
            forget(&mut buckets, per_minute, now);
        }
        let bucket =
            buckets.entry(address).or_insert(Bucket { tokens: f64::from(per_minute), filled_at: now });
        bucket.fill(per_minute, now);
        if bucket.tokens >= 1.0 {
            bucket.tokens -= 1.0;
            return Ok(());
        }
        let wait = Duration::from_secs_f64((1.0 - bucket.tokens) * 60.0 / f64::from(per_minute));
        let detail = format!("too many tries from this address: {per_minute} a minute are allowed");
        Err(ApiError::too_many("rate_limited", detail, wait.as_secs() + 1))
    }
}

impl Bucket {
    fn fill(&mut self, per_minute: u32, now: Instant) {
        let elapsed = now.saturating_duration_since(self.filled_at).as_secs_f64();
        self.tokens = (self.tokens + elapsed * f64::from(per_minute) / 60.0).min(f64::from(per_minute));
        self.filled_at = now;
    }
}

/// Makes room: full buckets say nothing and go; if all are in use, the half with the most tokens goes.
fn forget(buckets: &mut HashMap<IpAddr, Bucket>, per_minute: u32, now: Instant) {
    for bucket in buckets.values_mut() {
        bucket.fill(per_minute, now);
    }
    buckets.retain(|_, bucket| bucket.tokens < f64::from(per_minute));
    if buckets.len() >= ADDRESSES_MAX {
        let mut levels: Vec<f64> = buckets.values().map(|bucket| bucket.tokens).collect();
        levels.sort_unstable_by(f64::total_cmp);
        let middle = levels[levels.len() / 2];
        buckets.retain(|_, bucket| bucket.tokens < middle);
    }
}

/// IPv6 clients own a whole /64, so that is what is counted.
fn subscriber(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => IpAddr::from((v6.to_bits() & !u128::from(u64::MAX)).to_be_bytes()),
        v4 => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOGIN: usize = 1;

    fn address(number: u32) -> IpAddr {
        IpAddr::from(number.to_be_bytes())
    }

    #[test]
    fn a_bucket_empties_and_fills_again() {
        let limits = RateLimits::default();
        let start = Instant::now();
        for _ in 0..10 {
            limits.take(LOGIN, address(1), start).unwrap();
        }
        let refused = limits.take(LOGIN, address(1), start).unwrap_err();
        assert_eq!(refused.status.as_u16(), 429);
        assert_eq!(refused.headers.unwrap()["retry-after"], "7");
        limits.take(LOGIN, address(2), start).unwrap();
        limits.take(LOGIN, address(1), start + Duration::from_secs(7)).unwrap();
        limits.take(LOGIN, address(1), start + Duration::from_secs(7)).unwrap_err();
    }

    #[test]
    fn only_the_limited_routes_count() {
        let limits = RateLimits::default();
        let checks = |method: &Method, path: &str| {
            (0..20).filter(|_| limits.check(method, path, address(1)).is_ok()).count()
        };
        assert_eq!(checks(&Method::POST, "/api/auth/register"), 5);
        assert_eq!(checks(&Method::POST, "/api/auth/login/"), 10);
        assert_eq!(checks(&Method::GET, "/api/auth/password-reset/confirm"), 20);
        assert_eq!(checks(&Method::POST, "/api/auth/refresh"), 20);
    }

    #[test]
    fn memory_is_bounded_and_the_hardest_triers_are_kept() {
        let limits = RateLimits::default();
        let now = Instant::now();
        for _ in 0..10 {
            limits.take(LOGIN, address(u32::MAX), now).unwrap();
        }
        for number in 0..50_000 {
            limits.take(LOGIN, address(number), now).unwrap();
        }
        assert!(limits.routes[LOGIN].lock().len() <= ADDRESSES_MAX);
        limits.take(LOGIN, address(u32::MAX), now).unwrap_err();
    }

    #[test]
    fn neighbours_in_a_64_share_a_bucket() {
        let parse = |text: &str| subscriber(text.parse().unwrap());
        assert_eq!(parse("2001:db8:1:2::1"), parse("2001:db8:1:2:ffff::9"));
        assert_ne!(parse("2001:db8:1:2::1"), parse("2001:db8:1:3::1"));
        assert_eq!(parse("::ffff:10.0.0.1"), parse("10.0.0.1"));
    }
}

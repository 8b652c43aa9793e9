//! Delays password guessing, with the waits of this process or those shared by all nodes. It decides nothing but which
//! of the two.

use std::net::{IpAddr, Ipv4Addr};

use super::{
    backoff::{Backoff, Burst},
    shared_backoff::SharedBackoff,
};
use crate::{
    clock::Clock,
    db::{DbError, Engine},
    error::ApiError,
    sql::HostSql,
};

/// The source of the waits.
#[derive(Debug)]
pub(super) enum LoginThrottle {
    /// Kept by this process, the only one on the database.
    Own(Backoff),
    /// Shared by all nodes.
    Shared(SharedBackoff),
}

/// An attempt on an account: its email, and the client's address.
#[derive(Debug, Clone, Copy)]
pub(super) struct Try<'e> {
    pub(super) email: &'e str,
    pub(super) address: Option<IpAddr>,
}

impl Try<'_> {
    fn address(self) -> IpAddr {
        self.address.unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED))
    }
}

impl LoginThrottle {
    /// Creates a throttle. It admits every attempt unless it is `enabled`.
    pub(super) fn new(enabled: bool, sql: HostSql, clock: Clock) -> LoginThrottle {
        match sql.database().engine() {
            Engine::Postgres if enabled => LoginThrottle::Shared(SharedBackoff::new(sql, clock)),
            _ => LoginThrottle::Own(Backoff::new(enabled, clock)),
        }
    }

    /// Returns the same throttle with another clock.
    pub(super) fn with_clock(self, clock: Clock) -> LoginThrottle {
        match self {
            LoginThrottle::Own(own) => LoginThrottle::Own(own.with_clock(clock)),
            LoginThrottle::Shared(shared) => LoginThrottle::Shared(shared.with_clock(clock)),
        }
    }

    /// Returns whether the account is guarded, so that it matters which networks are known to it.
    pub(super) async fn is_throttled(&self, attempt: Try<'_>) -> Result<bool, ApiError> {
        match self {
            LoginThrottle::Own(own) => Ok(own.is_throttled(own.attempt(attempt.email, attempt.address()))),
            LoginThrottle::Shared(shared) => Ok(shared.is_throttled(attempt.email).await?),
        }
    }

    /// Admits an attempt, or refuses it with the time to wait. `is_stranger` is true if the account is guarded and does
    /// not know the network.
    ///
    /// # Errors
    /// 429 `login_backoff`.
    pub(super) async fn admit(&self, attempt: Try<'_>, is_stranger: bool) -> Result<(), ApiError> {
        match self {
            LoginThrottle::Own(own) => own.admit(own.attempt(attempt.email, attempt.address()), is_stranger),
            LoginThrottle::Shared(shared) => {
                shared.admit(attempt.email, attempt.address(), is_stranger).await
            }
        }
    }

    /// Counts a wrong password, and returns what it triggered.
    ///
    /// # Errors
    /// 429 `login_backoff` if concurrent failures mean that this attempt should not have been admitted. It is not
    /// counted, and its outcome is not reported.
    pub(super) async fn failed(
        &self,
        attempt: Try<'_>,
        is_stranger: bool,
    ) -> Result<Option<Burst>, ApiError> {
        match self {
            LoginThrottle::Own(own) => own.failed(own.attempt(attempt.email, attempt.address()), is_stranger),
            LoginThrottle::Shared(shared) => {
                shared.failed(attempt.email, attempt.address(), is_stranger).await
            }
        }
    }

    /// Resets the network's failures after a correct password.
    ///
    /// # Errors
    /// As [`LoginThrottle::failed`]: concurrent guesses get only as many results as sequential ones would.
    pub(super) async fn succeeded(&self, attempt: Try<'_>) -> Result<(), ApiError> {
        match self {
            LoginThrottle::Own(own) => own.succeeded(own.attempt(attempt.email, attempt.address())),
            LoginThrottle::Shared(shared) => shared.succeeded(attempt.email, attempt.address()).await,
        }
    }

    /// Deletes expired shared rows, at most `rows_max` of each kind. Returns how many.
    pub(super) async fn sweep(&self, rows_max: u64) -> Result<u64, DbError> {
        match self {
            LoginThrottle::Own(_) => Ok(0),
            LoginThrottle::Shared(shared) => shared.sweep(rows_max).await,
        }
    }
}

//! Holds up those who guess passwords, by the waits of this process or by those that all nodes share. It decides nothing
//! but which of the two.

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

/// Who has to wait how long.
#[derive(Debug)]
pub(super) enum LoginThrottle {
    /// Known to this process alone, which serves the database alone.
    Own(Backoff),
    /// Known to every node.
    Shared(SharedBackoff),
}

/// A try at an account: its email, and from where.
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
    /// A guard that lets everyone try where it is not `enabled`.
    pub(super) fn new(enabled: bool, sql: HostSql, clock: Clock) -> LoginThrottle {
        match sql.database().engine() {
            Engine::Postgres if enabled => LoginThrottle::Shared(SharedBackoff::new(sql, clock)),
            _ => LoginThrottle::Own(Backoff::new(enabled, clock)),
        }
    }

    /// The same guard by another clock.
    pub(super) fn with_clock(self, clock: Clock) -> LoginThrottle {
        match self {
            LoginThrottle::Own(own) => LoginThrottle::Own(own.with_clock(clock)),
            LoginThrottle::Shared(shared) => LoginThrottle::Shared(shared.with_clock(clock)),
        }
    }

    /// Whether so many guess at the account that it matters who is known to it.
    pub(super) async fn is_throttled(&self, attempt: Try<'_>) -> Result<bool, ApiError> {
        match self {
            LoginThrottle::Own(own) => Ok(own.is_throttled(own.attempt(attempt.email, attempt.address()))),
            LoginThrottle::Shared(shared) => Ok(shared.is_throttled(attempt.email).await?),
        }
    }

    /// Lets a try go on, or says how long to wait; `is_stranger` where the account is guarded and does not know the
    /// network.
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

    /// Counts a wrong password, and says what that began.
    ///
    /// # Errors
    /// 429 `login_backoff` where others failed meanwhile, so that this try should not have been: it is not counted, and
    /// its outcome is not reported.
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

    /// Forgets the network's failures: it knows the password.
    ///
    /// # Errors
    /// As [`LoginThrottle::failed`]: of many guesses at once, only as many are answered as one after the other would be.
    pub(super) async fn succeeded(&self, attempt: Try<'_>) -> Result<(), ApiError> {
        match self {
            LoginThrottle::Own(own) => own.succeeded(own.attempt(attempt.email, attempt.address())),
            LoginThrottle::Shared(shared) => shared.succeeded(attempt.email, attempt.address()).await,
        }
    }

    /// Deletes what is shared and says nothing any more, `rows_max` rows at most of each kind. Answers how many.
    pub(super) async fn sweep(&self, rows_max: u64) -> Result<u64, DbError> {
        match self {
            LoginThrottle::Own(_) => Ok(0),
            LoginThrottle::Shared(shared) => shared.sweep(rows_max).await,
        }
    }
}

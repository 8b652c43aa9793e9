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
pub(super) enum Guard {
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

impl Guard {
    /// A guard that lets everyone try where it is not `enabled`.
    pub(super) fn new(enabled: bool, sql: HostSql, clock: Clock) -> Guard {
        match sql.database().engine() {
            Engine::Postgres if enabled => Guard::Shared(SharedBackoff::new(sql, clock)),
            _ => Guard::Own(Backoff::new(enabled, clock)),
        }
    }

    /// The same guard by another clock.
    pub(super) fn with_clock(self, clock: Clock) -> Guard {
        match self {
            Guard::Own(own) => Guard::Own(own.with_clock(clock)),
            Guard::Shared(shared) => Guard::Shared(shared.with_clock(clock)),
        }
    }

    /// Whether so many guess at the account that it matters who is known to it.
    pub(super) async fn is_guarded(&self, tried: Try<'_>) -> Result<bool, ApiError> {
        match self {
            Guard::Own(own) => Ok(own.is_guarded(own.attempt(tried.email, tried.address()))),
            Guard::Shared(shared) => Ok(shared.is_guarded(tried.email).await?),
        }
    }

    /// Lets a try go on, or says how long to wait; `is_stranger` where the account is guarded and does not know the
    /// network.
    ///
    /// # Errors
    /// 429 `login_backoff`.
    pub(super) async fn admit(&self, tried: Try<'_>, is_stranger: bool) -> Result<(), ApiError> {
        match self {
            Guard::Own(own) => own.admit(own.attempt(tried.email, tried.address()), is_stranger),
            Guard::Shared(shared) => shared.admit(tried.email, tried.address(), is_stranger).await,
        }
    }

    /// Counts a wrong password, and says what that began.
    ///
    /// # Errors
    /// 429 `login_backoff` where others failed meanwhile, so that this try should not have been: it is not counted, and
    /// its outcome is not reported.
    pub(super) async fn failed(&self, tried: Try<'_>, is_stranger: bool) -> Result<Option<Burst>, ApiError> {
        match self {
            Guard::Own(own) => own.failed(own.attempt(tried.email, tried.address()), is_stranger),
            Guard::Shared(shared) => shared.failed(tried.email, tried.address(), is_stranger).await,
        }
    }

    /// Forgets the network's failures: it knows the password.
    ///
    /// # Errors
    /// As [`Guard::failed`]: of many guesses at once, only as many are answered as one after the other would be.
    pub(super) async fn succeeded(&self, tried: Try<'_>) -> Result<(), ApiError> {
        match self {
            Guard::Own(own) => own.succeeded(own.attempt(tried.email, tried.address())),
            Guard::Shared(shared) => shared.succeeded(tried.email, tried.address()).await,
        }
    }

    /// Deletes what is shared and says nothing any more, `rows_max` rows at most of each kind. Answers how many.
    pub(super) async fn sweep(&self, rows_max: u64) -> Result<u64, DbError> {
        match self {
            Guard::Own(_) => Ok(0),
            Guard::Shared(shared) => shared.sweep(rows_max).await,
        }
    }
}

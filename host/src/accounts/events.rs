//! Events that accounts emit to the rest of the host. It never knows the listeners.

use futures_util::future::BoxFuture;
use tinybase_abi::codec::BatchWriter;

use super::Role;
use crate::error::ApiError;

/// An event before or after a change of an account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccountEvent {
    /// Its name: `user.create`, `user.login`, `user.logout`, `user.update`, `user.delete` or `user.refresh_reused`.
    pub name: &'static str,
    /// The user's id.
    pub user_id: String,
    /// The user's normalized email.
    pub email: String,
    /// The user's role.
    pub role: Role,
}

/// A receiver of account events.
pub trait AccountEvents: std::fmt::Debug + Send + Sync {
    /// Called before the change is written; never while the writer is in a transaction. May refuse the change with an
    /// error, or add statements that are committed with it. The change may still not happen after this call: if another
    /// request wins, the call is repeated or the request is refused.
    fn before<'a>(
        &'a self,
        event: &'a AccountEvent,
        batch: &'a mut BatchWriter,
    ) -> BoxFuture<'a, Result<(), ApiError>>;

    /// Called once after the change is committed. Must not block.
    fn after(&self, event: AccountEvent);
}

/// No listeners.
#[derive(Debug, Clone, Copy)]
pub struct NoEvents;

impl AccountEvents for NoEvents {
    fn before<'a>(
        &'a self,
        _event: &'a AccountEvent,
        _batch: &'a mut BatchWriter,
    ) -> BoxFuture<'a, Result<(), ApiError>> {
        Box::pin(std::future::ready(Ok(())))
    }

    fn after(&self, _event: AccountEvent) {}
}

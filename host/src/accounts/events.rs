//! What accounts tell the rest of the host. It never knows who listens.

use futures_util::future::BoxFuture;
use tinybase_abi::codec::BatchWriter;

use super::Role;
use crate::error::ApiError;

/// Something that happens, or has happened, to an account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccountEvent {
    /// Its name: `user.create`, `user.login`, `user.logout`, `user.update`, `user.delete` or `user.refresh_reused`.
    pub name: &'static str,
    /// The user's id.
    pub user_id: String,
    /// The user's email in its one form.
    pub email: String,
    /// The user's role.
    pub role: Role,
}

/// Who receives accounts' events.
pub trait AccountEvents: std::fmt::Debug + Send + Sync {
    /// Called before the change is written; never while the writer holds a transaction. May refuse it with an error,
    /// or add statements that are committed with it. An event emitted here may still come to nothing: another request may
    /// win, and the call is then repeated or the request refused.
    fn before<'a>(
        &'a self,
        event: &'a AccountEvent,
        batch: &'a mut BatchWriter,
    ) -> BoxFuture<'a, Result<(), ApiError>>;

    /// Called once, after the change is committed. Must not block.
    fn after(&self, event: AccountEvent);
}

/// Nobody listens.
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

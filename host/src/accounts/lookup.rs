//! The view of users for other parts of the host. It never includes a password.

use serde::Serialize;

use super::{Accounts, MeAnswer, users::User};
use crate::error::ApiError;

/// A user as extensions see them.
#[derive(Debug, Serialize)]
pub struct FoundUser {
    #[serde(flatten)]
    user: MeAnswer,
    /// Whether the user may sign in; an admin may deactivate an account.
    is_active: bool,
}

impl Accounts {
    /// Returns a user by id; `None` if there is none.
    ///
    /// # Errors
    /// Database errors.
    pub async fn find(&self, id: &str) -> Result<Option<FoundUser>, ApiError> {
        let found = self.users.by_id(id).await?;
        Ok(found.map(|user| FoundUser { is_active: user.is_active, user: MeAnswer::of(user) }))
    }
}

impl MeAnswer {
    /// Returns the visible fields of a user.
    pub(super) fn of(user: User) -> MeAnswer {
        MeAnswer {
            id: user.id,
            email: user.email,
            is_admin: user.role.is_admin(),
            role: user.role.name(),
            created_at: user.created_at,
        }
    }
}

//! Users as others in the host may see them: never a password.

use serde::Serialize;

use super::{Accounts, MeAnswer, users::User};
use crate::error::ApiError;

/// A user as extensions see them.
#[derive(Debug, Serialize)]
pub struct FoundUser {
    #[serde(flatten)]
    user: MeAnswer,
    /// Whether the user may sign in: an admin may switch an account off.
    is_active: bool,
}

impl Accounts {
    /// A user by id; `None` where there is none.
    ///
    /// # Errors
    /// What the database answers.
    pub async fn find(&self, id: &str) -> Result<Option<FoundUser>, ApiError> {
        let found = self.users.by_id(id).await?;
        Ok(found.map(|user| FoundUser { is_active: user.is_active, user: MeAnswer::of(user) }))
    }
}

impl MeAnswer {
    /// What may be seen of a user.
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

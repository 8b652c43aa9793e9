//! Users as others in the host may see them: never a password.

use super::{Accounts, MeAnswer, users::User};
use crate::error::ApiError;

impl Accounts {
    /// A user by id; `None` where there is none.
    ///
    /// # Errors
    /// What the database answers.
    pub async fn find(&self, id: &str) -> Result<Option<MeAnswer>, ApiError> {
        let found = self.users.by_id(id).await?;
        Ok(found.map(MeAnswer::of))
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

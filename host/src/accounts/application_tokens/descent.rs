//! Ties an application token to the token that created it, its parent: it expires no later, has no wider scopes, and is
//! disabled and deleted with its parent. It never says what a token may be used for.

use std::collections::VecDeque;

use tinybase_abi::codec::{BatchWriter, ValueRef};

use super::{TokenAnswer, statements};
use crate::{
    accounts::{Accounts, Caller},
    error::ApiError,
    sql::time_from_now,
};

/// The maximum depth of a chain of tokens. A change of the first one visits each of them.
const DEPTH_MAX: usize = 8;

impl Accounts {
    /// Returns the token that creates a new one. Fails if it is already too far below the token that a person created.
    pub(super) async fn parent_of_new(&self, caller: &Caller) -> Result<Option<TokenAnswer>, ApiError> {
        let Some(id) = &caller.token_id else { return Ok(None) };
        let read = async |id: &str| match self.application_token(id).await {
            Err(error) if error.code == "application_token_not_found" => Err(parent_ended()),
            other => other,
        };
        let parent = read(id).await?;
        let (mut above, mut depth) = (parent.parent_id.clone(), 1);
        while let Some(id) = above {
            depth += 1;
            if depth >= DEPTH_MAX {
                return Err(ApiError::forbidden(
                    "application_token_depth",
                    format!(
                        "at most {DEPTH_MAX} application tokens make each other: have a person make this one"
                    ),
                ));
            }
            above = read(&id).await?.parent_id;
        }
        Ok(Some(parent))
    }

    /// Adds the effects of a token's change on its descendants to a batch, and checks the change against its parent.
    pub(super) async fn push_descent(
        &self,
        batch: &mut BatchWriter,
        before: &TokenAnswer,
        after: &TokenAnswer,
    ) -> Result<(), ApiError> {
        let (wakes, scopes_change) = (after.is_active && !before.is_active, after.scopes != before.scopes);
        if let Some(parent_id) = before.parent_id.as_deref().filter(|_| wakes || scopes_change) {
            let parent = self.application_token(parent_id).await?;
            if wakes && !parent.is_active {
                return Err(ApiError::conflict(
                    "application_token_parent_ended",
                    "the application token that made this one is switched off: switch that one on first",
                ));
            }
            let (granted, above) = (after.granted(), parent.granted());
            if let Some(beyond) = granted.iter().find(|scope| !above.covers(scope)) {
                return Err(ApiError::forbidden(
                    "scope_missing",
                    format!("an application token has no scope that the one which made it lacks: {beyond}"),
                ));
            }
            if wakes {
                statements::expect_active(batch, parent_id);
            }
        }
        if !after.is_active && before.is_active {
            statements::switch_off_below(batch, &before.id);
        }
        if scopes_change {
            self.push_narrowing(batch, after).await?;
        }
        Ok(())
    }

    /// Adds statements to a batch which narrow the scopes of all descendants of `top` to those of `top`.
    async fn push_narrowing(&self, batch: &mut BatchWriter, top: &TokenAnswer) -> Result<(), ApiError> {
        let mut open = VecDeque::from([(top.id.clone(), top.granted())]);
        while let Some((id, above)) = open.pop_front() {
            let rows = self.users.sql().rows(statements::CHILDREN, &[ValueRef::Text(&id)]).await?;
            statements::expect_children(batch, &id, rows.len());
            for row in &rows {
                let child = TokenAnswer::from_row(row, &time_from_now(0));
                let (has, may) = (child.granted(), child.granted().within(&above));
                if may != has {
                    statements::narrow(batch, &child, may.as_str());
                    open.push_back((child.id, may));
                }
            }
        }
        Ok(())
    }
}

/// Returns the earlier of two ends; `None` means never.
pub(super) fn earlier(one: Option<String>, other: Option<String>) -> Option<String> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    }
}

/// Returns the error for a token that ended while it was creating another.
pub(super) fn parent_ended() -> ApiError {
    ApiError::unauthorized("token_revoked", "the application token was ended; have a new one made")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_earlier_end_counts() {
        let time = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        for (one, other, expected) in
            [("", "", ""), ("a", "", "a"), ("", "b", "b"), ("a", "b", "a"), ("b", "a", "a")]
        {
            assert_eq!(earlier(time(one), time(other)), time(expected), "{one} {other}");
        }
    }
}

//! What binds an application token to the one that made it: it ends no later, reaches no further, and is switched off and
//! deleted with it. It never says what a token may be used for.

use std::collections::VecDeque;

use tinybase_abi::codec::{BatchWriter, ValueRef};

use super::{TokenAnswer, statements};
use crate::{
    accounts::{Accounts, Caller},
    error::ApiError,
    sql::time_from_now,
};

/// How many tokens may stand above one another: each takes its turn when the first one is changed.
const DEPTH_MAX: usize = 8;

impl Accounts {
    /// The token that makes another, which may not be made too far below the one that a person made.
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

    /// Adds to a batch what the change of a token means for those that it made, and holds it against the one that made it.
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

    /// Adds to a batch that nothing below `top` reaches further than it.
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

/// The earlier of two ends, of which either may never come.
pub(super) fn earlier(one: Option<String>, other: Option<String>) -> Option<String> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    }
}

/// The refusal of a token that has ended while it made another.
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

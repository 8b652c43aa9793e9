//! The owner of a hook, and who may change it: its owner, and admins. A user who sets a hook's URL never gains access
//! through it to what they may not read themselves.

use tinybase_plugin_api::{prelude::*, request::Caller};

use crate::hook::Hook;

/// The maximum number of application tokens of one hook, since each is checked before each try.
const TOKENS_MAX: usize = 10;

impl Hook {
    /// Makes the sender of the request the owner, with the rights of the request.
    pub(crate) fn belong_to(&mut self, request: &Request) {
        let caller = request.caller();
        self.owner_id = caller.map(|caller| caller.user_id().to_owned());
        self.owner_scopes = caller.and_then(Caller::scopes).map(str::to_owned);
        self.owner_token_ids = caller.and_then(Caller::token_id).map(str::to_owned).into_iter().collect();
    }

    /// Returns whether the sender of the request is the owner or an admin.
    pub(crate) fn is_managed_by(&self, request: &Request) -> bool {
        let is_owner = |caller: &Caller| self.owner_id.as_deref() == Some(caller.user_id());
        request.caller().is_some_and(|caller| is_owner(caller) || is_admin(caller))
    }

    /// Rejects a sender who is neither the owner nor an admin.
    ///
    /// # Errors
    /// 403 `webhook_of_another`.
    pub(crate) fn check_owner(&self, request: &Request) -> Result<()> {
        if self.is_managed_by(request) {
            return Ok(());
        }
        let message =
            "the hook is another user's: only they and admins may change it, test it, and see its deliveries";
        Err(Error::forbidden("webhook_of_another", message))
    }

    /// Adjusts the hook's rights after a change:
    ///
    /// - An application token limits the hook to what the token may read, since it may set the hook's URL. The hook
    ///   stops working when the token does.
    /// - The owner, signed in, restores all of their own rights.
    /// - An admin leaves the rights unchanged, so that another user's hook never gets an admin's rights.
    ///
    /// # Errors
    /// 409 `webhook_of_many_tokens` if another token would exceed the limit.
    pub(crate) fn limit_to(&mut self, request: &Request) -> Result<()> {
        let Some(caller) = request.caller() else { return Ok(()) };
        let Some(scopes) = caller.scopes() else {
            if self.owner_id.as_deref() == Some(caller.user_id()) {
                self.owner_scopes = None;
                self.owner_token_ids.clear();
            }
            return Ok(());
        };
        let before = self.owner_scopes.as_deref();
        // For a hook of an earlier version, the token that created it is unknown and stays so.
        let is_known = before.is_none() || !self.owner_token_ids.is_empty();
        self.owner_scopes = Some(before.map_or_else(|| scopes.to_owned(), |before| both(before, scopes)));
        let token_id = caller.token_id().filter(|_| is_known);
        let Some(token_id) = token_id.filter(|id| !self.owner_token_ids.iter().any(|known| known == id))
        else {
            return Ok(());
        };
        if self.owner_token_ids.len() >= TOKENS_MAX {
            let message =
                "ten application tokens have changed this hook: have its owner change it, signed in";
            return Err(Error::conflict("webhook_of_many_tokens", message));
        }
        self.owner_token_ids.push(token_id.to_owned());
        Ok(())
    }
}

/// Returns the only user whose hooks a request may access; `None` for an admin, who may access all.
pub(crate) fn only_owner(request: &Request) -> Option<&str> {
    request.caller().filter(|caller| !is_admin(caller)).map(Caller::user_id)
}

fn is_admin(caller: &Caller) -> bool {
    caller.role() == "admin"
}

/// Returns the scopes that two lists of scopes have in common.
pub(crate) fn both(one: &str, other: &str) -> String {
    let covers = tinybase_plugin_api::caller::scopes_cover;
    let of_one = one.split_ascii_whitespace().filter(|scope| covers(other, scope));
    let of_other = other.split_ascii_whitespace().filter(|scope| covers(one, scope));
    let mut scopes: Vec<&str> = of_one.chain(of_other).collect();
    scopes.sort_unstable();
    scopes.dedup();
    scopes.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_tokens_have_in_common_what_both_may() {
        for (one, other, expected) in [
            ("collections:read a", "collections:read:posts b", "collections:read:posts"),
            ("collections:read:posts", "collections:read:notes", ""),
            ("*", "collections:read admin:*", "admin:* collections:read"),
            ("a b", "b a", "a b"),
            ("", "a", ""),
        ] {
            assert_eq!(both(one, other), expected, "{one:?} and {other:?}");
            assert_eq!(both(other, one), expected, "{other:?} and {one:?}");
        }
    }
}

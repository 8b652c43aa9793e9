//! Whose a hook is, and who may change it: its owner, and admins. Whoever says where a hook leads never gets to read by it what
//! they may not read themselves.

use tinybase_plugin_api::{prelude::*, request::Caller};

use crate::hook::Hook;

impl Hook {
    /// Makes it the hook of whoever sends the request, with the rights that the request has.
    pub(crate) fn belong_to(&mut self, request: &Request) {
        let caller = request.caller();
        self.owner_id = caller.map(|caller| caller.user_id().to_owned());
        self.owner_scopes = caller.and_then(Caller::scopes).map(str::to_owned);
    }

    /// Refuses whoever is neither its owner nor an admin.
    ///
    /// # Errors
    /// 403 `webhook_of_another`.
    pub(crate) fn check_owner(&self, request: &Request) -> Result<()> {
        let caller = request.caller();
        let is_owner = caller.is_some_and(|caller| self.owner_id.as_deref() == Some(caller.user_id()));
        if is_owner || caller.is_some_and(|caller| caller.role() == "admin") {
            return Ok(());
        }
        let message = "the hook is another user's: only they and admins may change it";
        Err(Error::forbidden("webhook_of_another", message))
    }

    /// What a change does to its rights. An application token takes away what the token may not read, since it says where the
    /// hook leads; its owner, signed in, gives back all of theirs; an admin leaves them as they are, so that nobody else's hook
    /// ever has an admin's.
    pub(crate) fn limit_to(&mut self, request: &Request) {
        let Some(caller) = request.caller() else { return };
        match (caller.scopes(), &self.owner_scopes) {
            (None, _) if self.owner_id.as_deref() == Some(caller.user_id()) => self.owner_scopes = None,
            (None, _) => {}
            (Some(scopes), None) => self.owner_scopes = Some(scopes.to_owned()),
            (Some(scopes), Some(before)) => self.owner_scopes = Some(both(before, scopes)),
        }
    }
}

/// The scopes that two lists of scopes have in common.
fn both(one: &str, other: &str) -> String {
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

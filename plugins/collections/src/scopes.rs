//! The scopes that application tokens need here. The host checks those of a route; what a request reaches beyond its
//! route's collection is asked here.

use tinybase_plugin_api::{Error, Request, Result, caller::CallerPayload};

/// Reading every collection.
pub const READ: &str = "collections:read";
/// Reading the collection in the path.
pub const READ_ONE: &str = "collections:read:{name}";
/// Changing records of the collection in the path.
pub const WRITE_ONE: &str = "collections:write:{name}";
/// Changing records of several collections: each operation is asked for its own, by [`check_write`].
pub const WRITE_EACH: &str = "";
/// Listing users, which the host answers.
const READ_USERS: &str = "admin:users:read";
/// Making, changing and deleting collections.
pub const MANAGE: &str = "collections:manage";

/// Whether the request may read records of `collection`.
pub fn may_read(request: &Request, collection: &str) -> bool {
    request.caller().is_none_or(|caller| caller.allows(&format!("{READ}:{collection}")))
}

/// Whether the request may list the users of the instance.
pub fn may_list_users(request: &Request) -> bool {
    request.caller().is_some_and(|caller| {
        matches!(caller.role(), "viewer" | "editor" | "admin") && caller.allows(READ_USERS)
    })
}

/// Refuses a caller whom another extension tells of, where the application token may not read records of `collection`.
///
/// # Errors
/// 403 `scope_missing`.
pub fn check_told(caller: Option<&CallerPayload>, collection: &str) -> Result<()> {
    let scope = format!("{READ}:{collection}");
    if caller.is_none_or(|caller| caller.allows(&scope)) { Ok(()) } else { Err(missing(&scope)) }
}

fn missing(scope: &str) -> Error {
    Error::forbidden("scope_missing", format!("this application token lacks the scope {scope}"))
}

/// Refuses a request whose application token may not change records of `collection`.
///
/// # Errors
/// 403 `scope_missing`.
pub fn check_write(request: &Request, collection: &str) -> Result<()> {
    let scope = format!("collections:write:{collection}");
    if request.caller().is_none_or(|caller| caller.allows(&scope)) {
        return Ok(());
    }
    Err(missing(&scope))
}

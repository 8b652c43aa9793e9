//! The scopes of application tokens for this extension. The host checks those of a route; this module checks access
//! beyond the collection in the route.

use tinybase_plugin_api::{Error, Request, Result, caller::CallerPayload};

/// Reading every collection.
pub const READ: &str = "collections:read";
/// Reading the collection in the path.
pub const READ_ONE: &str = "collections:read:{name}";
/// Changing records of the collection in the path.
pub const WRITE_ONE: &str = "collections:write:{name}";
/// Changing records of several collections: [`check_write`] checks the scope of each operation.
pub const WRITE_EACH: &str = "";
/// Listing users, which is a route of the host.
const READ_USERS: &str = "admin:users:read";
/// Creating, changing and deleting collections.
pub const MANAGE: &str = "collections:manage";

/// Returns whether the request may read records of `collection`.
pub fn may_read(request: &Request, collection: &str) -> bool {
    request.caller().is_none_or(|caller| caller.allows(&format!("{READ}:{collection}")))
}

/// Returns whether the request may list the users of the instance.
pub fn may_list_users(request: &Request) -> bool {
    request.caller().is_some_and(|caller| {
        matches!(caller.role(), "viewer" | "editor" | "admin") && caller.allows(READ_USERS)
    })
}

/// Refuses a caller named by another extension if the application token may not read records of `collection`.
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

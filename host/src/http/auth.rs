//! Access to routes: the required role, and the scope that an application token needs. It never verifies a token
//! itself.

use std::{borrow::Cow, sync::Arc};

use futures_util::future::BoxFuture;
use http::{HeaderMap, Method};

use super::Caller;
use crate::{
    accounts::{Accounts, Role, bearer},
    error::ApiError,
};

/// Verifies tokens.
pub trait Authenticate: Send + Sync + 'static {
    /// Returns the caller of a valid token; otherwise fails with 401. It is called for every request with a token.
    fn authenticate<'a>(&'a self, token: &'a str) -> BoxFuture<'a, Result<Arc<Caller>, ApiError>>;
}

impl Authenticate for Accounts {
    fn authenticate<'a>(&'a self, token: &'a str) -> BoxFuture<'a, Result<Arc<Caller>, ApiError>> {
        Box::pin(Accounts::authenticate(self, token))
    }
}

/// The result of authentication: the caller, if a valid token was sent.
pub(super) type Authenticated = Result<Option<Arc<Caller>>, ApiError>;

/// Who may call a route.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum RouteAuth {
    /// Anyone. No token is verified here: the route reads it itself, or uses none. For routes of the host only.
    Open,
    /// Anyone; the caller is known if a token was sent. An invalid token is a 401 here too.
    #[default]
    Anyone,
    /// Signed-in users and application tokens; otherwise 401.
    User,
    /// Signed-in users; an application token is a 403.
    Session,
    /// Users who may view the administration; otherwise 401 or 403.
    Viewer,
    /// Users who may change what is administered; otherwise 401 or 403.
    Editor,
    /// Users with `is_admin`; otherwise 401 or 403.
    Admin,
}

impl RouteAuth {
    /// Returns the required role.
    pub fn role(self) -> Role {
        match self {
            RouteAuth::Viewer => Role::Viewer,
            RouteAuth::Editor => Role::Editor,
            RouteAuth::Admin => Role::Admin,
            RouteAuth::Open | RouteAuth::Anyone | RouteAuth::User | RouteAuth::Session => Role::User,
        }
    }

    /// Returns whether the caller must be authenticated.
    pub fn needs_caller(self) -> bool {
        !matches!(self, RouteAuth::Open | RouteAuth::Anyone)
    }

    /// Returns its name in `x-tinybase-auth` of the OpenAPI document.
    pub fn name(self) -> &'static str {
        match self {
            RouteAuth::Open | RouteAuth::Anyone => "anyone",
            RouteAuth::User => "user",
            RouteAuth::Session => "session",
            RouteAuth::Viewer => "viewer",
            RouteAuth::Editor => "editor",
            RouteAuth::Admin => "admin",
        }
    }
}

/// Who may call a route, and the scope that an application token needs there.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Access {
    /// The required authentication.
    pub auth: RouteAuth,
    /// The scope: words separated by `:`; `{name}` stands for a path parameter. Empty if application tokens are
    /// refused, or if the handler checks scopes itself.
    pub scope: Cow<'static, str>,
}

impl Access {
    /// A route that anyone may call and that verifies no token.
    pub const OPEN: Access = Access { auth: RouteAuth::Open, scope: Cow::Borrowed("") };

    /// A route for signed-in users.
    pub const SESSION: Access = Access { auth: RouteAuth::Session, scope: Cow::Borrowed("") };

    /// Returns the access of a route for signed-in users, or application tokens with this scope.
    pub const fn user(scope: &'static str) -> Access {
        Access { auth: RouteAuth::User, scope: Cow::Borrowed(scope) }
    }

    /// Returns the access of a route for viewers and above.
    pub const fn viewer(scope: &'static str) -> Access {
        Access { auth: RouteAuth::Viewer, scope: Cow::Borrowed(scope) }
    }

    /// Returns the access of a route for editors and above.
    pub const fn editor(scope: &'static str) -> Access {
        Access { auth: RouteAuth::Editor, scope: Cow::Borrowed(scope) }
    }

    /// Returns the access of a route for admins.
    pub const fn admin(scope: &'static str) -> Access {
        Access { auth: RouteAuth::Admin, scope: Cow::Borrowed(scope) }
    }

    /// Returns the access of an extension's route that names no scope itself.
    pub fn of_extension(auth: RouteAuth, extension: &str, method: &Method) -> Access {
        let verb = if [Method::GET, Method::HEAD].contains(method) { "read" } else { "write" };
        let area = if auth.role() > Role::User { "admin:" } else { "" };
        Access { auth, scope: format!("{area}{extension}:{verb}").into() }
    }

    /// Returns the scope of one request; `param` returns the value of a path parameter.
    fn scope_of<'p>(&self, param: impl Fn(&str) -> Option<&'p str>) -> String {
        let mut scope = String::with_capacity(self.scope.len());
        for part in self.scope.split_inclusive(['{', '}']) {
            match part.strip_suffix('}') {
                // A value that contains a `:` must not extend into the scope of something else.
                Some(name) => {
                    scope.push_str(param(name).filter(|value| !value.contains(':')).unwrap_or("{}"))
                }
                None => scope.push_str(part.strip_suffix('{').unwrap_or(part)),
            }
        }
        scope
    }

    /// Checks a verified caller against this access.
    ///
    /// # Errors
    /// 403 `admin_required`, `role_required`, `session_required` or `scope_missing`.
    pub fn check<'p>(
        &self,
        caller: &Caller,
        param: impl Fn(&str) -> Option<&'p str>,
    ) -> Result<(), ApiError> {
        let wanted = self.auth.role();
        if caller.role < wanted {
            return Err(match wanted {
                Role::Admin => ApiError::forbidden("admin_required", "only an administrator may do this"),
                wanted => ApiError::forbidden(
                    "role_required",
                    format!("only a user with the role {wanted} or above may do this"),
                ),
            });
        }
        let Some(granted) = &caller.scopes else { return Ok(()) };
        if self.auth == RouteAuth::Session {
            let detail = "an application token may not do this; sign in as a person";
            return Err(ApiError::forbidden("session_required", detail));
        }
        let scope = self.scope_of(param);
        if scope.is_empty() || granted.covers(&scope) {
            return Ok(());
        }
        Err(ApiError::forbidden("scope_missing", format!("this application token lacks the scope {scope}")))
    }

    /// Verifies the request's token, if any. [`Access::check`] decides whether its user may call the route.
    pub(super) async fn authenticate(
        &self,
        authenticator: &dyn Authenticate,
        headers: &HeaderMap,
    ) -> Authenticated {
        if self.auth == RouteAuth::Open {
            return Ok(None);
        }
        let Some(token) = bearer(headers) else {
            return if self.auth.needs_caller() { Err(token_missing()) } else { Ok(None) };
        };
        authenticator.authenticate(token).await.map(Some)
    }
}

/// Returns the error for a request without a token.
pub(crate) fn token_missing() -> ApiError {
    ApiError::unauthorized(
        "token_missing",
        "sign in first: send the header Authorization: Bearer <access token>",
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::accounts::Scopes;

    fn caller(role: Role, scopes: Option<&[&str]>) -> Caller {
        let scopes = scopes.map(|scopes| Scopes::new(scopes).unwrap());
        Caller { role, scopes, ..Caller::of_test("u1") }
    }

    fn outcome(access: &Access, caller: &Caller) -> String {
        let param = |name: &str| (name == "name").then_some("posts");
        access.check(caller, param).map_or_else(|error| error.code.into_owned(), |()| "ok".into())
    }

    #[test]
    fn a_role_reaches_as_far_as_it_must() {
        let accesses = [
            Access::user("a:read"),
            Access::viewer("admin:a:read"),
            Access::editor("admin:a:write"),
            Access::admin("admin:a:write"),
        ];
        let expected = [
            (Role::User, ["ok", "role_required", "role_required", "admin_required"]),
            (Role::Viewer, ["ok", "ok", "role_required", "admin_required"]),
            (Role::Editor, ["ok", "ok", "ok", "admin_required"]),
            (Role::Admin, ["ok", "ok", "ok", "ok"]),
        ];
        for (role, outcomes) in expected {
            let told = accesses.each_ref().map(|access| outcome(access, &caller(role, None)));
            assert_eq!(told, outcomes, "{role}");
        }
    }

    #[test]
    fn a_token_needs_the_scope_of_the_path() {
        let access = Access { auth: RouteAuth::Anyone, scope: "collections:read:{name}".into() };
        let cases: [(&[&str], &str); 6] = [
            (&["collections:read"], "ok"),
            (&["collections:read:posts"], "ok"),
            (&["collections:read:pages"], "scope_missing"),
            (&["collections:write"], "scope_missing"),
            (&["*"], "ok"),
            (&[], "scope_missing"),
        ];
        for (scopes, expected) in cases {
            assert_eq!(outcome(&access, &caller(Role::Admin, Some(scopes))), expected, "{scopes:?}");
        }
        assert_eq!(outcome(&Access::SESSION, &caller(Role::Admin, Some(&["*"]))), "session_required");
        assert_eq!(outcome(&Access::admin("admin:x"), &caller(Role::User, Some(&["*"]))), "admin_required");
    }

    #[test]
    fn an_extensions_route_has_a_scope_by_its_name() {
        let scope = |auth, method| Access::of_extension(auth, "notes", &method).scope.into_owned();
        assert_eq!(scope(RouteAuth::Anyone, Method::GET), "notes:read");
        assert_eq!(scope(RouteAuth::User, Method::DELETE), "notes:write");
        assert_eq!(scope(RouteAuth::Viewer, Method::HEAD), "admin:notes:read");
    }
}

//! Who may call a route: the role it asks for, and the scope that an application token needs there. It never verifies a
//! token itself.

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
    /// Whose token `token` is; 401 if it does not hold. It is called for every request that carries one.
    fn authenticate<'a>(&'a self, token: &'a str) -> BoxFuture<'a, Result<Arc<Caller>, ApiError>>;
}

impl Authenticate for Accounts {
    fn authenticate<'a>(&'a self, token: &'a str) -> BoxFuture<'a, Result<Arc<Caller>, ApiError>> {
        Box::pin(Accounts::authenticate(self, token))
    }
}

/// Whose request it is: the caller, if a token was sent and holds.
pub(super) type Authenticated = Result<Option<Arc<Caller>>, ApiError>;

/// Who may call a route.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum RouteAuth {
    /// Anyone, whatever is sent as a token: the route reads it itself, or none. For routes of the host alone.
    Open,
    /// Anyone; the caller is given if a token was sent. A token that is sent and does not hold is a 401 here too.
    #[default]
    Anyone,
    /// Who is signed in, with a token of any kind; else 401.
    User,
    /// Who is signed in as a person: an application token is a 403.
    Session,
    /// Whoever may see the administration; else 401 or 403.
    Viewer,
    /// Whoever may change what is administered; else 401 or 403.
    Editor,
    /// A user with `is_admin`; else 401 or 403.
    Admin,
}

impl RouteAuth {
    /// The role that it asks for.
    pub fn role(self) -> Role {
        match self {
            RouteAuth::Viewer => Role::Viewer,
            RouteAuth::Editor => Role::Editor,
            RouteAuth::Admin => Role::Admin,
            RouteAuth::Open | RouteAuth::Anyone | RouteAuth::User | RouteAuth::Session => Role::User,
        }
    }

    /// Whether somebody must be signed in.
    pub fn needs_caller(self) -> bool {
        !matches!(self, RouteAuth::Open | RouteAuth::Anyone)
    }

    /// Its name, in `x-tinybase-auth` of the OpenAPI document.
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
    /// Who.
    pub auth: RouteAuth,
    /// The scope: words with `:` between them; `{name}` stands for a parameter of the path. Empty where no application
    /// token may come, or where the handler asks for scopes itself.
    pub scope: Cow<'static, str>,
}

impl Access {
    /// A route that anyone may call and that looks at no token by itself.
    pub const OPEN: Access = Access { auth: RouteAuth::Open, scope: Cow::Borrowed("") };

    /// A route for people who are signed in.
    pub const SESSION: Access = Access { auth: RouteAuth::Session, scope: Cow::Borrowed("") };

    /// A route for whoever is signed in, or an application token with this scope.
    pub const fn user(scope: &'static str) -> Access {
        Access { auth: RouteAuth::User, scope: Cow::Borrowed(scope) }
    }

    /// A route for viewers and up.
    pub const fn viewer(scope: &'static str) -> Access {
        Access { auth: RouteAuth::Viewer, scope: Cow::Borrowed(scope) }
    }

    /// A route for editors and up.
    pub const fn editor(scope: &'static str) -> Access {
        Access { auth: RouteAuth::Editor, scope: Cow::Borrowed(scope) }
    }

    /// A route for admins.
    pub const fn admin(scope: &'static str) -> Access {
        Access { auth: RouteAuth::Admin, scope: Cow::Borrowed(scope) }
    }

    /// The access of an extension's route that names no scope of its own.
    pub fn of_extension(auth: RouteAuth, extension: &str, method: &Method) -> Access {
        let verb = if [Method::GET, Method::HEAD].contains(method) { "read" } else { "write" };
        let area = if auth.role() > Role::User { "admin:" } else { "" };
        Access { auth, scope: format!("{area}{extension}:{verb}").into() }
    }

    /// The scope of one request; `param` gives the value of a parameter of the path.
    fn scope_of<'p>(&self, param: impl Fn(&str) -> Option<&'p str>) -> String {
        let mut scope = String::with_capacity(self.scope.len());
        for part in self.scope.split_inclusive(['{', '}']) {
            match part.strip_suffix('}') {
                // A value with a `:` of its own must not reach below another's scope.
                Some(name) => {
                    scope.push_str(param(name).filter(|value| !value.contains(':')).unwrap_or("{}"))
                }
                None => scope.push_str(part.strip_suffix('{').unwrap_or(part)),
            }
        }
        scope
    }

    /// Holds a verified caller against what is asked for.
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

    /// Verifies the token that the request carries, if any. Whether its user may do this, [`Access::check`] says.
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

/// The refusal of a request without a token.
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

//! The seam to accounts: who a bearer token belongs to. It never verifies one itself.

use std::sync::Arc;

use futures_util::future::BoxFuture;
use http::HeaderMap;

use super::{Caller, RouteAuth};
use crate::{
    accounts::{Accounts, bearer},
    error::ApiError,
};

/// Verifies tokens.
pub trait Authenticate: Send + Sync + 'static {
    /// Whose access token `token` is; 401 if it does not hold. It is called for every request that carries one.
    fn authenticate<'a>(&'a self, token: &'a str) -> BoxFuture<'a, Result<Arc<Caller>, ApiError>>;
}

impl Authenticate for Accounts {
    fn authenticate<'a>(&'a self, token: &'a str) -> BoxFuture<'a, Result<Arc<Caller>, ApiError>> {
        Box::pin(Accounts::authenticate(self, token))
    }
}

/// Verifies the token that the request carries, if any, and holds it against what the route asks for.
pub(super) async fn authorize(
    authenticator: &dyn Authenticate,
    headers: &HeaderMap,
    wanted: RouteAuth,
) -> Result<Option<Arc<Caller>>, ApiError> {
    let Some(token) = bearer(headers) else {
        return match wanted {
            RouteAuth::Anyone => Ok(None),
            RouteAuth::User | RouteAuth::Admin => Err(ApiError::unauthorized(
                "token_missing",
                "sign in first: send the header Authorization: Bearer <access token>",
            )),
        };
    };
    let caller = authenticator.authenticate(token).await?;
    if wanted == RouteAuth::Admin && !caller.is_admin {
        return Err(ApiError::forbidden("admin_required", "only an administrator may do this"));
    }
    Ok(Some(caller))
}

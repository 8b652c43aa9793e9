//! The routes of accounts: `/api/auth/…` and `/.well-known/jwks.json`. It only moves values between HTTP and the service.

use std::sync::Arc;

use axum::{
    Router,
    extract::{FromRequestParts, State},
    response::Response,
    routing::{get, post},
};
use http::{HeaderMap, HeaderValue, StatusCode, header, request::Parts};

use super::{Accounts, Caller, LoginRequest, RegisterRequest};
use crate::{
    error::ApiError,
    http::extract::{ApiJson, json_response},
};

/// How long others may keep the public keys.
const JWKS_CACHE: &str = "public, max-age=300";

/// Every route of accounts.
pub fn router(accounts: Arc<Accounts>) -> Router {
    Router::new()
        .route("/api/auth/instance-info", get(instance_info))
        .route("/api/auth/setup-status", get(setup_status))
        .route("/api/auth/register", post(register))
        .route("/api/auth/login", post(login))
        .route("/api/auth/me", get(me))
        .route("/api/auth/refresh", post(refresh))
        .route("/api/auth/logout", post(logout))
        .route("/.well-known/jwks.json", get(jwks))
        .with_state(accounts)
}

/// The token of an `Authorization: Bearer` header, if there is exactly one such header.
pub fn bearer(headers: &HeaderMap) -> Option<&str> {
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    let (scheme, token) = values.next()?.to_str().ok()?.split_once(' ')?;
    let token = token.trim();
    (values.next().is_none() && scheme.eq_ignore_ascii_case("bearer") && !token.is_empty()).then_some(token)
}

fn token_missing() -> ApiError {
    ApiError::unauthorized("token_missing", "this needs a signed-in user; send Authorization: Bearer <token>")
}

/// The signed-in caller; 401 for anyone else.
struct SignedIn(Arc<Caller>);

impl FromRequestParts<Arc<Accounts>> for SignedIn {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, accounts: &Arc<Accounts>) -> Result<SignedIn, ApiError> {
        let token = bearer(&parts.headers).ok_or_else(token_missing)?;
        accounts.authenticate(token).await.map(SignedIn)
    }
}

type Answer = Result<Response, ApiError>;

async fn instance_info(State(accounts): State<Arc<Accounts>>) -> Answer {
    Ok(json_response(StatusCode::OK, &accounts.instance_info().await?))
}

async fn setup_status(State(accounts): State<Arc<Accounts>>) -> Answer {
    Ok(json_response(StatusCode::OK, &accounts.setup_status().await?))
}

async fn register(
    State(accounts): State<Arc<Accounts>>,
    ApiJson(request): ApiJson<RegisterRequest>,
) -> Answer {
    Ok(json_response(StatusCode::CREATED, &accounts.register(request).await?))
}

async fn login(State(accounts): State<Arc<Accounts>>, ApiJson(request): ApiJson<LoginRequest>) -> Answer {
    accounts.login(request).await.map(|answer| secret(&answer))
}

async fn me(State(accounts): State<Arc<Accounts>>, SignedIn(caller): SignedIn) -> Answer {
    Ok(json_response(StatusCode::OK, &accounts.me(&caller).await?))
}

async fn refresh(State(accounts): State<Arc<Accounts>>, headers: HeaderMap) -> Answer {
    let token = bearer(&headers).ok_or_else(token_missing)?;
    accounts.refresh(token).await.map(|answer| secret(&answer))
}

async fn logout(State(accounts): State<Arc<Accounts>>, SignedIn(caller): SignedIn) -> Answer {
    Ok(json_response(StatusCode::OK, &accounts.logout(&caller).await?))
}

async fn jwks(State(accounts): State<Arc<Accounts>>) -> Response {
    let mut response = json_response(StatusCode::OK, accounts.jwk_set());
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static(JWKS_CACHE));
    response
}

/// An answer with tokens in it, which nothing on the way may keep.
fn secret(answer: &super::LoginAnswer) -> Response {
    let mut response = json_response(StatusCode::OK, answer);
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bearer_token_is_read_from_one_header_alone() {
        let cases: [(&[&str], Option<&str>); 8] = [
            (&["Bearer abc"], Some("abc")),
            (&["bearer  abc "], Some("abc")),
            (&["Bearer "], None),
            (&["Bearer"], None),
            (&["Basic abc"], None),
            (&["abc"], None),
            (&[], None),
            (&["Bearer abc", "Bearer def"], None),
        ];
        for (values, expected) in cases {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(header::AUTHORIZATION, HeaderValue::from_str(value).unwrap());
            }
            assert_eq!(bearer(&headers), expected, "{values:?}");
        }
    }
}

//! The routes of accounts: `/api/auth/…` and `/.well-known/jwks.json`. It only moves values between HTTP and the service.

use std::sync::Arc;

use axum::{extract::State, response::Response};
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use serde::Serialize;

use super::{
    Accounts, Client, LoginRequest, RegisterRequest, link_routes, login_page, mfa, operations, session_routes,
};
use crate::{
    audit::Actor,
    error::ApiError,
    http::{
        Access, HostRoutes, SignedIn,
        extract::{ApiJson, json_response},
        token_missing,
    },
};

/// How long clients and proxies may cache the public keys.
const JWKS_CACHE: &str = "public, max-age=300";

/// Adds every route of accounts.
pub fn routes(own: &mut HostRoutes, accounts: Arc<Accounts>) {
    link_routes::add(own, Arc::clone(&accounts));
    login_page::add(own, Arc::clone(&accounts));
    session_routes::add(own, Arc::clone(&accounts));
    mfa::add_routes(own, Arc::clone(&accounts));
    own.with(accounts)
        .route(
            Method::GET,
            "/api/auth/instance-info",
            Access::OPEN,
            instance_info,
            operations::instance_info().into(),
        )
        .route(
            Method::GET,
            "/api/auth/setup-status",
            Access::OPEN,
            setup_status,
            operations::setup_status().into(),
        )
        .route(Method::POST, "/api/auth/register", Access::OPEN, register, operations::register().into())
        .route(Method::POST, "/api/auth/login", Access::OPEN, login, mfa::login_operation())
        .route(Method::GET, "/api/auth/me", Access::user("account:read"), me, operations::me().into())
        .route(Method::POST, "/api/auth/refresh", Access::OPEN, refresh, operations::refresh())
        .route(Method::POST, "/api/auth/logout", Access::SESSION, logout, operations::logout().into())
        .route(Method::GET, "/.well-known/jwks.json", Access::OPEN, jwks, operations::jwks().into());
}

/// Returns the token of the `Authorization: Bearer` header, if there is exactly one such header.
pub fn bearer(headers: &HeaderMap) -> Option<&str> {
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    let (scheme, token) = values.next()?.to_str().ok()?.split_once(' ')?;
    let token = token.trim();
    (values.next().is_none() && scheme.eq_ignore_ascii_case("bearer") && !token.is_empty()).then_some(token)
}

pub(super) type Answer = Result<Response, ApiError>;

async fn instance_info(State(accounts): State<Arc<Accounts>>) -> Answer {
    Ok(json_response(StatusCode::OK, &accounts.instance_info().await?))
}

async fn setup_status(State(accounts): State<Arc<Accounts>>, client: Client) -> Answer {
    Ok(json_response(StatusCode::OK, &accounts.setup_status(&client).await?))
}

async fn register(
    State(accounts): State<Arc<Accounts>>,
    actor: Actor,
    ApiJson(request): ApiJson<RegisterRequest>,
) -> Answer {
    Ok(json_response(StatusCode::CREATED, &accounts.register(request, &actor).await?))
}

async fn login(
    State(accounts): State<Arc<Accounts>>,
    client: Client,
    ApiJson(request): ApiJson<LoginRequest>,
) -> Answer {
    accounts.login(request, &client).await.map(|answer| secret(&answer))
}

async fn me(State(accounts): State<Arc<Accounts>>, SignedIn(caller): SignedIn) -> Answer {
    Ok(json_response(StatusCode::OK, &accounts.me(&caller).await?))
}

async fn refresh(State(accounts): State<Arc<Accounts>>, client: Client, headers: HeaderMap) -> Answer {
    let token = bearer(&headers).ok_or_else(token_missing)?;
    accounts.refresh(token, &client).await.map(|answer| secret(&answer))
}

async fn logout(State(accounts): State<Arc<Accounts>>, SignedIn(caller): SignedIn, actor: Actor) -> Answer {
    Ok(json_response(StatusCode::OK, &accounts.logout(&caller, &actor).await?))
}

async fn jwks(State(accounts): State<Arc<Accounts>>) -> Response {
    let mut response = json_response(StatusCode::OK, accounts.jwk_set());
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static(JWKS_CACHE));
    response
}

/// Builds a response with tokens or other secrets, which nothing on the way may cache.
pub(super) fn secret(answer: &impl Serialize) -> Response {
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

//! The routes of the second factor: `/api/auth/mfa/…`. It only moves values between HTTP and the service.

use std::sync::Arc;

use axum::{
    extract::State,
    response::{IntoResponse, Response},
};
use http::{Method, StatusCode};

use super::{
    operations,
    requests::{BothRequest, CodeRequest, PasswordRequest, VerifyRequest},
};
use crate::{
    accounts::{Accounts, Client, routes::secret},
    audit::Actor,
    error::ApiError,
    http::{
        Access, HostRoutes, SignedIn,
        extract::{ApiJson, json_response},
    },
};

/// Adds every route of the second factor.
pub(in crate::accounts) fn add(own: &mut HostRoutes, accounts: Arc<Accounts>) {
    let path = "/api/auth/mfa";
    let totp = "/api/auth/mfa/totp";
    own.with(accounts)
        .route(Method::GET, path, Access::SESSION, status, operations::status())
        .route(Method::POST, "/api/auth/mfa/totp/enrol", Access::SESSION, enrol, operations::enrol())
        .route(Method::POST, "/api/auth/mfa/totp/confirm", Access::SESSION, confirm, operations::confirm())
        .route(Method::DELETE, totp, Access::SESSION, remove, operations::remove())
        .route(Method::POST, "/api/auth/mfa/recovery-codes", Access::SESSION, renew, operations::renew())
        .route(Method::POST, "/api/auth/mfa/verify", Access::OPEN, verify, operations::verify());
}

type Answer = Result<Response, ApiError>;

async fn status(State(accounts): State<Arc<Accounts>>, SignedIn(caller): SignedIn) -> Answer {
    Ok(json_response(StatusCode::OK, &accounts.mfa_status(&caller).await?))
}

async fn enrol(
    State(accounts): State<Arc<Accounts>>,
    SignedIn(caller): SignedIn,
    ApiJson(request): ApiJson<PasswordRequest>,
) -> Answer {
    Ok(secret(&accounts.enroll_totp(&caller, request.password).await?))
}

async fn confirm(
    State(accounts): State<Arc<Accounts>>,
    SignedIn(caller): SignedIn,
    actor: Actor,
    ApiJson(request): ApiJson<CodeRequest>,
) -> Answer {
    Ok(secret(&accounts.confirm_totp(&caller, &request.code, &actor).await?))
}

async fn remove(
    State(accounts): State<Arc<Accounts>>,
    SignedIn(caller): SignedIn,
    actor: Actor,
    ApiJson(request): ApiJson<BothRequest>,
) -> Answer {
    accounts.remove_totp(&caller, request, &actor).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

async fn renew(
    State(accounts): State<Arc<Accounts>>,
    SignedIn(caller): SignedIn,
    actor: Actor,
    ApiJson(request): ApiJson<BothRequest>,
) -> Answer {
    Ok(secret(&accounts.renew_recovery_codes(&caller, request, &actor).await?))
}

async fn verify(
    State(accounts): State<Arc<Accounts>>,
    client: Client,
    ApiJson(request): ApiJson<VerifyRequest>,
) -> Answer {
    Ok(secret(&accounts.verify_second_factor(request, &client).await?))
}

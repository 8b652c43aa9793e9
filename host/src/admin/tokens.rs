//! `/api/admin/application-tokens`. The accounts module defines what a token is and when it works.

use std::sync::Arc;

use axum::{
    extract::{Path, RawQuery, State},
    response::{IntoResponse, Response},
};
use http::{HeaderValue, Method, StatusCode, header};
use serde::Serialize;
use serde_json::{Value as Json, json};

use super::known_scopes::KnownScopes;
use crate::{
    accounts::{
        Accounts, DESCRIPTION_CHARS_MAX, EXPIRES_DAYS_MAX, NAME_CHARS_MAX, NewToken, ROLES_SCOPE,
        SCOPE_BYTES_MAX, SCOPES_DEFAULT, SCOPES_MAX, TokenAnswer, TokenChange, TokenCreated,
    },
    audit::Actor,
    error::ApiError,
    http::{
        Access, HostRoutes, SignedIn,
        etag::{self, IfMatch},
        extract::{ApiJson, json_response},
        operation::{Operation, operation, schema},
        query::Query,
    },
    plugins::Plugins,
};

const READ: Access = Access::viewer("admin:application-tokens:read");
const WRITE: Access = Access::admin("admin:application-tokens:write");
const ALL: &str = "/api/admin/application-tokens";
const ONE: &str = "/api/admin/application-tokens/{id}";

type Answer = Result<Response, ApiError>;

/// The state that the handlers share.
#[derive(Clone)]
struct Tokens {
    accounts: Arc<Accounts>,
    known: Arc<KnownScopes>,
}

/// Adds the routes. Must be called after all other routes of the host were added to `own`, because their scopes are
/// collected here.
pub(super) fn routes(own: &mut HostRoutes, accounts: Arc<Accounts>, plugins: Arc<Plugins>) {
    let known = Arc::new(KnownScopes::new(own, &[ROLES_SCOPE, &READ.scope, &WRITE.scope], plugins));
    own.with(Tokens { accounts, known })
        .route(Method::GET, ALL, READ, list, list_operation().into())
        .route(Method::POST, ALL, WRITE, create, create_operation().into())
        .route(Method::GET, ONE, READ, read, read_operation().into())
        .route(Method::PATCH, ONE, WRITE, update, update_operation().into())
        .route(Method::DELETE, ONE, WRITE, delete, delete_operation().into());
}

async fn list(State(tokens): State<Tokens>, RawQuery(query): RawQuery) -> Answer {
    let mut query = Query::parse(query.as_deref(), &["limit", "offset"]);
    let page = query.page();
    query.finish()?;
    Ok(json_response(StatusCode::OK, &tokens.accounts.list_application_tokens(page).await?))
}

/// A new token, with warnings about the request.
#[derive(Serialize)]
struct Created {
    #[serde(flatten)]
    created: TokenCreated,
    warnings: Vec<String>,
}

async fn create(
    State(tokens): State<Tokens>,
    SignedIn(caller): SignedIn,
    actor: Actor,
    ApiJson(new): ApiJson<NewToken>,
) -> Answer {
    let warnings = tokens.known.warnings(&new.asked);
    let created = tokens.accounts.create_application_token(&caller, &actor, new).await?;
    let tag = created.token.tag();
    let mut response = json_response(StatusCode::CREATED, &Created { created, warnings });
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(etag::tagged(response, &tag))
}

async fn read(State(tokens): State<Tokens>, Path(id): Path<String>) -> Answer {
    Ok(answer(&tokens.accounts.application_token(&id).await?))
}

async fn update(
    State(tokens): State<Tokens>,
    Path(id): Path<String>,
    SignedIn(caller): SignedIn,
    actor: Actor,
    if_match: IfMatch,
    ApiJson(change): ApiJson<TokenChange>,
) -> Answer {
    Ok(answer(&tokens.accounts.update_application_token(&caller, &actor, &id, &if_match, change).await?))
}

async fn delete(
    State(tokens): State<Tokens>,
    Path(id): Path<String>,
    actor: Actor,
    if_match: IfMatch,
) -> Answer {
    tokens.accounts.delete_application_token(&actor, &id, &if_match).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// Returns a token with its ETag.
fn answer(token: &TokenAnswer) -> Response {
    etag::tagged(json_response(StatusCode::OK, token), &token.tag())
}

fn named(id: &str, summary: &str) -> Operation {
    operation(id, "application tokens", summary)
}

fn missing(operation: Operation) -> Operation {
    operation.refuses(404, "There is no such application token.")
}

/// Returns the schema of an application token.
fn token() -> Json {
    let fields = [
        ("id", schema::id()),
        ("name", schema::text()),
        ("description", schema::nullable(schema::text())),
        ("scopes", schema::list(schema::text())),
        ("user_id", schema::id()),
        ("user_email", schema::text()),
        ("created_at", schema::time()),
        ("last_used_at", schema::nullable(schema::time())),
        ("expires_at", schema::nullable(schema::time())),
        ("parent_id", schema::nullable(schema::id())),
        ("is_active", schema::flag()),
        ("is_valid", schema::flag()),
    ];
    schema::named("ApplicationToken", schema::object(&fields))
}

fn list_operation() -> Operation {
    named("listApplicationTokens", "Application tokens, those made last first").paged().answers(
        200,
        "A page of application tokens.",
        schema::page("tokens", token()),
    )
}

fn read_operation() -> Operation {
    missing(named("getApplicationToken", "An application token")).answers_tagged(200, "The token.", token())
}

fn scopes() -> Json {
    let mut scopes = schema::list(schema::text_of(1, SCOPE_BYTES_MAX));
    scopes["maxItems"] = SCOPES_MAX.into();
    scopes
}

fn create_operation() -> Operation {
    let mut scopes = schema::nullable(scopes());
    scopes["default"] = json!(SCOPES_DEFAULT);
    let days = json!({"type": ["integer", "null"], "minimum": 1, "maximum": EXPIRES_DAYS_MAX});
    let fields = [
        ("name", schema::text_of(1, NAME_CHARS_MAX)),
        ("description", schema::nullable(schema::text_of(0, DESCRIPTION_CHARS_MAX))),
        ("expires_days", days),
        ("scopes", scopes),
    ];
    let answer =
        [("token", token()), ("token_value", schema::text()), ("warnings", schema::list(schema::text()))];
    named("createApplicationToken", "Make an application token that acts in the caller's name")
        .describe(
            "The value is told this once. The token reaches as far as its maker's role does at the time of each request, \
             within its scopes. A scope that no route asks for is taken, and named in `warnings`.",
        )
        .body(schema::input(&["name"], &fields))
        .answers_tagged(201, "The token and its value.", schema::object(&answer))
}

fn update_operation() -> Operation {
    let fields = [
        ("name", schema::text_of(1, NAME_CHARS_MAX)),
        ("description", schema::nullable(schema::text_of(0, DESCRIPTION_CHARS_MAX))),
        ("scopes", schema::nullable(scopes())),
        ("is_active", schema::flag()),
    ];
    missing(named("updateApplicationToken", "Change an application token, or switch it off or on"))
        .changes_tagged()
        .body(schema::input(&[], &fields))
        .answers_tagged(200, "The token.", token())
}

fn delete_operation() -> Operation {
    missing(named("deleteApplicationToken", "End an application token for good"))
        .changes_tagged()
        .answers_empty(204, "The token is ended.")
}

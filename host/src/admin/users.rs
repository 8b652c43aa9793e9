//! `/api/admin/users`. The accounts module decides who may change whom.

use std::sync::Arc;

use axum::{
    extract::{Path, RawQuery, State},
    response::{IntoResponse, Response},
};
use http::{Method, StatusCode};
use serde_json::Value as Json;

use crate::{
    accounts::{Accounts, NewUser, Role, UserAnswer, UserChange, UserSort, UsersAsked},
    audit::Actor,
    error::ApiError,
    http::{
        Access, HostRoutes, SignedIn,
        etag::{self, IfMatch},
        extract::{ApiJson, json_response},
        operation::{Operation, operation, schema},
        query::Query,
    },
};

const READ: Access = Access::viewer("admin:users:read");
const WRITE: Access = Access::editor("admin:users:write");
const ALL: &str = "/api/admin/users";
const ONE: &str = "/api/admin/users/{id}";
const ROLES: [&str; 4] = ["user", "viewer", "editor", "admin"];
/// The longest search text for emails, in characters.
const SEARCH_CHARS_MAX: usize = 254;

type Answer = Result<Response, ApiError>;

/// Adds the routes.
pub(super) fn routes(own: &mut HostRoutes, accounts: Arc<Accounts>) {
    own.with(accounts)
        .route(Method::GET, ALL, READ, list, list_operation().into())
        .route(Method::POST, ALL, WRITE, create, create_operation().into())
        .route(
            Method::GET,
            ONE,
            READ,
            read,
            missing(named("getUser", "A user")).answers_tagged(200, "The user.", user()).into(),
        )
        .route(Method::PATCH, ONE, WRITE, update, update_operation().into())
        .route(Method::DELETE, ONE, WRITE, delete, delete_operation().into())
        .route(
            Method::DELETE,
            "/api/admin/users/{id}/mfa",
            WRITE,
            take_second_factor,
            second_factor_operation().into(),
        );
}

async fn list(State(accounts): State<Arc<Accounts>>, RawQuery(query): RawQuery) -> Answer {
    let names = ["search", "role", "is_active", "sort", "limit", "offset"];
    let mut query = Query::parse(query.as_deref(), &names);
    let asked = UsersAsked {
        search: query.text("search", SEARCH_CHARS_MAX),
        role: query.word("role", &ROLES).and_then(Role::from_name),
        is_active: query.flag("is_active"),
        sort: query.word("sort", &UserSort::NAMES).and_then(UserSort::from_name).unwrap_or_default(),
        page: query.page(),
    };
    query.finish()?;
    Ok(json_response(StatusCode::OK, &accounts.list_users(&asked).await?))
}

async fn create(
    State(accounts): State<Arc<Accounts>>,
    SignedIn(caller): SignedIn,
    actor: Actor,
    ApiJson(new): ApiJson<NewUser>,
) -> Answer {
    Ok(answer(StatusCode::CREATED, &accounts.create_user(&caller, &actor, new).await?))
}

async fn read(State(accounts): State<Arc<Accounts>>, Path(id): Path<String>) -> Answer {
    Ok(answer(StatusCode::OK, &accounts.user(&id).await?))
}

async fn update(
    State(accounts): State<Arc<Accounts>>,
    Path(id): Path<String>,
    SignedIn(caller): SignedIn,
    actor: Actor,
    if_match: IfMatch,
    ApiJson(change): ApiJson<UserChange>,
) -> Answer {
    let user = accounts.update_user(&caller, &actor, &id, &if_match, change).await?;
    Ok(answer(StatusCode::OK, &user))
}

async fn delete(
    State(accounts): State<Arc<Accounts>>,
    Path(id): Path<String>,
    SignedIn(caller): SignedIn,
    actor: Actor,
    if_match: IfMatch,
) -> Answer {
    accounts.delete_user(&caller, &actor, &id, &if_match).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

async fn take_second_factor(
    State(accounts): State<Arc<Accounts>>,
    Path(id): Path<String>,
    SignedIn(caller): SignedIn,
    actor: Actor,
) -> Answer {
    accounts.take_second_factor(&caller, &actor, &id).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// Returns a user with its ETag.
fn answer(status: StatusCode, user: &UserAnswer) -> Response {
    etag::tagged(json_response(status, user), &user.tag())
}

fn named(id: &str, summary: &str) -> Operation {
    operation(id, "users", summary)
}

fn missing(operation: Operation) -> Operation {
    operation.refuses(404, "There is no such user.")
}

/// Returns the schema of a user.
fn user() -> Json {
    let fields = [
        ("id", schema::id()),
        ("email", schema::text()),
        ("is_admin", schema::flag()),
        ("role", schema::one_of(&ROLES)),
        ("is_active", schema::flag()),
        ("mfa_enabled", schema::flag()),
        ("last_login_at", schema::nullable(schema::time())),
        ("created_at", schema::time()),
        ("updated_at", schema::time()),
    ];
    schema::named("User", schema::object(&fields))
}

fn list_operation() -> Operation {
    named("listUsers", "Users, those created last first")
        .query("search", schema::text_of(0, SEARCH_CHARS_MAX), "A part of the email, in any case.")
        .query("role", schema::one_of(&ROLES), "The role.")
        .query("is_active", schema::flag(), "Whether the user may sign in.")
        .query("sort", schema::one_of(&UserSort::NAMES), "The order; - is from the end.")
        .paged()
        .answers(200, "A page of users.", schema::page("users", user()))
}

fn body(required: &[&str]) -> Json {
    let fields = [
        ("email", schema::text()),
        ("password", schema::text_of(8, 256)),
        ("role", schema::one_of(&ROLES)),
        ("is_admin", schema::flag()),
        ("is_active", schema::flag()),
    ];
    schema::input(required, &fields)
}

fn create_operation() -> Operation {
    named("createUser", "Create a user")
        .describe("Roles other than `user` are given by administrators alone. `is_admin: true` is `role: \"admin\"`.")
        .body(body(&["email", "password"]))
        .answers_tagged(201, "The user.", user())
        .refuses(400, "The email is taken.")
}

fn update_operation() -> Operation {
    missing(named("updateUser", "Change a user"))
        .describe(
            "A new password or email, and `is_active: false`, end the user's sessions. Users who have a role are \
             changed by administrators alone.",
        )
        .changes_tagged()
        .body(body(&[]))
        .answers_tagged(200, "The user.", user())
        .refuses(400, "The email is taken, this is the last admin, or the caller's own account.")
}

fn delete_operation() -> Operation {
    missing(named("deleteUser", "Delete a user"))
        .changes_tagged()
        .answers_empty(204, "The user is deleted.")
        .refuses(400, "This is the last admin, or the caller's own account.")
        .refuses(409, "Records refer to the user and may not lose it.")
}

fn second_factor_operation() -> Operation {
    missing(named("deleteUserSecondFactor", "Take a user's second factor away, which was lost"))
        .answers_empty(204, "The user signs in with the password alone.")
        .refuses(409, "The user has no second factor.")
}

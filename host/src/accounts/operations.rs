//! The OpenAPI operations of registration, sign-in, sign-out and public information. It never decides what they do.

use serde_json::{Value as Json, json};

use super::mfa;
use crate::http::operation::{Operation, operation, schema};

const TAG: &str = "accounts";

pub(super) fn instance_info() -> Operation {
    operation("getInstanceInfo", TAG, "What anyone may know of this instance").answers(
        200,
        "It.",
        schema::object(&[("instance_name", schema::text())]),
    )
}

pub(super) fn setup_status() -> Operation {
    operation("getSetupStatus", TAG, "Whether the first login is still to come").answers(
        200,
        "`needs_setup` is true while there is no user; the first login then creates an admin. `setup_token_required` tells \
         whether that login must carry the setup token.",
        schema::object(&[("needs_setup", schema::flag()), ("setup_token_required", schema::flag())]),
    )
}

pub(super) fn register() -> Operation {
    let fields = [("email", schema::email()), ("password", schema::text_of(8, 256))];
    let answer = [("id", schema::id()), ("email", schema::text()), ("message", schema::text())];
    operation("register", TAG, "Create an account")
        .body(schema::input(&["email", "password"], &fields))
        .answers(201, "The account.", schema::object(&answer))
        .refuses(400, "There is an account of this email already.")
        .refuses(403, "This instance lets nobody register, or has no administrator yet.")
}

pub(super) fn me() -> Operation {
    let answer = [
        ("id", schema::id()),
        ("email", schema::text()),
        ("is_admin", schema::flag()),
        ("role", schema::one_of(&["user", "viewer", "editor", "admin"])),
        ("created_at", schema::time()),
    ];
    operation("getMe", TAG, "The caller's account").answers(200, "It.", schema::object(&answer))
}

pub(super) fn refresh() -> Json {
    let mut operation: Json = operation("refresh", TAG, "Replace a refresh token by new tokens")
        .describe(
            "The refresh token is sent as `Authorization: Bearer`. It works once; sent again within \
             `auth.refresh_reuse_interval_seconds`, it gets the same pair.",
        )
        .answers(200, "The session's new tokens.", mfa::session_schema())
        .refuses(400, "What was sent is an access token.")
        .refuses(401, "The token does not hold, or was used before: then its session has ended.")
        .into();
    operation["security"] = json!([{"bearer": []}]);
    operation
}

pub(super) fn logout() -> Operation {
    operation("logout", TAG, "End every session of the caller").answers(
        200,
        "Every token of the caller has stopped working.",
        schema::object(&[("message", schema::text())]),
    )
}

pub(super) fn jwks() -> Operation {
    let key =
        [("kty", schema::text()), ("crv", schema::text()), ("kid", schema::text()), ("x", schema::text())];
    operation("getJwks", TAG, "The public keys of the access tokens").answers(
        200,
        "A JSON Web Key Set.",
        schema::object(&[("keys", schema::list(schema::object(&key)))]),
    )
}

//! The OpenAPI operations of the second factor's routes. It never decides what they do.

use serde_json::{Value as Json, json};

/// Builds an operation from its id, summary, request body, and responses other than the errors of every route.
fn operation(id: &str, summary: &str, body: Option<Json>, answers: &[(&str, &str, Option<Json>)]) -> Json {
    let content = |schema: &Json| json!({"application/json": {"schema": schema}});
    let responses = answers.iter().map(|(status, description, schema)| {
        let mut response = json!({"description": description});
        if let Some(schema) = schema {
            response["content"] = content(schema);
        }
        ((*status).to_owned(), response)
    });
    let mut operation = json!({
        "operationId": id,
        "summary": summary,
        "tags": ["accounts"],
        "responses": responses.collect::<serde_json::Map<_, _>>(),
    });
    if let Some(schema) = body {
        operation["requestBody"] = json!({"required": true, "content": content(&schema)});
    }
    operation
}

fn text() -> Json {
    json!({"type": "string"})
}

/// Returns an object schema whose fields are all required.
fn object(fields: &[(&str, Json)]) -> Json {
    let names = fields.iter().map(|(name, _)| *name).collect::<Vec<_>>();
    let properties = fields.iter().map(|(name, schema)| ((*name).to_owned(), schema.clone()));
    json!({
        "type": "object",
        "required": names,
        "properties": properties.collect::<serde_json::Map<_, _>>(),
    })
}

/// Returns an object schema with one required text field and either `code` or `recovery_code`. The choice is described
/// in text, because generators of clients and requests handle alternatives poorly.
fn with_proof(field: &str) -> Json {
    let mut schema = object(&[(field, text())]);
    for (name, other) in [("code", "recovery_code"), ("recovery_code", "code")] {
        let description = format!("Given where `{other}` is not");
        schema["properties"][name] = json!({"type": ["string", "null"], "description": description});
    }
    schema
}

fn recovery_codes() -> Json {
    object(&[("recovery_codes", json!({"type": "array", "items": {"type": "string"}}))])
}

/// Returns the schema of a session's tokens, the response of every sign-in.
pub(in crate::accounts) fn session() -> Json {
    object(&[
        ("access_token", text()),
        ("refresh_token", text()),
        ("token_type", json!({"const": "bearer"})),
        ("user_id", json!({"type": "string", "format": "uuid"})),
        ("email", text()),
        ("is_admin", json!({"type": "boolean"})),
        ("admin_created", json!({"type": "boolean"})),
    ])
}

/// Returns the schema of the response to a first factor: a session's tokens, or a challenge for the second factor.
fn sign_in_answer() -> Json {
    let asked = object(&[
        ("mfa_required", json!({"const": true})),
        ("mfa_ticket", text()),
        ("expires_in", json!({"type": "integer", "description": "Seconds"})),
        ("methods", json!({"type": "array", "items": {"type": "string", "enum": ["totp", "recovery_code"]}})),
    ]);
    json!({"oneOf": [session(), asked]})
}

const WRONG: (&str, &str, Option<Json>) = ("400", "The code is wrong or was used before", None);
const WRONG_PASSWORD: (&str, &str, Option<Json>) = ("403", "The password is wrong", None);
const CONFLICT: (&str, &str, Option<Json>) = ("409", "The second factor is not in the state for this", None);
const BACKOFF: (&str, &str, Option<Json>) = ("429", "Too many wrong tries", None);

pub(super) fn status() -> Json {
    let answer = object(&[
        ("totp_enabled", json!({"type": "boolean"})),
        ("recovery_codes_left", json!({"type": "integer"})),
    ]);
    operation("getMfa", "How the caller's second factor stands", None, &[("200", "It", Some(answer))])
}

pub(super) fn enrol() -> Json {
    let answer = object(&[("secret", text()), ("otpauth_url", json!({"type": "string", "format": "uri"}))]);
    let answers = [("200", "A secret to be confirmed", Some(answer)), WRONG_PASSWORD, CONFLICT, BACKOFF];
    let body = object(&[("password", text())]);
    operation("enrolTotp", "Make a secret for the caller's authenticator app", Some(body), &answers)
}

pub(super) fn confirm() -> Json {
    let answers = [("200", "Recovery codes, shown this once", Some(recovery_codes())), WRONG, CONFLICT];
    let body = object(&[("code", text())]);
    operation("confirmTotp", "Switch the second factor on by a first code", Some(body), &answers)
}

pub(super) fn remove() -> Json {
    let answers = [("204", "It is off", None), WRONG, WRONG_PASSWORD, CONFLICT, BACKOFF];
    let body = with_proof("password");
    operation("removeTotp", "Switch the caller's second factor off", Some(body), &answers)
}

pub(super) fn renew() -> Json {
    let codes = ("200", "New recovery codes, shown this once", Some(recovery_codes()));
    let answers = [codes, WRONG, WRONG_PASSWORD, CONFLICT, BACKOFF];
    let summary = "Replace the caller's recovery codes";
    operation("renewRecoveryCodes", summary, Some(with_proof("password")), &answers)
}

/// Returns the operation for sign-in with a password.
pub(in crate::accounts) fn login() -> Json {
    let answers = [
        ("200", "A session's tokens, or a ticket for the second factor", Some(sign_in_answer())),
        ("401", "The email or the password is wrong", None),
        ("403", "It would be the first login of all, and lacks the setup token", None),
    ];
    let mut body = object(&[("email", text()), ("password", text())]);
    body["properties"]["setup_token"] = json!({
        "type": ["string", "null"],
        "description": "What the server's log shows, for a first login that is not made on its machine",
    });
    operation("login", "Sign in", Some(body), &answers)
}

pub(super) fn verify() -> Json {
    let wrong = ("401", "The ticket is not valid any more, or the code is wrong", None);
    let answers = [("200", "A session's tokens", Some(session())), wrong, BACKOFF];
    operation("verifyMfa", "Sign in by the second factor", Some(with_proof("mfa_ticket")), &answers)
}

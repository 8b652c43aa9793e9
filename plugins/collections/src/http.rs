//! Reading requests: who calls, and the JSON of a body. It answers nothing.

use tinybase_plugin_api::{Request, Result};

use crate::{access::Caller, error, json::Json};

/// Who calls.
pub(crate) fn caller(request: &Request) -> Caller<'_> {
    match request.caller() {
        None => Caller::default(),
        Some(caller) => {
            Caller { id: Some(caller.user_id()), email: Some(caller.email()), is_admin: caller.is_admin() }
        }
    }
}

/// The body, which must be a JSON object.
pub(crate) fn object(request: &Request) -> Result<Json<'_>> {
    let body = Json::parse_bytes(request.body()).map_err(|fault| error::not_json(&fault))?;
    match body {
        Json::Object(_) => Ok(body),
        other => Err(error::body(&[], "object_type", format!("must be an object, is {}", other.kind()))),
    }
}

/// A member of the body that must be there.
pub(crate) fn member<'a, 'json>(body: &'a Json<'json>, name: &str) -> Result<&'a Json<'json>> {
    body.get(name).ok_or_else(|| error::body(&[name], "missing", "is required"))
}

/// The text of a member that must be there.
pub(crate) fn text<'a>(body: &'a Json<'_>, name: &str) -> Result<&'a str> {
    let value = member(body, name)?;
    value
        .as_text()
        .ok_or_else(|| error::body(&[name], "string_type", format!("must be a string, is {}", value.kind())))
}

/// The `data` of the body, which must be an object.
pub(crate) fn data<'a, 'json>(body: &'a Json<'json>) -> Result<&'a Json<'json>> {
    let data = member(body, "data")?;
    match data {
        Json::Object(_) => Ok(data),
        other => {
            Err(error::body(&["data"], "object_type", format!("must be an object, is {}", other.kind())))
        }
    }
}

/// The time now, as records have it: for rules that ask for it.
pub(crate) fn now() -> String {
    format!("{:.6}", jiff::Timestamp::now())
}

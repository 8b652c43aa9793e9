//! Reads requests: the caller, and the JSON of a body. It sends no response.

use tinybase_plugin_api::{Request, Result};

use crate::{
    access::Caller,
    error,
    json::Json,
    number,
    query::{QueryFault, check_names, value},
};

/// Returns the caller.
pub(crate) fn caller(request: &Request) -> Caller<'_> {
    match request.caller() {
        None => Caller::default(),
        Some(caller) => {
            Caller { id: Some(caller.user_id()), email: Some(caller.email()), is_admin: caller.is_admin() }
        }
    }
}

/// Parses the body, which must be a JSON object.
pub(crate) fn object(request: &Request) -> Result<Json<'_>> {
    let body = Json::parse_bytes(request.body()).map_err(|fault| error::not_json(&fault))?;
    if let Some(number) = number::inexact(request.body()) {
        return Err(error::inexact_number(&number));
    }
    match body {
        Json::Object(_) => Ok(body),
        other => Err(error::body(&[], "object_type", format!("must be an object, is {}", other.kind()))),
    }
}

/// Parses the body, an object that may only have these members; the first `required` of them must be present.
pub(crate) fn object_of<'a>(request: &'a Request, known: &[&str], required: usize) -> Result<Json<'a>> {
    let body = object(request)?;
    check_members(&body, known, required)?;
    Ok(body)
}

/// Refuses unknown members of an object in the body.
pub(crate) fn check_members(object: &Json<'_>, known: &[&str], required: usize) -> Result<()> {
    let members = object.as_object().unwrap_or_default();
    let names = members.iter().map(|(name, _)| &**name);
    let unknown: Vec<&str> = names.filter(|name| !known.contains(name)).collect();
    if unknown.is_empty() {
        return Ok(());
    }
    let missing: Vec<&str> =
        known[..required].iter().copied().filter(|name| object.get(name).is_none()).collect();
    Err(error::extra("invalid_body", &["body"], (&missing, &unknown), known))
}

/// Refuses unknown query parameters.
pub(crate) fn check_query(request: &Request, known: &'static [&'static str]) -> Result<(), QueryFault> {
    if request.query().is_empty() {
        return Ok(());
    }
    let pairs: Vec<_> = request.query_pairs().collect();
    check_names(&pairs, known)?;
    known.iter().try_for_each(|name| value(&pairs, name).map(drop))
}

/// Returns whether the caller may see the rules of collections.
pub(crate) fn sees_rules(request: &Request) -> bool {
    request.caller().is_some_and(|caller| matches!(caller.role(), "editor" | "admin"))
}

/// Returns a required member of the body.
pub(crate) fn member<'a, 'json>(body: &'a Json<'json>, name: &str) -> Result<&'a Json<'json>> {
    body.get(name).ok_or_else(|| error::body(&[name], "missing", "is required"))
}

/// Returns the text of a required member.
pub(crate) fn text<'a>(body: &'a Json<'_>, name: &str) -> Result<&'a str> {
    let value = member(body, name)?;
    value
        .as_text()
        .ok_or_else(|| error::body(&[name], "string_type", format!("must be a string, is {}", value.kind())))
}

/// Returns the `data` of the body, which must be an object.
pub(crate) fn data<'a, 'json>(body: &'a Json<'json>) -> Result<&'a Json<'json>> {
    let data = member(body, "data")?;
    match data {
        Json::Object(_) => Ok(data),
        other => {
            Err(error::body(&["data"], "object_type", format!("must be an object, is {}", other.kind())))
        }
    }
}

/// Returns the current time in the format of records, for rules that use it.
pub(crate) fn now() -> String {
    format!("{:.6}", jiff::Timestamp::now())
}

//! Reads the JSON bodies of the host's own routes. A response lists all faults of a body at once, each with its
//! location; unknown fields are faults too. It never reads a body of a plugin's route.

use std::ops::RangeInclusive;

use axum::{
    body::{Body, Bytes},
    extract::{FromRequest, Request},
    response::Response,
};
use http::{HeaderValue, StatusCode, header};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use serde::Serialize;
use serde_json::{Map, Value};

use super::BodyError;
use crate::{
    error::{ApiError, Fault},
    nearest::nearest,
};

/// The largest body of one of the host's own JSON routes, in bytes.
pub const OWN_BODY_BYTES_MAX: usize = 64 << 10;

/// The maximum number of unknown names in one response.
pub(super) const UNKNOWN_NAMES_MAX: usize = 20;

/// The body of one of the host's own routes.
pub trait Input: Sized {
    /// Reads the input from the object's fields. Returns `None` only if `fields` has a fault. It must read every field
    /// that the route knows, even after a fault: a field that is not read is refused as unknown.
    fn read(fields: &mut Fields) -> Option<Self>;
}

/// The fields of a JSON object, with the faults found so far.
#[derive(Debug, Default)]
pub struct Fields {
    object: Map<String, Value>,
    faults: Vec<Fault>,
    known: Vec<&'static str>,
}

impl Fields {
    /// Records a fault of the field `name`.
    pub fn fault(&mut self, name: &str, msg: impl Into<String>, kind: &'static str) {
        self.faults.push(Fault::new(["body".to_owned(), name.to_owned()], msg, kind));
    }

    /// Records that the route knows a field of this name.
    fn know(&mut self, name: &'static str) {
        if !self.known.contains(&name) {
            self.known.push(name);
        }
    }

    /// Records a fault for every field that was not read.
    fn refuse_unknown(&mut self) {
        let known = std::mem::take(&mut self.known);
        let unknown = self.rest().into_iter().map(|(name, _)| name);
        for name in unknown.filter(|name| !known.contains(&name.as_str())).take(UNKNOWN_NAMES_MAX) {
            let msg = unknown_name("field", &name, &known);
            match is_plain(&name) {
                true => self.fault(&name, msg, "extra_forbidden"),
                false => self.faults.push(Fault::new(["body"], msg, "extra_forbidden")),
            }
        }
    }

    /// Reads a required text.
    pub fn text(&mut self, name: &'static str) -> Option<String> {
        self.know(name);
        match self.object.remove(name) {
            Some(Value::String(text)) => return Some(text),
            Some(_) => self.fault(name, "this must be text", "string_type"),
            None => self.fault(name, "this field is required", "missing"),
        }
        None
    }

    /// Reads an optional text; `Some(None)` if it is missing.
    pub fn optional_text(&mut self, name: &'static str) -> Option<Option<String>> {
        self.know(name);
        match self.object.get(name) {
            None | Some(Value::Null) => Some(None),
            Some(_) => self.text(name).map(Some),
        }
    }

    /// Reads a required text of `min` to `max` characters.
    pub fn text_of(&mut self, name: &'static str, min: usize, max: usize) -> Option<String> {
        let text = self.text(name)?;
        match text.chars().count() {
            count if count < min => {
                self.fault(name, format!("this has at least {min} characters"), "string_too_short");
            }
            count if count > max => {
                self.fault(name, format!("this has at most {max} characters"), "string_too_long");
            }
            _ => return Some(text),
        }
        None
    }

    /// Returns whether the field is present and not null.
    pub fn has(&mut self, name: &'static str) -> bool {
        self.know(name);
        self.object.get(name).is_some_and(|value| !value.is_null())
    }

    /// Returns whether the field is present and null, which removes its value.
    pub fn is_null(&mut self, name: &'static str) -> bool {
        self.know(name);
        self.object.get(name).is_some_and(Value::is_null)
    }

    /// Takes every field that was not read yet, as it was sent.
    pub fn rest(&mut self) -> Map<String, Value> {
        std::mem::take(&mut self.object)
    }

    /// Reads an optional integer within `allowed`; `Some(None)` if it is missing.
    pub fn optional_integer(
        &mut self,
        name: &'static str,
        allowed: RangeInclusive<i64>,
    ) -> Option<Option<i64>> {
        self.know(name);
        let Some(value) = self.object.remove(name).filter(|value| !value.is_null()) else {
            return Some(None);
        };
        let number = value.as_i64().filter(|number| allowed.contains(number));
        if number.is_none() {
            let (least, most) = (allowed.start(), allowed.end());
            self.fault(name, format!("this must be a whole number from {least} to {most}"), "int_type");
        }
        number.map(Some)
    }

    /// Reads an optional list of texts; `Some(None)` if it is missing.
    pub fn optional_texts(&mut self, name: &'static str) -> Option<Option<Vec<String>>> {
        self.know(name);
        let Some(value) = self.object.remove(name).filter(|value| !value.is_null()) else {
            return Some(None);
        };
        let texts = match value {
            Value::Array(items) => items
                .into_iter()
                .map(|item| if let Value::String(text) = item { Some(text) } else { None })
                .collect::<Option<Vec<_>>>(),
            _ => None,
        };
        if texts.is_none() {
            self.fault(name, "this must be a list of texts", "list_type");
        }
        texts.map(Some)
    }

    /// Reads an optional boolean; `Some(None)` if it is missing.
    pub fn optional_flag(&mut self, name: &'static str) -> Option<Option<bool>> {
        self.know(name);
        match self.object.remove(name) {
            None | Some(Value::Null) => Some(None),
            Some(Value::Bool(flag)) => Some(Some(flag)),
            Some(_) => {
                self.fault(name, "this must be true or false", "bool_type");
                None
            }
        }
    }
}

/// Returns the message about an unknown field or query parameter.
pub(crate) fn unknown_name(kind: &str, name: &str, known: &[&str]) -> String {
    if known.is_empty() {
        return format!("there is no such {kind}; there is none at all");
    }
    match nearest(name, known.iter().copied()) {
        Some(meant) => format!("there is no such {kind}; did you mean {meant}?"),
        None => format!("there is no such {kind}; there are {}", known.join(", ")),
    }
}

/// Returns whether the name looks like a field name. Others, such as a password in the wrong place, are not repeated.
fn is_plain(name: &str) -> bool {
    const BYTES_MAX: usize = 64;
    let is_word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    (1..=BYTES_MAX).contains(&name.len()) && name.bytes().all(is_word)
}

/// Returns whether this content type is JSON. A page of another site can send other types without a CORS preflight, so
/// they are refused.
pub(super) fn is_json(content_type: &HeaderValue) -> bool {
    let essence = content_type.as_bytes().split(|byte| *byte == b';').next().unwrap_or_default();
    let essence = essence.trim_ascii().to_ascii_lowercase();
    essence == b"application/json" || (essence.starts_with(b"application/") && essence.ends_with(b"+json"))
}

/// Parses `body` as a `T`; fails with 422 and all faults otherwise.
pub fn read_json<T: Input>(body: &[u8]) -> Result<T, ApiError> {
    let value = serde_json::from_slice::<Value>(body).map_err(|error| {
        let msg = format!("this is not JSON: {error}");
        ApiError::unprocessable_at(["body"], msg, "json_invalid")
    })?;
    let Value::Object(object) = value else {
        return Err(ApiError::unprocessable_at(["body"], "this must be an object", "model_attributes_type"));
    };
    let mut fields = Fields { object, ..Fields::default() };
    let input = T::read(&mut fields);
    fields.refuse_unknown();
    match input {
        Some(input) if fields.faults.is_empty() => Ok(input),
        _ => Err(ApiError::unprocessable(fields.faults)),
    }
}

/// The parsed and validated JSON body of a request.
#[derive(Debug)]
pub struct ApiJson<T>(pub T);

impl<S: Send + Sync, T: Input> FromRequest<S> for ApiJson<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, _state: &S) -> Result<ApiJson<T>, ApiError> {
        let body = read_body(request.into_body(), OWN_BODY_BYTES_MAX).await?;
        read_json(&body).map(ApiJson)
    }
}

/// Returns `value` as a JSON response.
pub fn json_response(status: StatusCode, value: &impl Serialize) -> Response {
    let json = serde_json::to_vec(value).expect("an answer of the host's has text keys and finite numbers");
    let mut response = Response::new(Body::from(json));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

async fn read_body(body: Body, bytes_max: usize) -> Result<Bytes, ApiError> {
    match Limited::new(body, bytes_max).collect().await {
        Ok(collected) => Ok(collected.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => Err(BodyError::TooLarge(bytes_max).into()),
        Err(error) => Err(BodyError::find(&*error).cloned().unwrap_or(BodyError::Broken).into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, PartialEq)]
    struct Sample {
        name: String,
        note: Option<String>,
        on: Option<bool>,
    }

    impl Input for Sample {
        fn read(fields: &mut Fields) -> Option<Sample> {
            let (name, note, on) =
                (fields.text("name"), fields.optional_text("note"), fields.optional_flag("on"));
            Some(Sample { name: name?, note: note?, on: on? })
        }
    }

    #[test]
    fn every_fault_is_told_with_its_place() {
        let cases = [
            ("{", r#"["body"] json_invalid"#),
            ("", r#"["body"] json_invalid"#),
            ("[]", r#"["body"] model_attributes_type"#),
            ("null", r#"["body"] model_attributes_type"#),
            ("{}", r#"["body","name"] missing"#),
            (r#"{"name": null}"#, r#"["body","name"] string_type"#),
            (
                r#"{"name": 1, "note": [], "on": "yes"}"#,
                r#"["body","name"] string_type; ["body","note"] string_type; ["body","on"] bool_type"#,
            ),
            (r#"{"name": "a", "other": null}"#, r#"["body","other"] extra_forbidden"#),
            (
                r#"{"naem": "a", "": 1}"#,
                r#"["body","name"] missing; ["body","naem"] extra_forbidden; ["body"] extra_forbidden"#,
            ),
        ];
        for (body, expected) in cases {
            let error = read_json::<Sample>(body.as_bytes()).unwrap_err();
            let answer = serde_json::from_slice::<Value>(&error.to_json()).unwrap();
            let told = answer["detail"].as_array().unwrap().iter();
            let told = told.map(|fault| format!("{} {}", fault["loc"], fault["type"].as_str().unwrap()));
            assert_eq!(
                (error.status.as_u16(), told.collect::<Vec<_>>().join("; ").as_str()),
                (422, expected)
            );
        }
        let deep = format!("{}1{}", "[".repeat(100_000), "]".repeat(100_000));
        assert_eq!(read_json::<Sample>(deep.as_bytes()).unwrap_err().status.as_u16(), 422);
        assert_eq!(read_json::<Sample>(b"{\"name\": \"\xff\"}").unwrap_err().status.as_u16(), 422);
    }

    #[test]
    fn what_is_optional_may_be_missing_or_null() {
        let read = read_json::<Sample>(br#"{"name": "a", "note": null}"#).unwrap();
        assert_eq!(read, Sample { name: "a".into(), note: None, on: None });
    }

    #[test]
    fn an_unknown_field_is_told_with_the_one_that_was_meant() {
        let told = |body: &str| read_json::<Sample>(body.as_bytes()).unwrap_err().to_string();
        let meant = told(r#"{"name": "a", "nots": 1}"#);
        assert_eq!(meant, "there is no such field; did you mean note?");
        let listed = told(r#"{"name": "a", "password": 1}"#);
        assert_eq!(listed, "there is no such field; there are name, note, on");
        let many = (0..9_000).map(|number| format!("\"k{number}\":1,")).collect::<String>();
        let refused = read_json::<Sample>(format!("{{{many}\"name\":\"a\"}}").as_bytes()).unwrap_err();
        assert!(refused.to_json().len() < 8 << 10, "a refusal grows with what was sent");
    }

    #[test]
    fn json_is_told_by_its_type() {
        for (content_type, expected) in [
            ("application/json", true),
            ("Application/JSON; charset=utf-8", true),
            ("application/merge-patch+json", true),
            ("text/plain", false),
            ("text/plain; application/json", false),
            ("text/json", false),
            ("application/x-www-form-urlencoded", false),
            ("multipart/form-data; boundary=x", false),
            ("json", false),
            ("", false),
        ] {
            assert_eq!(is_json(&HeaderValue::from_static(content_type)), expected, "{content_type}");
        }
    }

    #[tokio::test]
    async fn a_body_over_the_limit_is_refused() {
        let body = |len: usize| Body::from(vec![b' '; len]);
        assert_eq!(read_body(body(9), 8).await.unwrap_err().status.as_u16(), 413);
        assert_eq!(read_body(body(8), 8).await.unwrap().len(), 8);
    }
}

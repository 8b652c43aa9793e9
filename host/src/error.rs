//! `ApiError`: the format of all error responses of the host's HTTP API. It never exposes internals to a client.

use std::borrow::Cow;

use axum::{
    body::Body,
    response::{IntoResponse, Response},
};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use serde::{Serialize, Serializer, ser::SerializeStruct};

use crate::{db::DbError, limited_log::LimitedLog};

/// The value of `Retry-After` in seconds, when an overloaded host refuses a request.
pub const RETRY_AFTER_OVERLOAD_SECONDS: u64 = 1;

/// One step of the path to a faulty value.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum Loc {
    /// A part of the request (`body`, `query`, `path`, `header`) or an object's key.
    Key(Cow<'static, str>),
    /// A position in an array, from 0.
    Index(usize),
}

impl From<&'static str> for Loc {
    fn from(key: &'static str) -> Loc {
        Loc::Key(Cow::Borrowed(key))
    }
}

impl From<String> for Loc {
    fn from(key: String) -> Loc {
        Loc::Key(Cow::Owned(key))
    }
}

impl From<usize> for Loc {
    fn from(index: usize) -> Loc {
        Loc::Index(index)
    }
}

/// One validation error of a request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Fault {
    /// The path to the value, beginning with the part of the request: `["body", "email"]`.
    pub loc: Vec<Loc>,
    /// What is wrong and what is allowed.
    pub msg: String,
    /// A stable word for the kind of error: `missing`, `string_type`, `json_invalid` ….
    #[serde(rename = "type")]
    pub kind: Cow<'static, str>,
}

impl Fault {
    /// Creates an error at `loc`.
    pub fn new(
        loc: impl IntoIterator<Item = impl Into<Loc>>,
        msg: impl Into<String>,
        kind: impl Into<Cow<'static, str>>,
    ) -> Fault {
        Fault { loc: loc.into_iter().map(Into::into).collect(), msg: msg.into(), kind: kind.into() }
    }
}

/// What is wrong: text, or for a 422 a list of errors.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum Detail {
    /// One sentence for a person.
    Text(Cow<'static, str>),
    /// All errors found, each with its place.
    Faults(Vec<Fault>),
    /// The same list from an extension.
    Json(serde_json::Value),
}

impl From<&'static str> for Detail {
    fn from(text: &'static str) -> Detail {
        Detail::Text(Cow::Borrowed(text))
    }
}

impl From<String> for Detail {
    fn from(text: String) -> Detail {
        Detail::Text(Cow::Owned(text))
    }
}

/// An error response: `{"detail": …, "code": …}` with a status.
#[derive(Debug, Clone)]
pub struct ApiError {
    /// The HTTP status, 400 or above.
    pub status: StatusCode,
    /// The stable snake_case code by which programs distinguish errors.
    pub code: Cow<'static, str>,
    /// What is wrong, for people.
    pub detail: Detail,
    /// More for programs, sent as `details`.
    pub details: Option<Box<serde_json::Value>>,
    /// Further headers, such as `Retry-After`.
    pub headers: Option<Box<HeaderMap>>,
}

impl ApiError {
    /// Creates an error with any status.
    pub fn new(
        status: StatusCode,
        code: impl Into<Cow<'static, str>>,
        detail: impl Into<Detail>,
    ) -> ApiError {
        ApiError { status, code: code.into(), detail: detail.into(), details: None, headers: None }
    }

    /// 400: the request cannot be fulfilled.
    pub fn bad_request(code: impl Into<Cow<'static, str>>, detail: impl Into<Detail>) -> ApiError {
        ApiError::new(StatusCode::BAD_REQUEST, code, detail)
    }

    /// 401: the token is missing or invalid. Adds `WWW-Authenticate: Bearer`.
    pub fn unauthorized(code: impl Into<Cow<'static, str>>, detail: impl Into<Detail>) -> ApiError {
        ApiError::new(StatusCode::UNAUTHORIZED, code, detail)
            .header(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"))
    }

    /// 403: the caller is known but not allowed.
    pub fn forbidden(code: impl Into<Cow<'static, str>>, detail: impl Into<Detail>) -> ApiError {
        ApiError::new(StatusCode::FORBIDDEN, code, detail)
    }

    /// 404: the resource does not exist.
    pub fn not_found(code: impl Into<Cow<'static, str>>, detail: impl Into<Detail>) -> ApiError {
        ApiError::new(StatusCode::NOT_FOUND, code, detail)
    }

    /// 405: the path exists, but not the method. `allow` lists the allowed methods.
    pub fn method_not_allowed(allow: HeaderValue) -> ApiError {
        let detail = "this path does not take this method; the Allow header lists those it takes";
        ApiError::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", detail)
            .header(header::ALLOW, allow)
    }

    /// 409: a conflict with stored data.
    pub fn conflict(code: impl Into<Cow<'static, str>>, detail: impl Into<Detail>) -> ApiError {
        ApiError::new(StatusCode::CONFLICT, code, detail)
    }

    /// 413: the body is larger than `bytes_max`.
    pub fn too_large(bytes_max: usize) -> ApiError {
        let detail = format!("the body is larger than {bytes_max} bytes");
        ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, "body_too_large", detail)
    }

    /// 415: the body is not JSON.
    pub fn unsupported_media_type() -> ApiError {
        let detail = "send the body as JSON, with the header Content-Type: application/json";
        ApiError::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported_media_type", detail)
    }

    /// 422: the request is not valid. `faults` lists all errors.
    pub fn unprocessable(faults: Vec<Fault>) -> ApiError {
        debug_assert!(!faults.is_empty(), "a 422 names at least one fault");
        ApiError::new(StatusCode::UNPROCESSABLE_ENTITY, "validation_error", Detail::Faults(faults))
    }

    /// 422 with a single error.
    pub fn unprocessable_at(
        loc: impl IntoIterator<Item = impl Into<Loc>>,
        msg: impl Into<String>,
        kind: impl Into<Cow<'static, str>>,
    ) -> ApiError {
        ApiError::unprocessable(vec![Fault::new(loc, msg, kind)])
    }

    /// 429: too many requests; the client may retry after `retry_after_seconds`.
    pub fn too_many(
        code: impl Into<Cow<'static, str>>,
        detail: impl Into<Detail>,
        retry_after_seconds: u64,
    ) -> ApiError {
        ApiError::new(StatusCode::TOO_MANY_REQUESTS, code, detail).retry_after(retry_after_seconds)
    }

    /// 500: an internal error. The caller logs the cause; it is never sent to the client.
    pub fn internal() -> ApiError {
        let detail = "something went wrong in the server; its log names the cause under this request's id";
        ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, "internal_error", detail)
    }

    /// 500, with the cause logged here: `what` describes what was being done when `cause` occurred.
    pub fn internal_logged(what: &str, cause: &dyn std::fmt::Display) -> ApiError {
        tracing::error!(%cause, "{what}");
        ApiError::internal()
    }

    /// 503: temporarily unavailable. Adds `Retry-After`.
    pub fn unavailable(code: impl Into<Cow<'static, str>>, detail: impl Into<Detail>) -> ApiError {
        ApiError::new(StatusCode::SERVICE_UNAVAILABLE, code, detail).retry_after(RETRY_AFTER_OVERLOAD_SECONDS)
    }

    /// 504: a time limit was exceeded.
    pub fn timeout(code: impl Into<Cow<'static, str>>, detail: impl Into<Detail>) -> ApiError {
        ApiError::new(StatusCode::GATEWAY_TIMEOUT, code, detail)
    }

    /// Adds a header.
    #[must_use]
    pub fn header(mut self, name: HeaderName, value: HeaderValue) -> ApiError {
        self.headers.get_or_insert_default().insert(name, value);
        self
    }

    /// Adds `Retry-After` in seconds.
    #[must_use]
    pub fn retry_after(self, seconds: u64) -> ApiError {
        self.header(header::RETRY_AFTER, HeaderValue::from(seconds))
    }

    /// Returns the body as it is sent: compact JSON.
    pub fn to_json(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("an error holds text, numbers and lists alone")
    }
}

impl std::fmt::Display for ApiError {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.detail {
            Detail::Text(text) => write!(formatter, "{text}"),
            Detail::Json(faults) => write!(formatter, "{faults}"),
            Detail::Faults(faults) => {
                let told = faults.iter().map(|fault| fault.msg.as_str()).collect::<Vec<_>>();
                write!(formatter, "{}", told.join("; "))
            }
        }
    }
}

impl std::error::Error for ApiError {}

impl Serialize for ApiError {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut object = serializer.serialize_struct("ApiError", 2 + usize::from(self.details.is_some()))?;
        object.serialize_field("detail", &self.detail)?;
        object.serialize_field("code", &self.code)?;
        if let Some(details) = &self.details {
            object.serialize_field("details", details)?;
        }
        object.end()
    }
}

/// The code of a 503, which is attached to the response for the log.
#[derive(Debug, Clone)]
pub(crate) struct Unavailable(pub(crate) Cow<'static, str>);

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let mut response = Response::new(Body::from(self.to_json()));
        *response.status_mut() = self.status;
        if self.status == StatusCode::SERVICE_UNAVAILABLE {
            response.extensions_mut().insert(Unavailable(self.code));
        }
        if let Some(headers) = self.headers {
            *response.headers_mut() = *headers;
        }
        response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        response
    }
}

/// Returns the error of a write that the storage refused, and logs it.
fn not_stored(status: StatusCode, code: &'static str, detail: &'static str, cause: &str) -> ApiError {
    static REFUSALS: LimitedLog = LimitedLog::new();
    if let Some(count) = REFUSALS.due(code) {
        tracing::error!(code, cause, count, "a write was refused");
    }
    ApiError::new(status, code, detail).retry_after(RETRY_AFTER_OVERLOAD_SECONDS)
}

impl From<DbError> for ApiError {
    fn from(error: DbError) -> ApiError {
        match &error {
            DbError::Unique { .. } => {
                ApiError::conflict(error.code(), "a value that must be unique is taken")
            }
            DbError::ForeignKey => {
                ApiError::conflict(error.code(), "a reference to or from this does not hold")
            }
            DbError::Busy => {
                ApiError::unavailable(error.code(), "the database is overloaded; try again shortly")
            }
            DbError::NoRoom => ApiError::unavailable(error.code(), error.to_string()),
            DbError::Closed(_) => ApiError::unavailable(error.code(), "the server is shutting down"),
            DbError::DiskFull(cause) => {
                let detail =
                    "the server's disk is full, so nothing was stored; try again once its operator made room";
                not_stored(StatusCode::INSUFFICIENT_STORAGE, error.code(), detail, cause)
            }
            DbError::FileReplaced(cause) => {
                let detail =
                    "the server's database file is not the one that it opened, so nothing was stored";
                not_stored(StatusCode::SERVICE_UNAVAILABLE, error.code(), detail, cause)
            }
            DbError::Unavailable(_) => {
                ApiError::unavailable(error.code(), "the database does not answer; try again shortly")
            }
            DbError::SchemaChanged(cause) => {
                tracing::warn!(
                    code = error.code(),
                    cause,
                    "a statement met a schema that it was not made for"
                );
                ApiError::unavailable(error.code(), "the schema is being changed; try again shortly")
            }
            DbError::InvalidValue(problem) => {
                ApiError::unprocessable_at(["body"], problem.as_str(), error.code())
            }
            DbError::Timeout(_) => ApiError::timeout(
                error.code(),
                "the database took longer than a statement may; narrow the request",
            ),
            DbError::Constraint(_)
            | DbError::Condition { .. }
            | DbError::TooLarge { .. }
            | DbError::Denied { .. }
            | DbError::TooDeep(_)
            | DbError::Sql(_)
            | DbError::Codec(_) => {
                tracing::error!(code = error.code(), cause = %error, "a database statement failed unexpectedly");
                ApiError::internal()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn database_errors_answer_with_their_status_and_without_internals() {
        let unique = DbError::Unique { table: "tb_users".into(), columns: vec!["email".into()] };
        let cases = [
            (unique, 409, "db_unique"),
            (DbError::ForeignKey, 409, "db_foreign_key"),
            (DbError::Busy, 503, "db_busy"),
            (DbError::Closed("tb_secret".into()), 503, "db_closed"),
            (DbError::Unavailable("tb_secret".into()), 503, "db_unavailable"),
            (DbError::DiskFull("tb_secret".into()), 507, "disk_full"),
            (DbError::FileReplaced("tb_secret".into()), 503, "database_file_replaced"),
            (DbError::SchemaChanged("tb_secret".into()), 503, "db_schema_changed"),
            (DbError::InvalidValue("no such text".into()), 422, "validation_error"),
            (DbError::Timeout(Duration::from_millis(5)), 504, "db_timeout"),
            (DbError::Constraint("tb_secret".into()), 500, "internal_error"),
            (DbError::Condition { statement: 0, affected: 2 }, 500, "internal_error"),
            (DbError::TooLarge { bytes_max: 1 }, 500, "internal_error"),
            (DbError::Denied { scope: "x".into(), table: "tb_users".into() }, 500, "internal_error"),
            (DbError::Sql("no such table: tb_secret".into()), 500, "internal_error"),
        ];
        for (error, status, code) in cases {
            let told = format!("{error:?}");
            let answer = ApiError::from(error);
            assert_eq!((answer.status.as_u16(), &*answer.code), (status, code), "{told}");
            let body = String::from_utf8(answer.to_json()).unwrap();
            assert!(!body.contains("tb_"), "{told} told the client {body}");
            let retry = answer.headers.is_some_and(|headers| headers.contains_key(header::RETRY_AFTER));
            assert_eq!(retry, matches!(status, 503 | 507), "{told}");
        }
    }

    #[test]
    fn faults_are_a_list_with_places() {
        let faults = vec![
            Fault::new(["body", "email"], "this field is required", "missing"),
            Fault::new([Loc::from("body"), Loc::from(2)], "this must be text", "string_type"),
        ];
        let body = String::from_utf8(ApiError::unprocessable(faults).to_json()).unwrap();
        assert_eq!(
            body,
            r#"{"detail":[{"loc":["body","email"],"msg":"this field is required","type":"missing"},{"loc":["body",2],"msg":"this must be text","type":"string_type"}],"code":"validation_error"}"#
        );
    }

    #[test]
    fn an_answer_is_json_with_its_headers() {
        let response = ApiError::too_many("rate_limited", "too many logins", 7).into_response();
        assert_eq!(response.status(), StatusCode::TOO_MANY_REQUESTS);
        assert_eq!(response.headers()[header::RETRY_AFTER], "7");
        assert_eq!(response.headers()[header::CONTENT_TYPE], "application/json");
        let refused = ApiError::unauthorized("token_invalid", "sign in again").into_response();
        assert_eq!(refused.headers()[header::WWW_AUTHENTICATE], "Bearer");
    }
}

//! Converts an extension's error into the one that clients receive. The message of a client error is passed
//! on. The message of a server error or a database error may contain statements and table names, so it is
//! only logged; the request id in the response leads to it. The code is always passed on.

use http::StatusCode;
use serde_json::Value as Json;
use tinybase_abi::{error::RawError, future::PANICKED};

use crate::{
    error::{ApiError, Detail},
    limited_log::LimitedLog,
};

static REFUSALS: LimitedLog = LimitedLog::new();

/// Returns the API error for an extension's error, or `None` if its status is not an error status.
pub(super) fn refused(extension: &str, error: &RawError) -> Option<ApiError> {
    let words = error.words();
    let status = StatusCode::from_u16(error.status).ok();
    let status = status.filter(|status| status.is_client_error() || status.is_server_error())?;
    let is_own = status.is_server_error();
    if is_own && words.code != PANICKED {
        let code = words.code.as_str();
        let count = match status {
            // Clients can trigger these as often as they like, by requesting more than there is room for.
            StatusCode::SERVICE_UNAVAILABLE => due(extension, code),
            _ => Some(1),
        };
        if let Some(count) = count {
            let details = words.details.as_str();
            tracing::error!(extension, code, details, count, "a request failed: {}", words.message);
        }
    }
    if is_own || words.code.starts_with("db_") {
        let error = ApiError::new(status, words.code, general(extension, status));
        let is_busy = status == StatusCode::SERVICE_UNAVAILABLE;
        return Some(if is_busy { error.retry_after(1) } else { error });
    }
    let details: Option<Json> = serde_json::from_str(&words.details).ok();
    let error = match details {
        Some(details @ Json::Array(_)) if status == StatusCode::UNPROCESSABLE_ENTITY => {
            ApiError::new(status, words.code, Detail::Json(details))
        }
        details => {
            ApiError { details: details.map(Box::new), ..ApiError::new(status, words.code, words.message) }
        }
    };
    Some(if status == StatusCode::TOO_MANY_REQUESTS { error.retry_after(1) } else { error })
}

/// Returns how many errors of this extension and code the next log line stands for, if one is due.
fn due(extension: &str, code: &str) -> Option<u64> {
    REFUSALS.due(&format!("{extension} {code}"))
}

/// Returns a general message for an error whose own message is only logged.
fn general(extension: &str, status: StatusCode) -> String {
    match status {
        StatusCode::CONFLICT => "this goes against what is stored".to_owned(),
        StatusCode::SERVICE_UNAVAILABLE => {
            format!("the extension {extension} cannot do this now; try again shortly")
        }
        StatusCode::GATEWAY_TIMEOUT => {
            format!("the extension {extension} took too long; ask for less at once")
        }
        StatusCode::BAD_GATEWAY => {
            format!("what the extension {extension} asked another server for failed; the log says why")
        }
        StatusCode::INSUFFICIENT_STORAGE => "the server has no room to store more".to_owned(),
        status if status.is_server_error() => {
            format!("the extension {extension} failed on this request; the log says why, under its id")
        }
        _ => "the database cannot take what was sent".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answered(status: u16, code: &str) -> Option<String> {
        let error = RawError::with_details(status, code, "no such table: secret", r#"{"table":"secret"}"#);
        refused("notes", &error).map(|error| String::from_utf8(error.to_json()).unwrap())
    }

    #[test]
    fn each_extension_has_lines_of_its_own() {
        assert_eq!(due("notes", "overloaded"), Some(1));
        assert_eq!(due("notes", "overloaded"), None);
        assert_eq!(due("tasks", "overloaded"), Some(1), "it is not counted as another's");
    }

    #[test]
    fn what_is_said_of_an_own_fault_is_told_to_nobody() {
        for (status, code) in [
            (500, "db_sql"),
            (500, "odd"),
            (502, "odd"),
            (503, "odd"),
            (504, "odd"),
            (507, "odd"),
            (599, "odd"),
            (409, "db_unique"),
            (400, "db_constraint"),
            (422, "db_invalid_value"),
        ] {
            let answer = answered(status, code).unwrap();
            assert!(!answer.contains("secret") && answer.contains(code), "{status} {code}: {answer}");
        }
        for status in [400, 404, 409, 422, 429] {
            let answer = answered(status, "odd").unwrap();
            assert!(answer.contains("no such table: secret"), "{status}: {answer}");
        }
        for status in [0, 200, 302, 999] {
            assert_eq!(answered(status, "odd"), None, "{status}");
        }
    }
}

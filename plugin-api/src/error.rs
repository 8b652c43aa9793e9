//! The SDK's error type, which handlers return as well.

use std::{borrow::Cow, fmt};

use serde_json::Value as Json;
use tinybase_abi::error::RawError;

/// A result whose error the host converts to an HTTP response.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// An error with a stable code, an HTTP status and a message for people.
#[derive(Debug, Clone, PartialEq)]
pub struct Error {
    // Boxed to keep results small.
    content: Box<Content>,
}

#[derive(Debug, Clone, PartialEq)]
struct Content {
    status: u16,
    code: Cow<'static, str>,
    message: String,
    details: Option<Json>,
    retryable: bool,
}

macro_rules! with_status {
    ($($(#[$meta:meta])* $name:ident = $status:literal;)*) => {
        impl Error {$(
            $(#[$meta])*
            pub fn $name(code: impl Into<Cow<'static, str>>, message: impl Into<String>) -> Error {
                Error::new($status, code, message)
            }
        )*}
    };
}
with_status! {
    /// 400: the request is not acceptable.
    bad_request = 400;
    /// 401: the caller is not authenticated.
    unauthorized = 401;
    /// 403: the caller is authenticated, but not allowed.
    forbidden = 403;
    /// 404: not found.
    not_found = 404;
    /// 409: a conflict with stored data.
    conflict = 409;
    /// 412: a precondition of the request failed.
    precondition_failed = 412;
    /// 413: too large.
    too_large = 413;
    /// 422: the request has the wrong shape.
    unprocessable = 422;
    /// 500: a fault of the extension.
    internal = 500;
}

impl Error {
    /// Creates an error with any status (400 to 599).
    pub fn new(status: u16, code: impl Into<Cow<'static, str>>, message: impl Into<String>) -> Error {
        let (code, message) = (code.into(), message.into());
        Error { content: Box::new(Content { status, code, message, details: None, retryable: false }) }
    }

    /// Adds machine-readable JSON. In a response with status 422, a list replaces the message.
    #[must_use]
    pub fn with_details(mut self, details: Json) -> Error {
        self.content.details = Some(details);
        self
    }

    /// Marks the error as retryable: the same call may succeed later.
    #[must_use]
    pub fn retryable(mut self) -> Error {
        self.content.retryable = true;
        self
    }

    /// Returns the HTTP status.
    pub fn status(&self) -> u16 {
        self.content.status
    }

    /// Returns the stable code.
    pub fn code(&self) -> &str {
        &self.content.code
    }

    /// Returns the message.
    pub fn message(&self) -> &str {
        &self.content.message
    }

    /// Returns the machine-readable JSON.
    pub fn details(&self) -> Option<&Json> {
        self.content.details.as_ref()
    }

    /// Returns whether the same call may succeed later.
    pub fn is_retryable(&self) -> bool {
        self.content.retryable
    }
}

impl fmt::Display for Error {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} ({})", self.content.message, self.content.code)
    }
}

impl std::error::Error for Error {}

impl From<RawError> for Error {
    fn from(raw: RawError) -> Error {
        let words = raw.words();
        let mut error = Error::new(raw.status, words.code, words.message);
        error.content.details = serde_json::from_str(&words.details).ok();
        error.content.retryable = raw.retryable != 0;
        error
    }
}

impl From<Error> for RawError {
    fn from(error: Error) -> RawError {
        let content = error.content;
        let details = content.details.map(|details| details.to_string()).unwrap_or_default();
        let mut raw = RawError::with_details(content.status, &content.code, &content.message, &details);
        raw.retryable = content.retryable.into();
        raw
    }
}

impl From<tinybase_abi::codec::CodecError> for Error {
    fn from(error: tinybase_abi::codec::CodecError) -> Error {
        Error::internal("codec", error.to_string())
    }
}

//! The error of everything in the SDK: what a handler answers when it cannot answer.

use std::{borrow::Cow, fmt};

use serde_json::Value as Json;
use tinybase_abi::error::RawError;

/// A result whose error the host turns into an HTTP answer.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// An error with a stable code, an HTTP status and words for a person.
#[derive(Debug, Clone, PartialEq)]
pub struct Error {
    // Behind a box, so that a result stays as small as its value.
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
    /// 400: what was sent is not acceptable.
    bad_request = 400;
    /// 401: nobody, or not whom they claim to be.
    unauthorized = 401;
    /// 403: known, but not allowed.
    forbidden = 403;
    /// 404: no such thing.
    not_found = 404;
    /// 409: a conflict with what is stored.
    conflict = 409;
    /// 412: a condition of the request does not hold.
    precondition_failed = 412;
    /// 413: too large.
    too_large = 413;
    /// 422: the request's own shape is wrong.
    unprocessable = 422;
    /// 500: a fault of the extension.
    internal = 500;
}

impl Error {
    /// An error with any status (400 to 599).
    pub fn new(status: u16, code: impl Into<Cow<'static, str>>, message: impl Into<String>) -> Error {
        let (code, message) = (code.into(), message.into());
        Error { content: Box::new(Content { status, code, message, details: None, retryable: false }) }
    }

    /// Adds JSON for programs. In an answer with status 422 a list takes the place of the message.
    #[must_use]
    pub fn with_details(mut self, details: Json) -> Error {
        self.content.details = Some(details);
        self
    }

    /// Says that the same call may succeed later.
    #[must_use]
    pub fn retryable(mut self) -> Error {
        self.content.retryable = true;
        self
    }

    /// The HTTP status.
    pub fn status(&self) -> u16 {
        self.content.status
    }

    /// The stable code.
    pub fn code(&self) -> &str {
        &self.content.code
    }

    /// The words.
    pub fn message(&self) -> &str {
        &self.content.message
    }

    /// The JSON for programs.
    pub fn details(&self) -> Option<&Json> {
        self.content.details.as_ref()
    }

    /// Whether the same call may succeed later.
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

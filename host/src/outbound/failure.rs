//! Why a request to another server failed: a code for programs, a message for people. The message contains no query,
//! header or body.

use std::{net::IpAddr, time::Duration};

use tinybase_abi::error::RawError;

/// Why a request failed.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The URL cannot be requested.
    #[error("the URL cannot be requested: {0}")]
    UrlInvalid(String),
    /// The method, a header or the body cannot be sent.
    #[error("the request cannot be sent: {0}")]
    RequestInvalid(String),
    /// The server's addresses are not public, and the operator has not allowed them.
    #[error(
        "{server} has the address {}, which extensions may not reach: add its network to plugins.http_allow_networks to \
         open it", list(.addresses)
    )]
    DeniedAddress {
        /// Host name and port.
        server: String,
        /// The addresses that the name resolves to.
        addresses: Vec<IpAddr>,
    },
    /// It took too long.
    #[error("the other server did not answer within {} ms", .after.as_millis())]
    Timeout {
        /// The elapsed time.
        after: Duration,
    },
    /// The response body is too large.
    #[error("the other server's answer has more than {bytes_max} bytes")]
    ResponseTooLarge {
        /// The size limit.
        bytes_max: usize,
    },
    /// The connection failed or was interrupted.
    #[error("no answer: {0}")]
    Failed(String),
}

fn list(addresses: &[IpAddr]) -> String {
    addresses.iter().map(IpAddr::to_string).collect::<Vec<_>>().join(", ")
}

impl Failure {
    pub(super) fn failed(problem: impl Into<String>) -> Failure {
        Failure::Failed(problem.into())
    }

    /// Returns its stable snake_case code.
    pub fn code(&self) -> &'static str {
        self.parts().1
    }

    /// Returns status, code, and whether a retry may succeed.
    fn parts(&self) -> (u16, &'static str, bool) {
        match self {
            Failure::UrlInvalid(_) => (422, "http_url_invalid", false),
            Failure::RequestInvalid(_) => (500, "http_request_invalid", false),
            Failure::DeniedAddress { .. } => (403, "http_denied_address", false),
            Failure::Timeout { .. } => (504, "http_timeout", true),
            Failure::ResponseTooLarge { .. } => (502, "http_response_too_large", false),
            Failure::Failed(_) => (502, "http_failed", true),
        }
    }
}

impl From<Failure> for RawError {
    fn from(failure: Failure) -> RawError {
        let (status, code, retryable) = failure.parts();
        let mut error = RawError::new(status, code, failure.to_string());
        error.retryable = retryable.into();
        error
    }
}

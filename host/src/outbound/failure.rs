//! Why a request to another server has no answer: a code for programs, words for a person. The words hold no query, header
//! or body.

use std::{net::IpAddr, time::Duration};

use tinybase_abi::error::RawError;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The URL is none that can be asked.
    #[error("the URL cannot be requested: {0}")]
    UrlInvalid(String),
    /// The method, a header or the body cannot be sent.
    #[error("the request cannot be sent: {0}")]
    RequestInvalid(String),
    /// The server's addresses are not the internet's, and nobody opened them.
    #[error(
        "{server} has the address {}, which extensions may not reach: add its network to plugins.http_allow_networks to \
         open it", list(.addresses)
    )]
    DeniedAddress {
        /// Name and port.
        server: String,
        /// What the name stands for.
        addresses: Vec<IpAddr>,
    },
    /// It took too long.
    #[error("the other server did not answer within {} ms", .after.as_millis())]
    Timeout {
        /// How long it took so far.
        after: Duration,
    },
    /// The answer's body is too large.
    #[error("the other server's answer has more than {bytes_max} bytes")]
    ResponseTooLarge {
        /// How large it may be.
        bytes_max: usize,
    },
    /// There was no connection, or it broke off.
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

    /// A stable snake_case word for it.
    pub fn code(&self) -> &'static str {
        self.parts().1
    }

    /// Status, code, and whether the same request may succeed later.
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

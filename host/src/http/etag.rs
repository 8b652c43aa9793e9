//! ETags and `If-Match`: the version of a resource that a client has read, and the precondition of a change. Of two
//! concurrent changes of the same resource, the second is refused. It never reads what is stored.

use std::convert::Infallible;

use axum::{extract::FromRequestParts, response::Response};
use http::{HeaderValue, StatusCode, header, request::Parts};
use sha2::{Digest, Sha256};

use crate::error::ApiError;

/// Returns the ETag for a state that is identified by these texts.
pub fn tag(parts: &[&str]) -> String {
    let mut digest = Sha256::new();
    for part in parts {
        digest.update((part.len() as u64).to_be_bytes());
        digest.update(part);
    }
    let digest = digest.finalize();
    let digits = digest.iter().take(8).map(|byte| format!("{byte:02x}")).collect::<String>();
    format!("\"{digits}\"")
}

/// Adds the ETag to a response.
pub fn tagged(mut response: Response, tag: &str) -> Response {
    let tag = HeaderValue::from_str(tag).expect("hexadecimal digits in quotes are a header's value");
    response.headers_mut().insert(header::ETAG, tag);
    response
}

/// The `If-Match` header of a request: the states of which one must be current. Without it, any state is accepted.
#[derive(Debug, Clone, Default)]
pub struct IfMatch(Option<String>);

impl IfMatch {
    /// Restores a saved header.
    pub fn kept(header: Option<String>) -> IfMatch {
        IfMatch(header)
    }

    /// Returns the header, to be saved.
    pub fn header(&self) -> Option<&str> {
        self.0.as_deref()
    }

    /// Checks the state with this ETag against the header. A weak ETag in the header matches no state.
    ///
    /// # Errors
    /// 412 `precondition_failed`.
    pub fn check(&self, tag: &str) -> Result<(), ApiError> {
        let Some(wanted) = &self.0 else { return Ok(()) };
        if wanted.split(',').map(str::trim).any(|wanted| wanted == "*" || wanted == tag) {
            return Ok(());
        }
        let detail = "this is not any more what If-Match names: read it again, and change what is there now";
        Err(ApiError::new(StatusCode::PRECONDITION_FAILED, "precondition_failed", detail))
    }
}

impl<S: Send + Sync> FromRequestParts<S> for IfMatch {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<IfMatch, Infallible> {
        let lines = parts.headers.get_all(header::IF_MATCH).iter();
        // A line that is not text matches no state either.
        let lines = lines.map(|line| line.to_str().unwrap_or("?")).collect::<Vec<_>>();
        Ok(IfMatch((!lines.is_empty()).then(|| lines.join(","))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_is_held_against_what_was_read() {
        let (one, other) = (tag(&["ab", "c"]), tag(&["a", "bc"]));
        assert_ne!(one, other);
        let both = format!("{other} , {one}");
        let weak = format!("W/{one}");
        let bare = one.trim_matches('"').to_owned();
        let cases = [
            (None, true),
            (Some("*"), true),
            (Some(one.as_str()), true),
            (Some(&both), true),
            (Some(&other), false),
            (Some(&weak), false),
            (Some(&bare), false),
            (Some(""), false),
        ];
        for (header, expected) in cases {
            let if_match = IfMatch(header.map(str::to_owned));
            assert_eq!(if_match.check(&one).is_ok(), expected, "{header:?}");
        }
        assert_eq!(&*IfMatch(Some(other)).check(&one).unwrap_err().code, "precondition_failed");
    }
}

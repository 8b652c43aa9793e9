//! The tag by which a client says which state of a thing it has read, and the precondition that a change is held to, so that
//! of two who change the same the second one learns of the first. It never reads what is stored.

use std::convert::Infallible;

use axum::{extract::FromRequestParts, response::Response};
use http::{HeaderValue, StatusCode, header, request::Parts};
use sha2::{Digest, Sha256};

use crate::error::ApiError;

/// The tag of a state that these texts tell from every other.
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

/// The answer with its tag.
pub fn tagged(mut response: Response, tag: &str) -> Response {
    let tag = HeaderValue::from_str(tag).expect("hexadecimal digits in quotes are a header's value");
    response.headers_mut().insert(header::ETAG, tag);
    response
}

/// The header `If-Match` of a request: the states of which one must still hold. Without it any will do.
#[derive(Debug, Clone, Default)]
pub struct IfMatch(Option<String>);

impl IfMatch {
    /// The header as it was kept for later.
    pub fn kept(header: Option<String>) -> IfMatch {
        IfMatch(header)
    }

    /// The header, to be kept for later.
    pub fn header(&self) -> Option<&str> {
        self.0.as_deref()
    }

    /// Holds the state with this tag against the header. A tag that is marked as weak names no state.
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
        // What is no text names no state either.
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

//! Errors passed across the ABI: a stable code, an HTTP status, a message for people, and details as JSON.

use abi_stable::StableAbi;

use crate::{bytes::Bytes, codec::Reader};

/// The maximum length of a code in bytes.
const CODE_BYTES_MAX: usize = 64;
/// The replacement for an invalid code.
const INVALID: &str = "invalid_error";

/// The reason why a call failed. Small, since every result has room for one.
#[repr(C)]
#[derive(Debug, StableAbi)]
pub struct RawError {
    /// The HTTP status of the response, 400 to 599.
    pub status: u16,
    /// 1 if the same call may succeed later.
    pub retryable: u8,
    /// Code, message and details, each prefixed with its length as a `u32`.
    pub packed: Bytes,
}

/// The texts of a [`RawError`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ErrorWords {
    /// A stable snake_case word.
    pub code: String,
    /// What happened and what to do next.
    pub message: String,
    /// Machine-readable details, as JSON; empty if there are none.
    pub details: String,
}

impl RawError {
    /// Creates an error without details.
    pub fn new(status: u16, code: &str, message: impl AsRef<str>) -> RawError {
        RawError::with_details(status, code, message.as_ref(), "")
    }

    /// Creates an error with details, as JSON.
    pub fn with_details(status: u16, code: &str, message: &str, details: &str) -> RawError {
        let mut packed = Vec::with_capacity(12 + code.len() + message.len() + details.len());
        for part in [code, message, details] {
            let len = u32::try_from(part.len()).expect("an error's words are shorter than 4 GiB");
            packed.extend_from_slice(&len.to_le_bytes());
            packed.extend_from_slice(part.as_bytes());
        }
        RawError { status, retryable: 0, packed: packed.into() }
    }

    /// Returns the texts. Invalid UTF-8 is replaced. The code becomes `invalid_error` if the texts were packed
    /// incorrectly or the code is not a snake_case word.
    pub fn words(&self) -> ErrorWords {
        let mut reader = Reader::new(&self.packed);
        let mut part = || reader.bytes().map(|bytes| String::from_utf8_lossy(bytes).into_owned());
        match (part(), part(), part()) {
            (Ok(code), Ok(message), Ok(details)) => {
                let code = if is_code(&code) { code } else { INVALID.to_owned() };
                ErrorWords { code, message, details }
            }
            _ => ErrorWords {
                code: INVALID.to_owned(),
                message: "the other side failed, and its error is malformed".to_owned(),
                details: String::new(),
            },
        }
    }
}

fn is_code(code: &str) -> bool {
    let rest = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
    code.len() <= CODE_BYTES_MAX
        && code.starts_with(|c: char| c.is_ascii_lowercase())
        && code.bytes().all(rest)
}

/// The outcome of a call.
#[repr(C, u8)]
#[derive(Debug, StableAbi)]
pub enum RawResult<T> {
    /// The call succeeded.
    Ok(T),
    /// The call failed.
    Err(RawError),
}

impl<T> From<Result<T, RawError>> for RawResult<T> {
    fn from(result: Result<T, RawError>) -> RawResult<T> {
        match result {
            Ok(value) => RawResult::Ok(value),
            Err(error) => RawResult::Err(error),
        }
    }
}

impl<T> From<RawResult<T>> for Result<T, RawError> {
    fn from(result: RawResult<T>) -> Result<T, RawError> {
        match result {
            RawResult::Ok(value) => Ok(value),
            RawResult::Err(error) => Err(error),
        }
    }
}

impl<T> RawResult<T> {
    /// Converts to a `Result`.
    pub fn into_result(self) -> Result<T, RawError> {
        self.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_come_back_and_a_code_that_is_none_is_replaced() {
        for (code, read) in [
            ("note_not_found", "note_not_found"),
            ("e2", "e2"),
            ("", INVALID),
            ("Not A Code\r\n", INVALID),
            ("\u{e9}", INVALID),
            (&"x".repeat(65), INVALID),
        ] {
            let words = RawError::with_details(404, code, "it is gone", "{}").words();
            let expected =
                ErrorWords { code: read.into(), message: "it is gone".into(), details: "{}".into() };
            assert_eq!(words, expected);
        }
        let cut = RawError { status: 500, retryable: 0, packed: vec![200, 0, 0, 0, 1].into() };
        assert_eq!(cut.words().code, INVALID);
    }
}

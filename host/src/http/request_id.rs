//! The id of a request: a valid `x-request-id` of the client, or a cheaply generated one. It never identifies a user.

use std::{
    cell::Cell,
    hash::{BuildHasher, RandomState},
    sync::{
        LazyLock,
        atomic::{AtomicU32, Ordering},
    },
};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};

/// The header with the id, in requests and responses.
pub const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// The longest id accepted from a client, in bytes.
pub const REQUEST_ID_BYTES_MAX: usize = 64;

/// The number of ids per block. Each thread gets blocks of ids, so that threads never share a counter's cache line.
const BLOCK: u32 = 1 << 12;

/// A request's id: 1 to 64 letters, digits, `-`, `_`, `.` or `:`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestId(HeaderValue);

impl RequestId {
    /// Returns the client's id if it is valid, or a new one.
    pub fn from_headers(headers: &HeaderMap) -> RequestId {
        match headers.get(&REQUEST_ID) {
            Some(sent) if is_sane(sent.as_bytes()) => RequestId(sent.clone()),
            _ => RequestId::generate(),
        }
    }

    /// Generates an id: 8 hex digits of this process, 8 of a counter.
    pub fn generate() -> RequestId {
        static PROCESS: LazyLock<u32> =
            LazyLock::new(|| (RandomState::new().hash_one(std::process::id()) >> 32) as u32);
        let bits = u64::from(*PROCESS) << 32 | u64::from(next_number());
        let mut digits = [0_u8; 16];
        for (index, digit) in digits.iter_mut().enumerate() {
            *digit = b"0123456789abcdef"[(bits >> (60 - 4 * index)) as usize & 0xf];
        }
        let value = HeaderValue::from_maybe_shared(Bytes::copy_from_slice(&digits));
        RequestId(value.expect("hex digits are a valid header value"))
    }

    /// Returns the id as text.
    pub fn as_str(&self) -> &str {
        self.0.to_str().expect("an id was checked to be ASCII when it was taken")
    }

    /// Returns the id as a header value; cloning it copies nothing.
    pub fn header_value(&self) -> HeaderValue {
        self.0.clone()
    }
}

fn next_number() -> u32 {
    static NEXT_BLOCK: AtomicU32 = AtomicU32::new(0);
    thread_local! {
        static NEXT: Cell<u32> = const { Cell::new(0) };
    }
    NEXT.with(|next| {
        let mut number = next.get();
        if number % BLOCK == 0 {
            number = NEXT_BLOCK.fetch_add(BLOCK, Ordering::Relaxed);
        }
        next.set(number.wrapping_add(1));
        number
    })
}

fn is_sane(id: &[u8]) -> bool {
    let allowed = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_.:".contains(byte);
    (1..=REQUEST_ID_BYTES_MAX).contains(&id.len()) && id.iter().all(allowed)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn sane_ids_are_kept_and_others_replaced() {
        let cases: [(&[u8], bool); 8] = [
            (b"abc-123_x.y:z", true),
            (b"0", true),
            (&[b'a'; 64], true),
            (&[b'a'; 65], false),
            (b"", false),
            (b"a b", false),
            (b"a\"b", false),
            ("ü".as_bytes(), false),
        ];
        for (sent, kept) in cases {
            let mut headers = HeaderMap::new();
            headers.insert(REQUEST_ID, HeaderValue::from_bytes(sent).unwrap());
            let id = RequestId::from_headers(&headers);
            assert_eq!(id.as_str().as_bytes() == sent, kept, "{sent:?}");
            assert!(is_sane(id.as_str().as_bytes()));
        }
    }

    #[test]
    fn ids_differ_across_threads() {
        let make = || (0..10_000).map(|_| RequestId::generate().as_str().to_owned()).collect::<Vec<_>>();
        let threads: Vec<_> = (0..4).map(|_| std::thread::spawn(make)).collect();
        let ids: HashSet<_> = threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect();
        assert_eq!(ids.len(), 40_000);
    }
}

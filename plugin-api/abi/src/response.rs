//! A response as a plugin returns it to the host: status, headers, and a body that is either complete or streamed.

use std::ffi::c_void;

use abi_stable::StableAbi;
use async_ffi::FfiFuture;

use crate::{
    bytes::Bytes,
    codec::{CodecError, Reader},
    error::{RawError, RawResult},
    future,
};

/// A response as passed across the ABI.
#[repr(C)]
#[derive(StableAbi)]
pub struct RawResponse {
    /// The HTTP status, 200 to 599.
    pub status: u16,
    /// 1 if the body is JSON and the headers contain no `content-type`.
    pub is_json: u8,
    /// Headers, packed as `(u32 name, u32 value)*`; empty if there are none.
    pub headers: Bytes,
    /// The whole body.
    pub body: Bytes,
    /// A streamed body that follows `body`.
    pub stream: RawStream,
}

impl RawResponse {
    /// Iterates over the headers' names and values in order, as the plugin packed them: they are not validated yet.
    /// Ends after the first packing error.
    pub fn header_pairs(&self) -> impl Iterator<Item = Result<(&[u8], &[u8]), CodecError>> {
        let mut reader = Reader::new(&self.headers);
        let mut faulty = false;
        std::iter::from_fn(move || {
            if faulty || reader.offset() == self.headers.len() {
                return None;
            }
            let pair = reader.bytes().and_then(|name| Ok((name, reader.bytes()?)));
            faulty = pair.is_err();
            Some(pair)
        })
    }
}

/// A body that the host pulls in chunks. Absent if `next` is `None`.
#[repr(C)]
#[derive(StableAbi)]
pub struct RawStream {
    /// The creator's state.
    pub state: *mut c_void,
    /// Returns the next chunk; empty at the end. Calls never overlap.
    pub next: Option<unsafe extern "C" fn(state: *mut c_void) -> FfiFuture<RawResult<Bytes>>>,
    /// Frees the state.
    pub free: Option<unsafe extern "C" fn(state: *mut c_void)>,
}

// SAFETY: the state is exclusively owned, and its creator promised that it is `Send`.
unsafe impl Send for RawStream {}
// SAFETY: nothing can be done with a shared reference.
unsafe impl Sync for RawStream {}

/// Produces the chunks of a body in order.
pub trait PullBody: Send + 'static {
    /// Returns the next chunk; `None` at the end.
    fn next(&mut self) -> impl Future<Output = Result<Option<Vec<u8>>, RawError>> + Send;
}

impl RawStream {
    /// Returns an absent stream.
    pub const fn absent() -> RawStream {
        RawStream { state: std::ptr::null_mut(), next: None, free: None }
    }

    /// Creates a stream of the chunks of `body`.
    pub fn new<B: PullBody>(body: B) -> RawStream {
        RawStream {
            state: Box::into_raw(Box::new(body)).cast(),
            next: Some(next::<B>),
            free: Some(free::<B>),
        }
    }

    /// Returns whether the stream is present.
    pub fn is_present(&self) -> bool {
        self.next.is_some()
    }

    /// Pulls the next chunk; empty at the end.
    pub async fn pull(&mut self) -> Result<Bytes, RawError> {
        let Some(next) = self.next else { return Ok(Bytes::empty()) };
        // SAFETY: `&mut self` makes this the only call in progress, and `self` outlives the future.
        let part = unsafe { next(self.state) };
        part.await.into_result()
    }
}

impl Drop for RawStream {
    fn drop(&mut self) {
        if let Some(free) = self.free.take() {
            // SAFETY: freed once.
            unsafe { free(self.state) };
        }
    }
}

struct SendPtr<B>(*mut B);
// SAFETY: only made below, for a `B: Send` to which the future has exclusive access.
unsafe impl<B: Send> Send for SendPtr<B> {}

impl<B> SendPtr<B> {
    /// # Safety
    /// The pointer must be valid and not used elsewhere while the reference lives.
    unsafe fn get(&self) -> &'static mut B {
        // SAFETY: guaranteed by this function's contract.
        unsafe { &mut *self.0 }
    }
}

unsafe extern "C" fn next<B: PullBody>(state: *mut c_void) -> FfiFuture<RawResult<Bytes>> {
    let body = SendPtr(state.cast::<B>());
    future::guard(async move {
        // SAFETY: the host calls `next` only while no other call is in progress and frees the state after it.
        let body = unsafe { body.get() };
        Ok(body.next().await?.map_or(Bytes::empty(), Bytes::from))
    })
}

unsafe extern "C" fn free<B: PullBody>(state: *mut c_void) {
    // SAFETY: made by `Box::into_raw` in `RawStream::new`.
    let body = unsafe { Box::from_raw(state.cast::<B>()) };
    let _ = future::catch(|| {
        drop(body);
        Ok(())
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_are_read_up_to_the_first_fault() {
        let packed = b"\x01\0\0\0a\x02\0\0\0bc\x09\0\0\0".to_vec();
        let response = RawResponse {
            status: 200,
            is_json: 0,
            headers: packed.into(),
            body: Bytes::empty(),
            stream: RawStream::absent(),
        };
        let mut pairs = response.header_pairs();
        assert_eq!(pairs.next(), Some(Ok((&b"a"[..], &b"bc"[..]))));
        assert!(pairs.next().is_some_and(|pair| pair.is_err()));
        assert_eq!(pairs.next(), None);
    }
}

//! A request as the host passes it to a plugin: one value that owns its memory on the host's side.

mod host_side;

use std::ffi::c_void;

use abi_stable::StableAbi;
use async_ffi::FfiFuture;
pub use host_side::{BoxedRequest, CallerRef, HostRequest, OwnedCaller, OwnedChunks, OwnedRequest, into_raw};

use crate::{
    bytes::{Bytes, Slice},
    error::{RawError, RawResult},
    interfaces::Caller,
};

/// A request as passed across the ABI: the parts that every handler reads, and a table for the rest.
///
/// The slices point into memory that `owner` keeps alive, even if this value is moved.
#[repr(C)]
#[derive(StableAbi)]
pub struct RawRequest {
    /// The host's own request. Freed through the table.
    pub owner: *mut c_void,
    /// A [`RequestTable`].
    pub table: *const c_void,
    /// A [`Caller`], or null for an anonymous request.
    pub caller: *const c_void,
    /// The HTTP method, in capitals.
    pub method: Slice<'static>,
    /// The path as received, percent-encoded.
    pub path: Slice<'static>,
    /// The query as received, without its `?`; absent if there is none.
    pub query: Slice<'static>,
    /// The request's id.
    pub request_id: Slice<'static>,
    /// The whole body; absent if the route streams it.
    pub body: Slice<'static>,
    /// The values of the route's `{…}` parts in order, percent-decoded.
    pub params: *const Slice<'static>,
    /// The number of values in `params`.
    pub params_len: usize,
}

/// The functions of a request beyond its fields. Append-only.
#[repr(C)]
pub struct RequestTable {
    /// The size of this table in bytes.
    pub size: usize,
    /// Frees the request.
    pub free: unsafe extern "C" fn(owner: *mut c_void),
    /// Returns a header's first value by its lower-case name; absent if there is none.
    pub header: unsafe extern "C" fn(owner: *mut c_void, name: Slice<'_>) -> Slice<'static>,
    /// Returns the client's address as text.
    pub client_address: unsafe extern "C" fn(owner: *mut c_void) -> Slice<'static>,
    /// Returns the next chunk of a streamed body; empty at its end.
    pub next_chunk: unsafe extern "C" fn(owner: *mut c_void) -> FfiFuture<RawResult<Bytes>>,
}

#[cfg(test)]
impl RequestTable {
    /// The fields and their offsets.
    pub(crate) const FIELDS: &[(&str, usize)] =
        crate::layout::fields!(RequestTable { size, free, header, client_address, next_chunk });
}

/// A safe wrapper of a request, used by the SDK.
pub struct Request {
    raw: RawRequest,
}

// SAFETY: the host's request is `Send`; the slices are shared borrows of it.
unsafe impl Send for Request {}
// SAFETY: shared access only reads, and the table's functions that take `&self` are thread-safe by contract.
unsafe impl Sync for Request {}

impl Request {
    /// Takes ownership of the request that the host passed.
    ///
    /// # Safety
    /// `raw` must keep the guarantees in its documentation.
    pub unsafe fn from_raw(raw: RawRequest) -> Request {
        Request { raw }
    }

    /// Passes a host's request within one binary, such as in a test.
    pub fn lend<R: HostRequest>(request: R) -> Request {
        // SAFETY: `into_raw` keeps the guarantees.
        unsafe { Request::from_raw(into_raw(BoxedRequest::new(request))) }
    }

    fn table(&self) -> &RequestTable {
        // SAFETY: `from_raw` promised a table that lives as long as the process.
        unsafe { &*self.raw.table.cast::<RequestTable>() }
    }

    /// Returns the HTTP method, in capitals.
    pub fn method(&self) -> &str {
        self.raw.method.text().unwrap_or_default()
    }

    /// Returns the path as received.
    pub fn path(&self) -> &str {
        self.raw.path.text().unwrap_or_default()
    }

    /// Returns the query as received, without its `?`.
    pub fn query(&self) -> Option<&str> {
        self.raw.query.text()
    }

    /// Returns the request's id, as in the log.
    pub fn request_id(&self) -> &str {
        self.raw.request_id.text().unwrap_or_default()
    }

    /// Returns the whole body; empty if the route streams it.
    pub fn body(&self) -> &[u8] {
        self.raw.body.bytes()
    }

    /// Returns the value of the route's `{…}` part at `index`.
    pub fn param(&self, index: usize) -> Option<&str> {
        if index >= self.raw.params_len {
            return None;
        }
        // SAFETY: `params` points at `params_len` slices that live as long as the request.
        let params = unsafe { std::slice::from_raw_parts(self.raw.params, self.raw.params_len) };
        params[index].text()
    }

    /// Returns the caller; `None` for an anonymous request.
    pub fn caller(&self) -> Option<&Caller> {
        // SAFETY: null, or a caller that the host keeps as long as the request.
        unsafe { self.raw.caller.cast::<Caller>().as_ref() }
    }

    /// Returns a header's first value by its lower-case name; `None` if there is none or it is not UTF-8.
    pub fn header(&self, name: &str) -> Option<&str> {
        // SAFETY: the owner is alive, and the result borrows from it.
        unsafe { (self.table().header)(self.raw.owner, name.into()) }.text()
    }

    /// Returns the client's address.
    pub fn client_address(&self) -> &str {
        // SAFETY: as in `header`.
        unsafe { (self.table().client_address)(self.raw.owner) }.text().unwrap_or_default()
    }

    /// Returns the next chunk of a streamed body; empty at its end.
    pub async fn next_chunk(&mut self) -> Result<Bytes, RawError> {
        // SAFETY: `&mut self` makes this the only call in progress.
        let next = unsafe { (self.table().next_chunk)(self.raw.owner) };
        next.await.into_result()
    }
}

impl Drop for Request {
    fn drop(&mut self) {
        // SAFETY: the owner is freed once, here.
        unsafe { (self.table().free)(self.raw.owner) };
    }
}

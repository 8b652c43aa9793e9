//! The host's side of a request: creates a [`RawRequest`] from any type that implements [`HostRequest`], so that a
//! host needs no `unsafe` for it. It knows nothing of HTTP.

use std::ffi::c_void;

use async_ffi::FfiFuture;

use super::{RawRequest, RequestTable};
use crate::{
    bytes::{Bytes, Slice},
    error::{RawError, RawResult},
    future::{self, RawFuture},
    interfaces::Caller,
};

/// How many `{…}` parts of a path are passed without a separate allocation.
const PARAMS_INLINE: usize = 3;

/// The caller of a request, as known to the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CallerRef<'a> {
    /// The user's id.
    pub user_id: &'a str,
    /// The user's email, normalised.
    pub email: &'a str,
    /// Whether the user is an admin.
    pub is_admin: bool,
    /// The user's role: `user`, `viewer`, `editor` or `admin`.
    pub role: &'a str,
    /// The scopes, separated by spaces, of an application token; `None` for a signed-in user.
    pub scopes: Option<&'a str>,
    /// The application token's id; `None` for a signed-in user.
    pub token_id: Option<&'a str>,
}

/// A request of a host. The plugin borrows all of it until it is done with the request.
///
/// A method that panics is treated as if it returned nothing.
pub trait HostRequest: Send + Sync + 'static {
    /// The HTTP method, in capitals.
    fn method(&self) -> &str;
    /// The path as received, percent-encoded.
    fn path(&self) -> &str;
    /// The query as received, without its `?`.
    fn query(&self) -> Option<&str>;
    /// The request's id, as in the log.
    fn request_id(&self) -> &str;
    /// The caller; `None` for an anonymous request.
    fn caller(&self) -> Option<CallerRef<'_>>;
    /// The whole body; `None` if it is streamed with [`HostRequest::next_chunk`].
    fn body(&self) -> Option<&[u8]>;
    /// The percent-decoded value of the route's `{…}` part at `index`; `None` after the last.
    fn param(&self, index: usize) -> Option<&str>;
    /// A header's first value by its lower-case name.
    fn header(&self, name: &str) -> Option<&[u8]>;
    /// The client's address as text.
    fn client_address(&self) -> &str;
    /// The next chunk of a streamed body; empty at its end. Calls never overlap, so the body may be behind an
    /// uncontended lock that it shares with the future.
    fn next_chunk(&self) -> RawFuture<Bytes> {
        future::ready(Ok(Bytes::empty()))
    }
}

/// A request and the data its raw form points at, in one allocation.
struct Lent<R> {
    request: R,
    caller: Option<Caller>,
    params: [Slice<'static>; PARAMS_INLINE],
    params_more: Vec<Slice<'static>>,
}

/// A request in its final allocation, so that moving it before the plugin is called costs only a pointer.
pub struct BoxedRequest<R>(Box<Lent<R>>);

impl<R: HostRequest> BoxedRequest<R> {
    /// Allocates the request.
    pub fn new(request: R) -> BoxedRequest<R> {
        BoxedRequest(Box::new(Lent {
            request,
            caller: None,
            params: [Slice::absent(); PARAMS_INLINE],
            params_more: Vec::new(),
        }))
    }
}

/// Passes `request` to a plugin. It is dropped when the plugin is done with it, or when the response's future is
/// dropped.
pub fn into_raw<R: HostRequest>(request: BoxedRequest<R>) -> RawRequest {
    let owner = Box::into_raw(request.0);
    // SAFETY: the box is exclusively ours until the raw request leaves this function, and only the fields other than
    // `request` are written, which nothing borrows yet.
    let (request, caller, params, more) = unsafe {
        let lent = &mut *owner;
        (&lent.request, &mut lent.caller, &mut lent.params, &mut lent.params_more)
    };
    *caller = request.caller().map(|caller| {
        // SAFETY: its texts are borrowed from the request, which lives in the same allocation and is never moved.
        unsafe { Caller::new(caller) }
    });
    let (params, params_len) = lend_params(request, params, more);
    RawRequest {
        owner: owner.cast(),
        table: std::ptr::from_ref::<RequestTable>(const { &Lent::<R>::TABLE }).cast(),
        caller: caller.as_ref().map_or(std::ptr::null(), |caller| std::ptr::from_ref(caller).cast()),
        method: lend(request.method()),
        path: lend(request.path()),
        query: request.query().map_or(Slice::absent(), lend),
        request_id: lend(request.request_id()),
        body: request.body().map_or(Slice::absent(), |body| lend_bytes(body)),
        params,
        params_len,
    }
}

/// Collects the values of the path's parts, in the array if they fit.
fn lend_params<R: HostRequest>(
    request: &R,
    few: &mut [Slice<'static>; PARAMS_INLINE],
    many: &mut Vec<Slice<'static>>,
) -> (*const Slice<'static>, usize) {
    let mut len = 0;
    while let Some(value) = request.param(len) {
        if len == PARAMS_INLINE {
            many.extend_from_slice(few);
        }
        match few.get_mut(len) {
            Some(place) => *place = lend(value),
            None => many.push(lend(value)),
        }
        len += 1;
    }
    (if len <= PARAMS_INLINE { few.as_ptr() } else { many.as_ptr() }, len)
}

fn lend(text: &str) -> Slice<'static> {
    lend_bytes(text.as_bytes())
}

fn lend_bytes(bytes: &[u8]) -> Slice<'static> {
    // SAFETY: only called for data borrowed from a `Lent` request, which outlives every use of a raw request.
    unsafe { Slice::new(bytes).unbound() }
}

impl<R: HostRequest> Lent<R> {
    const TABLE: RequestTable = RequestTable {
        size: size_of::<RequestTable>(),
        free: Self::free,
        header: Self::header,
        client_address: Self::client_address,
        next_chunk: Self::next_chunk,
    };

    unsafe extern "C" fn free(owner: *mut c_void) {
        // SAFETY: made by `Box::into_raw` in `into_raw`; a raw request is freed once.
        let lent = unsafe { Box::from_raw(owner.cast::<Lent<R>>()) };
        let _ = future::catch(|| {
            drop(lent);
            Ok(())
        });
    }

    /// Returns the request that `owner` points to.
    ///
    /// # Safety
    /// `owner` must come from [`into_raw`] for this type and not be freed while the result is used.
    unsafe fn request(owner: *mut c_void) -> &'static R {
        // SAFETY: guaranteed by this function's contract.
        unsafe { &(*owner.cast::<Lent<R>>()).request }
    }

    unsafe extern "C" fn header(owner: *mut c_void, name: Slice<'_>) -> Slice<'static> {
        // SAFETY: the table is only passed on together with its owner.
        let request = unsafe { Self::request(owner) };
        let found = future::catch(|| Ok(name.text().and_then(|name| request.header(name))));
        found.ok().flatten().map_or(Slice::absent(), lend_bytes)
    }

    unsafe extern "C" fn client_address(owner: *mut c_void) -> Slice<'static> {
        // SAFETY: the table is only passed on together with its owner.
        let request = unsafe { Self::request(owner) };
        future::catch(|| Ok(lend(request.client_address()))).unwrap_or(Slice::absent())
    }

    unsafe extern "C" fn next_chunk(owner: *mut c_void) -> FfiFuture<RawResult<Bytes>> {
        // SAFETY: the table is only passed on together with its owner.
        let request = unsafe { Self::request(owner) };
        match future::catch(|| Ok(request.next_chunk())) {
            Ok(chunk) => chunk,
            Err(error) => future::ready(Err(error)),
        }
    }
}

/// A request that owns all of its parts, for tests and for hosts without a type of their own.
#[derive(Debug, Clone, Default)]
pub struct OwnedRequest {
    /// The HTTP method, in capitals.
    pub method: String,
    /// The path, percent-encoded.
    pub path: String,
    /// The query without its `?`.
    pub query: Option<String>,
    /// The request's id.
    pub request_id: String,
    /// The caller; `None` for an anonymous request.
    pub caller: Option<OwnedCaller>,
    /// Headers by their lower-case names.
    pub headers: Vec<(String, Vec<u8>)>,
    /// The whole body.
    pub body: Vec<u8>,
    /// If set, the body is read in these chunks, and `body` is ignored.
    pub chunks: Option<OwnedChunks>,
    /// The values of the route's `{…}` parts.
    pub params: Vec<String>,
    /// The client's address.
    pub client_address: String,
}

/// The caller of an [`OwnedRequest`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OwnedCaller {
    /// The user's id.
    pub user_id: String,
    /// The user's email.
    pub email: String,
    /// The user's role: `user`, `viewer`, `editor` or `admin`.
    pub role: String,
    /// The scopes of an application token; `None` for a signed-in user.
    pub scopes: Option<String>,
    /// The application token's id; `None` for a signed-in user.
    pub token_id: Option<String>,
}

/// The remaining chunks of a body.
pub type OwnedChunks = std::sync::Arc<std::sync::Mutex<std::collections::VecDeque<Vec<u8>>>>;

impl HostRequest for OwnedRequest {
    fn method(&self) -> &str {
        &self.method
    }

    fn path(&self) -> &str {
        &self.path
    }

    fn query(&self) -> Option<&str> {
        self.query.as_deref()
    }

    fn request_id(&self) -> &str {
        &self.request_id
    }

    fn caller(&self) -> Option<CallerRef<'_>> {
        let caller = self.caller.as_ref()?;
        Some(CallerRef {
            user_id: &caller.user_id,
            email: &caller.email,
            is_admin: caller.role == "admin",
            role: &caller.role,
            scopes: caller.scopes.as_deref(),
            token_id: caller.token_id.as_deref(),
        })
    }

    fn body(&self) -> Option<&[u8]> {
        self.chunks.is_none().then_some(&self.body)
    }

    fn param(&self, index: usize) -> Option<&str> {
        self.params.get(index).map(String::as_str)
    }

    fn header(&self, name: &str) -> Option<&[u8]> {
        self.headers.iter().find(|(header, _)| header == name).map(|(_, value)| value.as_slice())
    }

    fn client_address(&self) -> &str {
        &self.client_address
    }

    fn next_chunk(&self) -> RawFuture<Bytes> {
        let chunk = self.chunks.as_ref().map(|chunks| match chunks.lock() {
            Ok(mut chunks) => Ok(chunks.pop_front().unwrap_or_default().into()),
            Err(_) => Err(RawError::new(500, "body_broken", "the body's reader panicked before")),
        });
        future::ready(chunk.unwrap_or(Ok(Bytes::empty())))
    }
}

#[cfg(test)]
mod tests {
    use std::{
        pin::pin,
        task::{Context, Poll, Waker},
    };

    use super::{super::Request, *};

    fn request(params: usize) -> OwnedRequest {
        OwnedRequest {
            method: "PATCH".into(),
            path: "/api/notes/7".into(),
            query: Some("a=1".into()),
            request_id: "r1".into(),
            caller: Some(OwnedCaller {
                user_id: "u1".into(),
                email: "a@b.c".into(),
                role: "admin".into(),
                scopes: Some("notes:read".into()),
                token_id: Some("t1".into()),
            }),
            headers: vec![("etag".into(), b"\"1\"".to_vec()), ("x-raw".into(), vec![0xff])],
            body: b"{}".to_vec(),
            params: (0..params).map(|index| format!("p{index}")).collect(),
            client_address: "::1".into(),
            ..OwnedRequest::default()
        }
    }

    #[test]
    fn every_part_arrives() {
        let request = Request::lend(request(1));
        assert_eq!(
            (request.method(), request.path(), request.query(), request.request_id()),
            ("PATCH", "/api/notes/7", Some("a=1"), "r1")
        );
        let caller = request.caller().expect("somebody calls");
        assert_eq!((caller.user_id(), caller.email(), caller.is_admin()), ("u1", "a@b.c", true));
        assert_eq!(
            (caller.role(), caller.scopes(), caller.token_id()),
            ("admin", Some("notes:read"), Some("t1"))
        );
        assert!(caller.allows("notes:read:7") && !caller.allows("notes:write"));
        assert_eq!(
            (request.header("etag"), request.header("x-raw"), request.header("x")),
            (Some("\"1\""), None, None)
        );
        assert_eq!((request.body(), request.client_address()), (b"{}".as_slice(), "::1"));
    }

    #[test]
    fn as_many_params_arrive_as_the_path_has() {
        for count in [0, 1, PARAMS_INLINE, PARAMS_INLINE + 1, 40] {
            let request = Request::lend(request(count));
            let params: Vec<_> = (0..count + 2).map_while(|index| request.param(index)).collect();
            assert_eq!(params, (0..count).map(|index| format!("p{index}")).collect::<Vec<_>>());
        }
    }

    #[test]
    fn a_streamed_body_is_pulled_to_its_end() {
        let chunks = [b"ab".to_vec(), b"c".to_vec()].into_iter().collect();
        let chunks = Some(std::sync::Arc::new(std::sync::Mutex::new(chunks)));
        let mut request = Request::lend(OwnedRequest { chunks, ..request(0) });
        assert!(request.body().is_empty(), "a streamed body is not there at once");
        let mut pulled = Vec::new();
        loop {
            let next = pin!(request.next_chunk()).poll(&mut Context::from_waker(Waker::noop()));
            let Poll::Ready(Ok(chunk)) = next else { panic!("a chunk is there at once") };
            if chunk.is_empty() {
                break;
            }
            pulled.extend_from_slice(&chunk);
        }
        assert_eq!(pulled, b"abc");
    }

    struct Bad {
        _alive: std::sync::Arc<()>,
    }
    impl Drop for Bad {
        fn drop(&mut self) {
            panic!("dropped");
        }
    }
    impl HostRequest for Bad {
        fn method(&self) -> &str {
            "GET"
        }
        fn path(&self) -> &str {
            "/"
        }
        fn query(&self) -> Option<&str> {
            None
        }
        fn request_id(&self) -> &str {
            ""
        }
        fn caller(&self) -> Option<CallerRef<'_>> {
            None
        }
        fn body(&self) -> Option<&[u8]> {
            None
        }
        fn param(&self, _index: usize) -> Option<&str> {
            None
        }
        fn header(&self, _name: &str) -> Option<&[u8]> {
            panic!("header")
        }
        fn client_address(&self) -> &str {
            panic!("address")
        }
        fn next_chunk(&self) -> RawFuture<Bytes> {
            panic!("chunk")
        }
    }

    #[test]
    fn panics_of_the_host_stay_on_its_side_and_the_request_is_freed_once() {
        let alive = std::sync::Arc::new(());
        let mut request = Request::lend(Bad { _alive: alive.clone() });
        assert_eq!(
            (request.header("x"), request.client_address(), request.caller().is_some()),
            (None, "", false)
        );
        let next = pin!(request.next_chunk()).poll(&mut Context::from_waker(Waker::noop()));
        assert!(matches!(next, Poll::Ready(Err(_))));
        drop(request);
        assert_eq!(std::sync::Arc::strong_count(&alive), 1);
    }
}

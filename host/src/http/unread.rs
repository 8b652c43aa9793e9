//! Handles the unread rest of a request's body after the response is ready. On HTTP/1 a connection's next request
//! follows the body. A short rest is therefore read and discarded; for a longer one the response closes the connection.
//! It never keeps a byte.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http::{Request, Version, header};
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use parking_lot::Mutex;

use super::deadline::within;

/// The maximum number of bytes that are discarded to keep a connection open.
const REST_BYTES_MAX: u64 = 64 << 10;

/// How long they may take to arrive: about the time between two packets of a request.
const REST_TIMEOUT: Duration = Duration::from_millis(100);

/// A request's body that returns to its [`Rest`] when the reader drops it.
pub(super) struct KeptBody {
    /// `None` only while it is dropped.
    inner: Option<Incoming>,
    rest: Option<Arc<Rest>>,
    /// The client waits for `100 Continue` before it sends the body, and reading would request it.
    is_held_back: bool,
}

/// The unread rest of a request's body.
pub(super) struct Rest(Mutex<State>);

enum State {
    /// A reader may still be reading it.
    Held,
    Ended,
    Left(Incoming),
}

/// Wraps the body of a request. The second value is `None` if a rest would not matter: there is no body, or the
/// connection's other streams continue without it.
pub(super) fn keep(request: Request<Incoming>) -> (Request<KeptBody>, Option<Arc<Rest>>) {
    let matters = request.version() != Version::HTTP_2 && !request.body().is_end_stream();
    let rest = matters.then(|| Arc::new(Rest(Mutex::new(State::Held))));
    let is_held_back = request.headers().contains_key(header::EXPECT);
    let kept = request.map(|body| KeptBody { inner: Some(body), rest: rest.clone(), is_held_back });
    (kept, rest)
}

impl Rest {
    /// Returns whether the connection can continue: the body was read, or its rest is short and is discarded now.
    pub(super) async fn is_gone(&self) -> bool {
        let state = std::mem::replace(&mut *self.0.lock(), State::Held);
        match state {
            State::Held => false,
            State::Ended => true,
            State::Left(body) => within(REST_TIMEOUT, throw_away(body)).await.unwrap_or(false),
        }
    }
}

/// Discards the rest. Returns whether it ended before it was too long.
async fn throw_away(mut body: Incoming) -> bool {
    if body.size_hint().lower() > REST_BYTES_MAX {
        return false;
    }
    let mut bytes = 0;
    while bytes <= REST_BYTES_MAX {
        match body.frame().await {
            None => return true,
            Some(Err(_)) => return false,
            Some(Ok(frame)) => bytes += frame.data_ref().map_or(0, |data| data.len() as u64),
        }
    }
    false
}

impl Body for KeptBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let Some(inner) = &mut self.inner else { return Poll::Ready(None) };
        let frame = Pin::new(inner).poll_frame(cx);
        if frame.is_ready() {
            self.is_held_back = false;
            if matches!(frame, Poll::Ready(None)) || self.is_end_stream() {
                self.end();
            }
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.inner.as_ref().is_none_or(Incoming::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.as_ref().map_or_else(|| SizeHint::with_exact(0), Incoming::size_hint)
    }
}

impl KeptBody {
    fn end(&mut self) {
        if let Some(rest) = self.rest.take() {
            *rest.0.lock() = State::Ended;
        }
    }
}

impl Drop for KeptBody {
    fn drop(&mut self) {
        if self.is_end_stream() {
            self.end();
        }
        if self.is_held_back {
            return;
        }
        if let (Some(rest), Some(body)) = (self.rest.take(), self.inner.take()) {
            *rest.0.lock() = State::Left(body);
        }
    }
}

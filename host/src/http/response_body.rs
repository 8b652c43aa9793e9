//! The body of a response on its way to the client: complete, or read as fast as the client receives it. Its memory
//! counts in the budget of all responses. It never produces bytes itself.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use http_body::{Body, Frame, SizeHint};

use super::{BoxError, ByteStream, connection::RequestGuard, h2_streams::StreamPace};
use crate::memory::{self, Share};
use crate::request_log::Unsent;

/// The maximum number of bytes passed to an HTTP/2 stream at once.
const SLICE_BYTES_MAX: usize = 64 << 10;

/// The body of a response. Bytes in memory need no box.
pub(super) struct ResponseBody {
    kind: BodyKind,
    /// The memory counted in addition to the bytes.
    share: Share,
    pulled: Option<Box<Pulled>>,
    guards: Guards,
    /// The request's row of the request log, which counts the sent bytes.
    row: Option<Box<Unsent>>,
}

enum BodyKind {
    Whole(Option<Bytes>),
    Axum(axum::body::Body),
    Stream(ByteStream),
}

/// What must stay alive until the response is sent.
#[derive(Default)]
struct Guards {
    _request: Option<RequestGuard>,
    _hold: Option<Arc<dyn std::any::Any + Send + Sync>>,
}

/// The state of a body that is not passed on at once.
struct Pulled {
    bytes_max: usize,
    stream: Option<Arc<StreamPace>>,
    /// The rest of a chunk that an HTTP/2 stream gets in slices.
    rest: Bytes,
    /// Waits until all responses together occupy less memory.
    room: Option<BoxFuture<'static, ()>>,
}

impl ResponseBody {
    pub(super) fn empty() -> ResponseBody {
        ResponseBody::from_kind(BodyKind::Whole(None))
    }

    pub(super) fn whole(bytes: Bytes) -> ResponseBody {
        ResponseBody::from_kind(BodyKind::Whole(Some(bytes).filter(|bytes| !bytes.is_empty())))
    }

    pub(super) fn axum(body: axum::body::Body) -> ResponseBody {
        ResponseBody::from_kind(BodyKind::Axum(body))
    }

    pub(super) fn stream(stream: ByteStream) -> ResponseBody {
        ResponseBody::from_kind(BodyKind::Stream(stream))
    }

    fn from_kind(kind: BodyKind) -> ResponseBody {
        ResponseBody { kind, share: Share::default(), pulled: None, guards: Guards::default(), row: None }
    }

    /// Returns the number of bytes in memory before the first is sent; `None` for a streamed body.
    pub(super) fn held(&self) -> Option<usize> {
        match &self.kind {
            BodyKind::Whole(bytes) => Some(bytes.as_ref().map_or(0, Bytes::len)),
            BodyKind::Axum(_) | BodyKind::Stream(_) => None,
        }
    }

    /// Takes the bytes of a complete body, leaving it empty.
    pub(super) fn take_whole(&mut self) -> Option<Bytes> {
        match &mut self.kind {
            BodyKind::Whole(bytes) => bytes.take(),
            BodyKind::Axum(_) | BodyKind::Stream(_) => None,
        }
    }

    /// Replaces the bytes of a complete body.
    pub(super) fn put_whole(&mut self, bytes: Bytes) {
        self.kind = BodyKind::Whole(Some(bytes));
    }

    /// Counts the body in `share` for as long as it is in memory.
    pub(super) fn count(&mut self, share: Share) {
        let BodyKind::Whole(Some(bytes)) = &mut self.kind else {
            self.share = share;
            return;
        };
        let (tracked, share) = memory::track(std::mem::take(bytes), share);
        (*bytes, self.share) = (tracked, share);
    }

    /// Keeps the memory reserved while the body was produced, until the body is counted.
    pub(super) fn keep(&mut self, reserved: Share) {
        self.share = reserved;
    }

    /// Takes the reserved memory.
    pub(super) fn take_kept(&mut self) -> Share {
        std::mem::take(&mut self.share)
    }

    /// Watches the client's pace: for each HTTP/2 stream, and for streamed bodies.
    pub(super) fn watch_pace(&mut self, is_h2: bool, bytes_max: usize) {
        let is_made = !matches!(self.kind, BodyKind::Whole(_));
        if (is_h2 || is_made) && !self.is_end_stream() {
            let stream = if is_h2 { StreamPace::of_answer() } else { None };
            self.pulled = Some(Box::new(Pulled { bytes_max, stream, rest: Bytes::new(), room: None }));
        }
    }

    pub(super) fn guard_request(&mut self, guard: RequestGuard) {
        self.guards._request = Some(guard);
    }

    /// Counts the sent bytes for a row of the request log.
    pub(super) fn log(&mut self, row: Option<Unsent>) {
        self.row = row.map(Box::new);
    }

    pub(super) fn guard_hold(&mut self, hold: Option<Arc<dyn std::any::Any + Send + Sync>>) {
        if matches!(self.kind, BodyKind::Stream(_)) {
            self.guards._hold = hold;
        }
    }
}

impl Default for ResponseBody {
    fn default() -> ResponseBody {
        ResponseBody::empty()
    }
}

type Polled = Poll<Option<Result<Frame<Bytes>, BoxError>>>;

impl BodyKind {
    fn poll_frame(&mut self, context: &mut Context<'_>) -> Polled {
        match self {
            BodyKind::Whole(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            BodyKind::Axum(body) => Pin::new(body).poll_frame(context).map_err(BoxError::from),
            BodyKind::Stream(stream) => {
                stream.as_mut().poll_next(context).map(|next| next.map(|piece| piece.map(Frame::data)))
            }
        }
    }
}

impl Pulled {
    fn poll_frame(&mut self, kind: &mut BodyKind, context: &mut Context<'_>) -> Polled {
        if !self.rest.is_empty() {
            return Poll::Ready(Some(Ok(Frame::data(self.slice()))));
        }
        let polled = self.poll_piece(kind, context);
        match (&polled, &self.stream) {
            (Poll::Pending, Some(stream)) => stream.pace.catch_up(),
            (Poll::Ready(_), Some(stream)) => stream.pace.wait(),
            (_, None) => {}
        }
        let Poll::Ready(Some(Ok(frame))) = polled else { return polled };
        let frame = match frame.into_data() {
            Ok(bytes) => bytes,
            Err(trailers) => return Poll::Ready(Some(Ok(trailers))),
        };
        let bytes = match kind {
            BodyKind::Whole(_) => frame,
            BodyKind::Axum(_) | BodyKind::Stream(_) => {
                let share = Share::forced(frame.len());
                memory::track(frame, share).0
            }
        };
        if self.stream.is_none() || bytes.is_empty() {
            return Poll::Ready(Some(Ok(Frame::data(bytes))));
        }
        self.rest = bytes;
        Poll::Ready(Some(Ok(Frame::data(self.slice()))))
    }

    /// Polls for the next chunk, once there is room for it.
    fn poll_piece(&mut self, kind: &mut BodyKind, context: &mut Context<'_>) -> Polled {
        if !matches!(kind, BodyKind::Whole(_)) {
            if self.room.is_none() && memory::held() >= self.bytes_max {
                self.room = Some(Box::pin(memory::room(self.bytes_max)));
            }
            if let Some(room) = &mut self.room {
                ready!(room.as_mut().poll(context));
                self.room = None;
            }
        }
        kind.poll_frame(context)
    }

    /// Returns a slice of the rest. The last byte of each chunk is sent alone. HTTP/2 accepts it only once the client
    /// has made room for everything before it, so no bytes wait for the client unobserved.
    fn slice(&mut self) -> Bytes {
        let bytes = match self.rest.len() {
            0 | 1 => std::mem::take(&mut self.rest),
            len if len > SLICE_BYTES_MAX => self.rest.split_to(SLICE_BYTES_MAX),
            len => self.rest.split_to(len - 1),
        };
        if let Some(stream) = &self.stream {
            stream.pace.took(bytes.len());
        }
        bytes
    }
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = &mut *self;
        let polled = match &mut this.pulled {
            Some(pulled) => pulled.poll_frame(&mut this.kind, context),
            None => this.kind.poll_frame(context),
        };
        if let Some(row) = &mut this.row
            && let Poll::Ready(Some(Ok(frame))) = &polled
        {
            row.sent(frame.data_ref().map_or(0, Bytes::len));
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        let has_rest = self.pulled.as_ref().is_some_and(|pulled| !pulled.rest.is_empty());
        !has_rest
            && match &self.kind {
                BodyKind::Whole(bytes) => bytes.is_none(),
                BodyKind::Axum(body) => body.is_end_stream(),
                BodyKind::Stream(_) => false,
            }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.kind {
            BodyKind::Whole(bytes) => {
                SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64))
            }
            BodyKind::Axum(body) => body.size_hint(),
            BodyKind::Stream(_) => SizeHint::default(),
        }
    }
}

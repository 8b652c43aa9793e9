//! Bodies, both ways: a request's body under its limit and deadline, and the body of an answer. It never parses one.

use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use http::{HeaderValue, StatusCode, header};
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt;
use tokio::time::{Instant, Sleep};

use super::{BoxError, ByteStream, Limits, connection::RequestGuard};
use crate::{error::ApiError, observe::stats::HTTP, request_log::Unsent};

/// The most that is set aside for a body before its bytes are there, whatever its `content-length` claims.
const RESERVE_BYTES_MAX: usize = 64 << 10;

/// Why a request's body was not read to its end.
#[derive(Debug, thiserror::Error, Clone, PartialEq, Eq)]
pub enum BodyError {
    /// It is larger than allowed.
    #[error("the body is larger than {0} bytes")]
    TooLarge(usize),
    /// It took too long.
    #[error("the body took too long to arrive; send it faster or in smaller parts")]
    TooSlow,
    /// All bodies together hold too much memory.
    #[error("the server holds too many large bodies at once; try again shortly")]
    Overloaded,
    /// The client went away or broke the protocol.
    #[error("the body broke off before its end")]
    Broken,
}

impl BodyError {
    /// Finds a body's error under the wrappers that libraries put around it.
    pub fn find<'e>(error: &'e (dyn std::error::Error + 'static)) -> Option<&'e BodyError> {
        std::iter::successors(Some(error), |error| error.source()).find_map(|error| error.downcast_ref())
    }
}

impl From<BodyError> for ApiError {
    fn from(error: BodyError) -> ApiError {
        let detail = error.to_string();
        let refused = match error {
            BodyError::TooLarge(bytes_max) => ApiError::too_large(bytes_max),
            BodyError::TooSlow => ApiError::new(StatusCode::REQUEST_TIMEOUT, "body_timeout", detail),
            BodyError::Overloaded => ApiError::unavailable("overloaded", detail),
            BodyError::Broken => ApiError::bad_request("body_incomplete", detail),
        };
        // What is left of the body is not worth reading: the connection ends with this answer.
        refused.header(header::CONNECTION, HeaderValue::from_static("close"))
    }
}

/// How many bytes of bodies are held, shared by all requests.
#[derive(Debug)]
pub(super) struct BodyBudget {
    bytes: AtomicUsize,
    bytes_max: usize,
}

impl BodyBudget {
    pub(super) fn new(bytes_max: usize) -> Arc<BodyBudget> {
        Arc::new(BodyBudget { bytes: AtomicUsize::new(0), bytes_max })
    }
}

/// A part of the [`BodyBudget`]; given back when dropped.
#[derive(Debug)]
pub(super) struct BudgetShare {
    budget: Arc<BodyBudget>,
    bytes: usize,
}

impl BudgetShare {
    pub(super) fn new(budget: &Arc<BodyBudget>) -> BudgetShare {
        BudgetShare { budget: Arc::clone(budget), bytes: 0 }
    }

    fn grow(&mut self, bytes: usize) -> Result<(), BodyError> {
        let before = self.budget.bytes.fetch_add(bytes, Ordering::Relaxed);
        self.bytes += bytes;
        HTTP.body_bytes.step(signed(bytes));
        if before + bytes > self.budget.bytes_max { Err(BodyError::Overloaded) } else { Ok(()) }
    }
}

impl Drop for BudgetShare {
    fn drop(&mut self) {
        if self.bytes > 0 {
            self.budget.bytes.fetch_sub(self.bytes, Ordering::Relaxed);
            HTTP.body_bytes.step(-signed(self.bytes));
        }
    }
}

fn signed(bytes: usize) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}

/// A request's body that ends in an error once it is too large or too slow.
pub(super) struct LimitedBody<B> {
    inner: B,
    bytes: usize,
    bytes_max: usize,
    started: Option<Instant>,
    timeout: Duration,
    bytes_per_second_min: usize,
    timer: Option<Pin<Box<Sleep>>>,
}

impl<B: Body<Data = Bytes> + Unpin> LimitedBody<B> {
    pub(super) fn new(inner: B, bytes_max: usize, limits: &Limits) -> LimitedBody<B> {
        LimitedBody {
            inner,
            bytes: 0,
            bytes_max,
            started: None,
            timeout: limits.body_read_timeout,
            bytes_per_second_min: limits.body_bytes_per_second_min.max(1),
            timer: None,
        }
    }

    fn deadline(&mut self) -> Instant {
        let granted = Duration::from_millis(
            (self.bytes as u64).saturating_mul(1000) / self.bytes_per_second_min as u64,
        );
        *self.started.get_or_insert_with(Instant::now) + self.timeout + granted
    }

    /// Whether the time is up; asked only while there is nothing to read, so a body that is there costs no timer.
    fn poll_too_slow(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let deadline = self.deadline();
        let timer = self.timer.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(deadline)));
        if timer.deadline() != deadline {
            timer.as_mut().reset(deadline);
        }
        timer.as_mut().poll(cx)
    }

    /// Reads it whole. `share` grows by what is held.
    pub(super) async fn collect(mut self, share: &mut BudgetShare) -> Result<Bytes, BodyError> {
        if self.inner.is_end_stream() {
            return Ok(Bytes::new());
        }
        let claimed = self.inner.size_hint().lower();
        if claimed > self.bytes_max as u64 {
            return Err(BodyError::TooLarge(self.bytes_max));
        }
        let Some(first) = self.next_data(share).await? else { return Ok(Bytes::new()) };
        let Some(second) = self.next_data(share).await? else { return Ok(first) };
        let reserve = usize::try_from(claimed)
            .unwrap_or(0)
            .clamp(first.len() + second.len(), RESERVE_BYTES_MAX.max(first.len() + second.len()));
        let mut whole = BytesMut::with_capacity(reserve);
        whole.extend_from_slice(&first);
        whole.extend_from_slice(&second);
        while let Some(piece) = self.next_data(share).await? {
            whole.extend_from_slice(&piece);
        }
        Ok(whole.freeze())
    }

    async fn next_data(&mut self, share: &mut BudgetShare) -> Result<Option<Bytes>, BodyError> {
        while !self.inner.is_end_stream() {
            match self.frame().await {
                None => return Ok(None),
                Some(Err(error)) => return Err(error),
                Some(Ok(frame)) => {
                    if let Ok(data) = frame.into_data() {
                        share.grow(data.len())?;
                        return Ok(Some(data));
                    }
                }
            }
        }
        Ok(None)
    }
}

impl<B: Body<Data = Bytes> + Unpin> Body for LimitedBody<B> {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = &mut *self;
        let Poll::Ready(frame) = Pin::new(&mut this.inner).poll_frame(cx) else {
            ready!(this.poll_too_slow(cx));
            return Poll::Ready(Some(Err(BodyError::TooSlow)));
        };
        let frame = match frame {
            None => return Poll::Ready(None),
            Some(Err(_)) => return Poll::Ready(Some(Err(BodyError::Broken))),
            Some(Ok(frame)) => frame,
        };
        this.bytes = this.bytes.saturating_add(frame.data_ref().map_or(0, Bytes::len));
        if this.bytes > this.bytes_max {
            return Poll::Ready(Some(Err(BodyError::TooLarge(this.bytes_max))));
        }
        Poll::Ready(Some(Ok(frame)))
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

/// The body of an answer. Bytes that are there need no box.
pub(super) struct AnswerBody {
    kind: AnswerKind,
    guards: Guards,
    /// The request's row of the request log, which counts what is sent.
    row: Option<Box<Unsent>>,
}

enum AnswerKind {
    Whole(Option<Bytes>),
    Axum(axum::body::Body),
    Stream(ByteStream),
}

/// What must live until the answer is sent.
#[derive(Default)]
struct Guards {
    _request: Option<RequestGuard>,
    _hold: Option<Arc<dyn std::any::Any + Send + Sync>>,
}

impl AnswerBody {
    pub(super) fn empty() -> AnswerBody {
        AnswerBody::from_kind(AnswerKind::Whole(None))
    }

    pub(super) fn whole(bytes: Bytes) -> AnswerBody {
        AnswerBody::from_kind(AnswerKind::Whole(Some(bytes).filter(|bytes| !bytes.is_empty())))
    }

    pub(super) fn axum(body: axum::body::Body) -> AnswerBody {
        AnswerBody::from_kind(AnswerKind::Axum(body))
    }

    pub(super) fn stream(stream: ByteStream) -> AnswerBody {
        AnswerBody::from_kind(AnswerKind::Stream(stream))
    }

    fn from_kind(kind: AnswerKind) -> AnswerBody {
        AnswerBody { kind, guards: Guards::default(), row: None }
    }

    pub(super) fn guard_request(&mut self, guard: RequestGuard) {
        self.guards._request = Some(guard);
    }

    /// Counts what is sent for a row of the request log.
    pub(super) fn log(&mut self, row: Option<Unsent>) {
        self.row = row.map(Box::new);
    }

    pub(super) fn guard_hold(&mut self, hold: Option<Arc<dyn std::any::Any + Send + Sync>>) {
        if matches!(self.kind, AnswerKind::Stream(_)) {
            self.guards._hold = hold;
        }
    }
}

impl Default for AnswerBody {
    fn default() -> AnswerBody {
        AnswerBody::empty()
    }
}

impl Body for AnswerBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let polled = match &mut self.kind {
            AnswerKind::Whole(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            AnswerKind::Axum(body) => Pin::new(body).poll_frame(cx).map_err(BoxError::from),
            AnswerKind::Stream(stream) => {
                stream.as_mut().poll_next(cx).map(|next| next.map(|piece| piece.map(Frame::data)))
            }
        };
        if let Some(row) = &mut self.row
            && let Poll::Ready(Some(Ok(frame))) = &polled
        {
            row.sent(frame.data_ref().map_or(0, Bytes::len));
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        match &self.kind {
            AnswerKind::Whole(bytes) => bytes.is_none(),
            AnswerKind::Axum(body) => body.is_end_stream(),
            AnswerKind::Stream(_) => false,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.kind {
            AnswerKind::Whole(bytes) => {
                SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64))
            }
            AnswerKind::Axum(body) => body.size_hint(),
            AnswerKind::Stream(_) => SizeHint::default(),
        }
    }
}

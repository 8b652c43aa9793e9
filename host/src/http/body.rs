//! Request bodies under their size limit, their deadline and the memory budget of all bodies. It never parses one.

use std::{
    ops::RangeInclusive,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use http::StatusCode;
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt;
use tokio::time::{Instant, Sleep};

use super::Limits;
use crate::{error::ApiError, metrics::stats::HTTP};

/// The smallest and the largest block in which a body is collected, whatever its `content-length`.
const BLOCK_BYTES: RangeInclusive<usize> = (16 << 10)..=(1 << 20);

/// The largest small body in bytes. The last quarter of the budget is reserved for small bodies, so that uploads do not
/// block sign-ins.
const SMALL_BYTES_MAX: usize = 64 << 10;

/// Why a request's body was not read to its end.
#[derive(Debug, thiserror::Error, Clone, PartialEq, Eq)]
pub enum BodyError {
    /// It is larger than allowed.
    #[error("the body is larger than {0} bytes")]
    TooLarge(usize),
    /// It took too long.
    #[error("the body took too long to arrive; send it faster or in smaller parts")]
    TooSlow,
    /// All bodies together occupy too much memory.
    #[error("the server holds too many large bodies at once; try again shortly")]
    Overloaded,
    /// The client disconnected or violated the protocol.
    #[error("the body broke off before its end")]
    Broken,
}

impl BodyError {
    /// Finds a body's error among the sources of an error from a library.
    pub fn find<'e>(error: &'e (dyn std::error::Error + 'static)) -> Option<&'e BodyError> {
        std::iter::successors(Some(error), |error| error.source()).find_map(|error| error.downcast_ref())
    }
}

impl From<BodyError> for ApiError {
    fn from(error: BodyError) -> ApiError {
        let detail = error.to_string();
        match error {
            BodyError::TooLarge(bytes_max) => ApiError::too_large(bytes_max),
            BodyError::TooSlow => ApiError::new(StatusCode::REQUEST_TIMEOUT, "body_timeout", detail),
            BodyError::Overloaded => ApiError::unavailable("overloaded", detail),
            BodyError::Broken => ApiError::bad_request("body_incomplete", detail),
        }
    }
}

/// The number of bytes occupied by all requests' bodies, and its limit.
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

/// A share of the [`BodyBudget`], released on drop.
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
        let bytes_max = match self.bytes {
            0..=SMALL_BYTES_MAX => self.budget.bytes_max,
            _ => self.budget.bytes_max / 4 * 3,
        };
        if before + bytes > bytes_max { Err(BodyError::Overloaded) } else { Ok(()) }
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

/// The received part of a body. A single growing buffer would take up to three times its size while it is copied.
#[derive(Default)]
struct Blocks {
    full: Vec<BytesMut>,
    last: BytesMut,
    bytes: usize,
}

impl Blocks {
    fn push(&mut self, mut piece: &[u8]) {
        while !piece.is_empty() {
            let room = self.last.capacity() - self.last.len();
            if room == 0 {
                let block = self.bytes.max(piece.len()).clamp(*BLOCK_BYTES.start(), *BLOCK_BYTES.end());
                let full = std::mem::replace(&mut self.last, BytesMut::with_capacity(block));
                self.full.push(full);
                continue;
            }
            let (fits, rest) = piece.split_at(room.min(piece.len()));
            self.last.extend_from_slice(fits);
            self.bytes += fits.len();
            piece = rest;
        }
    }

    /// Joins the blocks. Each is freed as soon as it is copied, and the task yields after each full-sized one.
    async fn join(self) -> Bytes {
        if self.bytes == self.last.len() {
            return self.last.freeze();
        }
        let mut whole = BytesMut::with_capacity(self.bytes);
        for block in self.full.into_iter().chain([self.last]) {
            whole.extend_from_slice(&block);
            if block.len() == *BLOCK_BYTES.end() {
                drop(block);
                tokio::task::yield_now().await;
            }
        }
        whole.freeze()
    }
}

/// A request's body that fails once it is too large or too slow.
pub(super) struct LimitedBody<B> {
    inner: B,
    bytes: usize,
    bytes_max: usize,
    timeout: Duration,
    rate_min: u32,
    /// Set while no data is available, so that a body that has already arrived costs no timer.
    waiting: Option<Waiting>,
    /// Set if the reader reads the body in pieces and keeps them.
    share: Option<BudgetShare>,
}

/// An interval in which the body must end or deliver enough bytes.
struct Waiting {
    timer: Pin<Box<Sleep>>,
    /// The number of bytes received when it began.
    bytes: usize,
}

impl<B: Body<Data = Bytes> + Unpin> LimitedBody<B> {
    pub(super) fn new(inner: B, bytes_max: usize, limits: &Limits) -> LimitedBody<B> {
        LimitedBody {
            inner,
            bytes: 0,
            bytes_max,
            timeout: limits.body_read_timeout,
            rate_min: limits.body_rate_bytes_per_second_min,
            waiting: None,
            share: None,
        }
    }

    /// Counts the read bytes in the budget until the body is dropped. For readers that read it in pieces and keep them.
    pub(super) fn counted(self, budget: &Arc<BodyBudget>) -> LimitedBody<B> {
        LimitedBody { share: Some(BudgetShare::new(budget)), ..self }
    }

    /// Resolves if too little arrived in time. Only polled while no data is available.
    fn poll_too_slow(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let (timeout, bytes) = (self.timeout, self.bytes);
        let begin = || Waiting { timer: Box::pin(tokio::time::sleep(timeout)), bytes };
        let waiting = self.waiting.get_or_insert_with(begin);
        loop {
            ready!(waiting.timer.as_mut().poll(cx));
            let wanted = u128::from(self.rate_min) * timeout.as_millis() / 1000;
            let brought = bytes - waiting.bytes;
            if brought == 0 || (brought as u128) < wanted {
                return Poll::Ready(());
            }
            waiting.bytes = bytes;
            waiting.timer.as_mut().reset(Instant::now() + timeout);
        }
    }

    /// Reads the whole body. `share` grows by its bytes.
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
        let mut blocks = Blocks::default();
        blocks.push(&first);
        drop(first);
        blocks.push(&second);
        drop(second);
        while let Some(piece) = self.next_data(share).await? {
            blocks.push(&piece);
        }
        Ok(blocks.join().await)
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
        if let (Some(share), Some(data)) = (&mut this.share, frame.data_ref())
            && let Err(error) = share.grow(data.len())
        {
            return Poll::Ready(Some(Err(error)));
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

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_comes_in_pieces_is_joined_in_order() {
        for bytes in [1, 100, 16 << 10, (16 << 10) + 1, 5 << 20] {
            let body: Vec<u8> = (0..bytes).map(|at| (at % 251) as u8).collect();
            for piece in [1, 7, 9_000, 300_000, 3 << 20] {
                // Smaller pieces of a large body would only slow down the test.
                let piece = piece.max(bytes / 100_000);
                let mut blocks = Blocks::default();
                body.chunks(piece).for_each(|piece| blocks.push(piece));
                assert!(blocks.full.iter().all(|block| block.capacity() <= *BLOCK_BYTES.end()));
                assert!(blocks.join().await == body, "{bytes} bytes by {piece}");
            }
        }
    }
}

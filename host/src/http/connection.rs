//! The activity of a connection, and the socket that records it: the basis for disconnecting slow and stuck clients. It
//! never looks at the bytes.
//!
//! One timer per connection replaces one per request. The socket and the requests record times in atomics, and the
//! connection's own task compares them with the limits periodically.

use std::{
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering},
    },
    task::{Context, Poll, ready},
    time::{Duration, Instant},
};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::{
    Limits,
    linger::Linger,
    pace::{Pace, PaceJudge, look_interval},
};

/// The number of bytes read from a connection before other ready tasks get their turn.
const READ_BURST_BYTES: usize = 256 << 10;

/// Times and counters of one connection. Times are milliseconds since it was opened, plus one; 0 means "not".
#[derive(Debug)]
pub(super) struct ConnectionState {
    opened: Instant,
    requests: AtomicU32,
    h2: AtomicBool,
    head_since: AtomicU64,
    active_at: AtomicU64,
    pace: Pace,
    unread: AtomicBool,
}

/// What to do with a connection.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Nothing; check again after this time.
    Fine(Duration),
    /// It has been idle for too long: close it gracefully.
    Idle,
    /// It is stuck: drop it. The text is for the log.
    Stuck(&'static str),
}

impl ConnectionState {
    pub(super) fn new() -> ConnectionState {
        ConnectionState {
            opened: Instant::now(),
            requests: AtomicU32::new(0),
            h2: AtomicBool::new(false),
            head_since: AtomicU64::new(1),
            active_at: AtomicU64::new(1),
            pace: Pace::default(),
            unread: AtomicBool::new(false),
        }
    }

    fn now(&self) -> u64 {
        u64::try_from(self.opened.elapsed().as_millis()).map_or(u64::MAX, |ms| ms.saturating_add(1))
    }

    /// Records that a request's head is complete. The request lasts until the returned guard is dropped.
    pub(super) fn begin(self: &Arc<ConnectionState>, h2: bool) -> RequestGuard {
        if h2 {
            self.h2.store(true, Ordering::Relaxed);
        }
        self.head_since.store(0, Ordering::Relaxed);
        self.requests.fetch_add(1, Ordering::Relaxed);
        RequestGuard(Arc::clone(self))
    }

    /// Records that a response was sent before the request's body was read: the client may still be sending.
    pub(super) fn leave_unread(&self) {
        self.unread.store(true, Ordering::Relaxed);
    }

    fn bytes_read(&self) {
        if self.requests.load(Ordering::Relaxed) == 0 && self.head_since.load(Ordering::Relaxed) == 0 {
            self.head_since.store(self.now(), Ordering::Relaxed);
        }
    }

    fn bytes_written(&self, bytes: usize) {
        self.active_at.store(self.now(), Ordering::Relaxed);
        self.pace.took(bytes);
    }

    /// Compares the recorded activity with `limits`; `judge` keeps earlier observations.
    pub(super) fn verdict(&self, judge: &mut PaceJudge, limits: &Limits) -> Verdict {
        if let Some(why) = judge.judge(&self.pace, tokio::time::Instant::now(), limits) {
            return Verdict::Stuck(why);
        }
        if self.pace.is_waiting() || self.requests.load(Ordering::Relaxed) > 0 {
            return Verdict::Fine(look_interval(limits));
        }
        let now = self.now();
        let left = |since: u64, limit: Duration| {
            limit.checked_sub(Duration::from_millis(now.saturating_sub(since))).filter(|left| !left.is_zero())
        };
        let head_since = self.head_since.load(Ordering::Relaxed);
        if head_since != 0 && !self.h2.load(Ordering::Relaxed) {
            return left(head_since, limits.header_read_timeout)
                .map_or(Verdict::Stuck("a request's head took too long"), Verdict::Fine);
        }
        left(self.active_at.load(Ordering::Relaxed), limits.idle_timeout)
            .map_or(Verdict::Idle, |left| Verdict::Fine(left.min(limits.header_read_timeout)))
    }
}

/// Marks a request as in progress, until its response's body has been sent.
#[derive(Debug)]
pub(super) struct RequestGuard(Arc<ConnectionState>);

impl Drop for RequestGuard {
    fn drop(&mut self) {
        self.0.active_at.store(self.0.now(), Ordering::Relaxed);
        self.0.requests.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A socket that records its activity in a [`ConnectionState`].
pub(super) struct TrackedIo<S> {
    inner: S,
    watch: Arc<ConnectionState>,
    /// The bytes read since the socket last had no data.
    burst: usize,
    linger_timeout: Duration,
    linger: Option<Linger>,
}

impl<S> TrackedIo<S> {
    pub(super) fn new(inner: S, watch: Arc<ConnectionState>, linger_timeout: Duration) -> TrackedIo<S> {
        TrackedIo { inner, watch, burst: 0, linger_timeout, linger: None }
    }

    fn note_write(&self, outcome: &Poll<io::Result<usize>>) {
        match outcome {
            Poll::Ready(written) => self.watch.bytes_written(written.as_ref().map_or(0, |bytes| *bytes)),
            Poll::Pending => self.watch.pace.wait(),
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for TrackedIo<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.burst >= READ_BURST_BYTES {
            self.burst = 0;
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        let before = buf.filled().len();
        let outcome = Pin::new(&mut self.inner).poll_read(cx, buf);
        if outcome.is_ready() {
            self.watch.bytes_read();
            self.burst += buf.filled().len() - before;
        } else {
            self.burst = 0;
        }
        outcome
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for TrackedIo<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let outcome = Pin::new(&mut self.inner).poll_write(cx, bytes);
        self.note_write(&outcome);
        outcome
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let outcome = Pin::new(&mut self.inner).poll_write_vectored(cx, slices);
        self.note_write(&outcome);
        outcome
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    /// A flush follows once everything is written.
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.inner).poll_flush(cx);
        if flushed.is_ready() {
            self.watch.pace.catch_up();
        }
        flushed
    }

    /// Closes the write side, and keeps reading for a while.
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if this.linger.is_none() {
            ready!(Pin::new(&mut this.inner).poll_shutdown(cx))?;
        }
        let timeout = this.linger_timeout;
        let is_unread = this.watch.unread.load(Ordering::Relaxed);
        let linger = this.linger.get_or_insert_with(|| Linger::new(timeout));
        linger.poll(&mut this.inner, is_unread, cx).map(Ok)
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use super::*;
    use crate::http::linger::tests::Endless;

    impl AsyncWrite for Endless {
        fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
            Poll::Ready(Ok(bytes.len()))
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    /// Returns the number of bytes read in one burst.
    async fn burst(socket: &mut TrackedIo<Endless>) -> usize {
        let (mut bytes, mut block) = (0, [0; 64 << 10]);
        poll_fn(|cx| {
            loop {
                let mut buf = ReadBuf::new(&mut block);
                if Pin::new(&mut *socket).poll_read(cx, &mut buf).is_pending() {
                    return Poll::Ready(());
                }
                bytes += buf.filled().len();
                assert!(bytes <= 1 << 20, "nobody else has a turn");
            }
        })
        .await;
        bytes
    }

    #[tokio::test]
    async fn a_client_who_never_stops_sending_gives_way_to_others() {
        let mut socket = TrackedIo::new(Endless, Arc::new(ConnectionState::new()), Duration::ZERO);
        for _ in 0..3 {
            assert_eq!(burst(&mut socket).await, READ_BURST_BYTES);
        }
    }

    fn limits() -> Limits {
        Limits {
            header_read_timeout: Duration::from_millis(1_000),
            idle_timeout: Duration::from_millis(10_000),
            response_stall_timeout: Duration::from_millis(5_000),
            ..Limits::default()
        }
    }

    fn verdict(watch: &ConnectionState) -> Verdict {
        watch.verdict(&mut PaceJudge::new(tokio::time::Instant::now()), &limits())
    }

    /// Returns the state of a connection opened this many milliseconds ago.
    fn opened_ago(ms: u64) -> Arc<ConnectionState> {
        let opened = Instant::now().checked_sub(Duration::from_millis(ms)).expect("the clock is that old");
        Arc::new(ConnectionState { opened, ..ConnectionState::new() })
    }

    #[test]
    fn a_head_that_never_ends_is_stuck_from_the_first_byte() {
        assert!(matches!(verdict(&opened_ago(900)), Verdict::Fine(_)));
        assert!(matches!(verdict(&opened_ago(1_100)), Verdict::Stuck(_)));
    }

    #[test]
    fn a_running_request_is_left_alone_until_the_client_stops_reading() {
        let watch = opened_ago(60_000);
        let guard = watch.begin(false);
        assert!(matches!(verdict(&watch), Verdict::Fine(_)));
        watch.pace.wait();
        let begun = tokio::time::Instant::now() - Duration::from_secs(5);
        let mut judge = PaceJudge::new(begun);
        assert!(matches!(watch.verdict(&mut judge, &limits()), Verdict::Stuck(_)));
        watch.bytes_written(1);
        assert!(matches!(watch.verdict(&mut judge, &limits()), Verdict::Fine(_)));
        drop(guard);
        assert!(matches!(verdict(&watch), Verdict::Fine(_)), "bytes still wait for the client");
        watch.pace.catch_up();
        assert!(matches!(verdict(&watch), Verdict::Fine(_)), "just became idle");
        watch.active_at.store(1, Ordering::Relaxed);
        assert_eq!(verdict(&watch), Verdict::Idle);
    }

    #[test]
    fn only_http_1_has_a_head_timeout_between_requests() {
        for (h2, stuck) in [(false, true), (true, false)] {
            let watch = opened_ago(60_000);
            drop(watch.begin(h2));
            watch.bytes_read();
            watch.head_since.store(1, Ordering::Relaxed);
            assert_eq!(matches!(verdict(&watch), Verdict::Stuck(_)), stuck, "h2: {h2}");
        }
    }
}

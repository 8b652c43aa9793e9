//! The end of a connection: reads and discards what the client is still sending, for a while. A socket that is dropped
//! with unread bytes is reset, and the reset can overtake the response (a 413, for example) on its way to the client.
//! It never reads faster than a set rate, however many connections end at once.

use std::{
    pin::Pin,
    sync::atomic::{AtomicU32, Ordering},
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, ReadBuf},
    time::{Instant, Sleep, sleep},
};

/// The maximum number of bytes that are read and discarded per connection.
const BYTES_MAX: usize = 4 << 20;

/// The number of bytes read before a pause. The pause is one millisecond per lingering connection: 64 MB a second over
/// all of them.
const PART_BYTES: usize = 64 << 10;

/// The number of lingering connections.
static LINGERING: AtomicU32 = AtomicU32::new(0);

/// The end of a socket whose write side is closed.
pub(super) struct Linger {
    bytes: usize,
    /// The bytes read since the last pause.
    part: usize,
    is_paused: bool,
    ends: Instant,
    timer: Pin<Box<Sleep>>,
}

impl Linger {
    /// Creates one that lasts at most `timeout`.
    pub(super) fn new(timeout: Duration) -> Linger {
        LINGERING.fetch_add(1, Ordering::Relaxed);
        let ends = Instant::now() + timeout;
        Linger { bytes: 0, part: 0, is_paused: false, ends, timer: Box::pin(sleep(timeout)) }
    }

    /// Reads until the client closes its side, or the time or byte limit is reached. Ends at once if no data arrives
    /// and nothing is known to be unread (`is_unread`).
    pub(super) fn poll<S: AsyncRead + Unpin>(
        &mut self,
        socket: &mut S,
        is_unread: bool,
        cx: &mut Context<'_>,
    ) -> Poll<()> {
        let mut scrap = [0_u8; 16 << 10];
        while self.bytes < BYTES_MAX {
            if self.is_paused {
                ready!(self.timer.as_mut().poll(cx));
                self.is_paused = false;
                self.part = 0;
                self.timer.as_mut().reset(self.ends);
            }
            if Instant::now() >= self.ends {
                break;
            }
            let mut buf = ReadBuf::new(&mut scrap);
            match Pin::new(&mut *socket).poll_read(cx, &mut buf) {
                Poll::Ready(Ok(())) if !buf.filled().is_empty() => self.read(buf.filled().len()),
                Poll::Ready(_) => break,
                Poll::Pending if self.bytes == 0 && !is_unread => break,
                Poll::Pending => {
                    ready!(self.timer.as_mut().poll(cx));
                    break;
                }
            }
        }
        Poll::Ready(())
    }

    fn read(&mut self, bytes: usize) {
        self.bytes += bytes;
        self.part += bytes;
        if self.part >= PART_BYTES {
            let pause = Duration::from_millis(LINGERING.load(Ordering::Relaxed).into());
            self.timer.as_mut().reset((Instant::now() + pause).min(self.ends));
            self.is_paused = true;
        }
    }
}

impl Drop for Linger {
    fn drop(&mut self) {
        LINGERING.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::future::poll_fn;

    use super::*;

    /// A client that never stops sending.
    pub(in crate::http) struct Endless;

    impl AsyncRead for Endless {
        fn poll_read(
            self: Pin<&mut Self>,
            _: &mut Context<'_>,
            buf: &mut ReadBuf<'_>,
        ) -> Poll<std::io::Result<()>> {
            buf.advance(buf.remaining());
            Poll::Ready(Ok(()))
        }
    }

    /// Returns the number of bytes read from such a client within `timeout`, along with `others`.
    async fn thrown_away(timeout: Duration, others: u32) -> usize {
        let _others: Vec<_> = (0..others).map(|_| Linger::new(timeout)).collect();
        let mut linger = Linger::new(timeout);
        poll_fn(|cx| linger.poll(&mut Endless, true, cx)).await;
        linger.bytes
    }

    #[tokio::test]
    async fn connections_at_their_end_share_a_rate() {
        assert_eq!(thrown_away(Duration::from_secs(20), 0).await, BYTES_MAX);
        let bytes = thrown_away(Duration::from_millis(300), 99).await;
        assert!((1..512 << 10).contains(&bytes), "{bytes} bytes");
    }
}

//! Cooperative scheduling: splits a handler's long work into parts, so that other requests run in between.

use std::{
    future::poll_fn,
    task::{Context, Poll},
};

/// The bytes of work before the thread is yielded. Copying them takes well below a millisecond, parsing a few
/// milliseconds.
const PART_BYTES: usize = 256 << 10;

/// Yields, so that other tasks waiting for this thread run first.
pub async fn yield_now() {
    let mut yielded = false;
    poll_fn(|context: &mut Context<'_>| {
        if yielded {
            return Poll::Ready(());
        }
        yielded = true;
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

/// Counts the bytes that a handler processes, and yields after each 256 KiB.
#[derive(Debug, Default)]
pub struct Pace {
    bytes: usize,
}

impl Pace {
    /// Call it after processing this many bytes.
    pub async fn worked(&mut self, bytes: usize) {
        self.bytes += bytes;
        if self.bytes >= PART_BYTES {
            self.bytes = 0;
            yield_now().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        pin::pin,
        task::{Context, Poll, Waker},
    };

    use super::*;

    fn polls(mut future: std::pin::Pin<&mut impl Future<Output = ()>>) -> usize {
        let mut context = Context::from_waker(Waker::noop());
        let mut polls = 1;
        while future.as_mut().poll(&mut context) == Poll::Pending {
            polls += 1;
        }
        polls
    }

    #[test]
    fn work_is_interrupted_after_each_part() {
        assert_eq!(polls(pin!(yield_now())), 2);
        let mut pace = Pace::default();
        assert_eq!(polls(pin!(pace.worked(PART_BYTES - 1))), 1);
        assert_eq!(polls(pin!(pace.worked(1))), 2);
        assert_eq!(polls(pin!(pace.worked(1))), 1);
    }
}

//! Sharing the thread: long work of a handler is done in parts, with others' requests in between.

use std::{
    future::poll_fn,
    task::{Context, Poll},
};

/// How many bytes are worked through before others get the thread: well below a millisecond of copying, a few of parsing.
const PART_BYTES: usize = 256 << 10;

/// Lets whatever else waits for this thread run first.
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

/// Counts the bytes that a handler works through, and yields after each part of 256 KiB.
#[derive(Debug, Default)]
pub struct Pace {
    bytes: usize,
}

impl Pace {
    /// To be called after work on this many bytes.
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

//! Limits heavy work: work that blocks a thread for milliseconds. At most one request fewer than there are cores does
//! such work at a time, so that one core is always free for other requests. This module never does the work itself.

use std::{sync::LazyLock, thread::available_parallelism};

use async_lock::{Semaphore, SemaphoreGuard};

use crate::limits;

static TURNS: LazyLock<Semaphore> = LazyLock::new(|| {
    let cores = available_parallelism().map_or(1, |cores| cores.get());
    Semaphore::new(cores.saturating_sub(1).max(1))
});

/// Waits for a turn to process this many bytes. The caller must then do the work without awaiting anything. Light work
/// needs no turn.
pub(crate) async fn turn(bytes: usize) -> Option<SemaphoreGuard<'static>> {
    match bytes > limits::LIGHT_BYTES_MAX {
        true => Some(TURNS.acquire().await),
        false => None,
    }
}

#[cfg(test)]
mod tests {
    use std::{
        future::Future,
        pin::pin,
        task::{Context, Poll, Waker},
    };

    use super::*;

    #[test]
    fn heavy_work_waits_for_its_turn_and_light_work_does_not() {
        let mut context = Context::from_waker(Waker::noop());
        let mut taken = Vec::new();
        while let Poll::Ready(turn) = pin!(turn(limits::LIGHT_BYTES_MAX + 1)).poll(&mut context) {
            taken.push(turn.expect("it is heavy"));
        }
        let cores = available_parallelism().map_or(1, |cores| cores.get());
        assert_eq!(taken.len(), (cores - 1).max(1));
        assert!(pin!(turn(limits::LIGHT_BYTES_MAX)).poll(&mut context).is_ready());
        drop(taken);
        assert!(pin!(turn(limits::LIGHT_BYTES_MAX + 1)).poll(&mut context).is_ready());
    }
}

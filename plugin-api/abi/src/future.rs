//! Futures passed across the ABI. A panic inside one, even while it is dropped, becomes an error and never an
//! abort.

use std::{
    any::Any,
    future::Future,
    mem::ManuallyDrop,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    task::{Context, Poll},
};

use async_ffi::FfiFuture;

use crate::error::{RawError, RawResult};

/// A future that returns a [`RawResult`].
pub type RawFuture<T> = FfiFuture<RawResult<T>>;

/// The error code for a panic.
pub const PANICKED: &str = "plugin_panicked";

/// Prepares a future to be passed across the ABI: panics while it is polled or dropped are caught.
pub fn guard<T: 'static>(future: impl Future<Output = Result<T, RawError>> + Send + 'static) -> RawFuture<T> {
    FfiFuture::new(Guarded { future: ManuallyDrop::new(future), dropped: false })
}

/// Returns a future that is ready immediately.
pub fn ready<T: Send + 'static>(result: Result<T, RawError>) -> RawFuture<T> {
    FfiFuture::new(std::future::ready(result.into()))
}

/// Runs `call`. A panic becomes an error with the panic's message.
pub fn catch<T>(call: impl FnOnce() -> Result<T, RawError>) -> Result<T, RawError> {
    catch_unwind(AssertUnwindSafe(call)).unwrap_or_else(|payload| Err(panicked(payload)))
}

fn panicked(payload: Box<dyn Any + Send>) -> RawError {
    let said = payload
        .downcast_ref::<&str>()
        .map(|text| (*text).to_owned())
        .or_else(|| payload.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "a value that is not text".to_owned());
    // Dropping a payload may panic, so it is leaked.
    std::mem::forget(payload);
    RawError::new(500, PANICKED, format!("the plugin panicked: {said}"))
}

struct Guarded<F> {
    future: ManuallyDrop<F>,
    dropped: bool,
}

impl<F> Guarded<F> {
    fn drop_future(&mut self) {
        if std::mem::replace(&mut self.dropped, true) {
            return;
        }
        // SAFETY: the flag above lets this run once, and `poll` never touches the future after it.
        let outcome = catch_unwind(AssertUnwindSafe(|| unsafe { ManuallyDrop::drop(&mut self.future) }));
        if let Err(payload) = outcome {
            std::mem::forget(payload);
        }
    }
}

impl<T, F: Future<Output = Result<T, RawError>>> Future for Guarded<F> {
    type Output = RawResult<T>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<RawResult<T>> {
        // SAFETY: nothing is moved out of `this`; the future is only pinned again and dropped in place.
        let this = unsafe { self.get_unchecked_mut() };
        if this.dropped {
            return Poll::Ready(RawResult::Err(RawError::new(
                500,
                PANICKED,
                "the future was polled after its end",
            )));
        }
        // SAFETY: `this` is pinned and the future inside it never moves.
        let future = unsafe { Pin::new_unchecked(&mut *this.future) };
        match catch_unwind(AssertUnwindSafe(|| future.poll(context))) {
            Ok(Poll::Pending) => Poll::Pending,
            Ok(Poll::Ready(result)) => Poll::Ready(result.into()),
            Err(payload) => {
                this.drop_future();
                Poll::Ready(RawResult::Err(panicked(payload)))
            }
        }
    }
}

impl<F> Drop for Guarded<F> {
    fn drop(&mut self) {
        self.drop_future();
    }
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use super::*;

    fn poll_once<T>(future: &mut RawFuture<T>) -> Poll<RawResult<T>> {
        Pin::new(future).poll(&mut Context::from_waker(Waker::noop()))
    }

    struct PanicsInDrop;
    impl Drop for PanicsInDrop {
        fn drop(&mut self) {
            panic!("dropped");
        }
    }

    #[test]
    fn a_panic_in_a_poll_becomes_an_error() {
        let mut future = guard(async { if true { panic!("on purpose") } else { Ok(()) } });
        let Poll::Ready(RawResult::Err(error)) = poll_once(&mut future) else { panic!("no error") };
        let words = error.words();
        assert_eq!(
            (words.code.as_str(), words.message.as_str()),
            (PANICKED, "the plugin panicked: on purpose")
        );
    }

    #[test]
    fn a_panic_in_a_drop_stays_inside() {
        let mut future = guard(async {
            let _bomb = PanicsInDrop;
            std::future::pending::<()>().await;
            Ok(())
        });
        assert!(poll_once(&mut future).is_pending());
        drop(future);
    }
}

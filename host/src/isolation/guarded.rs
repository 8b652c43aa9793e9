//! Plugin code as a future that cannot stop the server: it is created, polled and dropped where a blocked
//! thread does no harm. Sets no deadline; its caller does, from another task.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
    time::{Duration, Instant},
};

use futures_util::future::BoxFuture;
use tinybase_abi::{error::RawError, future::PANICKED};
use tokio::{
    runtime::Handle,
    task::{JoinError, JoinHandle},
};

use super::{
    Bulkhead, Work,
    bulkhead::{MovedPermit, switched_off},
    threads::{self, Inside, Way},
};

/// How long a call that may not run on a worker retries if no watchdog runs, before it gets a thread of its
/// own.
const UNWATCHED_PATIENCE: Duration = Duration::from_millis(1);

/// The state of a call.
enum Call<M, F> {
    New(M),
    Begun(F),
    Over,
}

/// A call of a plugin, from before it is created until after it is dropped. `H` is what must outlive it: the
/// plugin, if nothing else keeps it alive.
pub struct Guarded<H, M, F>
where
    H: Send + 'static,
    M: Send + 'static,
    F: Send + 'static,
{
    bulkhead: &'static Bulkhead,
    work: Work,
    call: Call<M, F>,
    last_since: Option<Instant>,
    /// Ready once it is worth checking again whether a worker may run the call.
    again: Option<BoxFuture<'static, ()>>,
    permit: Option<BoxFuture<'static, Option<MovedPermit>>>,
    /// Set while plugin code runs.
    running: Option<Arc<AtomicBool>>,
    /// Dropped after the call, so that no plugin code runs after the plugin has ended.
    hold: Option<H>,
}

impl<H: Send + 'static, M: Send + 'static, F: Send + 'static> Unpin for Guarded<H, M, F> {}

impl<H, M, F> Guarded<H, M, F>
where
    H: Send + 'static,
    M: FnOnce(&H) -> F + Send + 'static,
    F: Future + Unpin + Send + 'static,
{
    /// Creates a call of a plugin. `make` starts it, and already runs plugin code.
    pub fn new(bulkhead: &'static Bulkhead, hold: H, work: Work, make: M) -> Guarded<H, M, F> {
        let call = Call::New(make);
        let hold = Some(hold);
        Guarded { bulkhead, work, call, last_since: None, again: None, permit: None, running: None, hold }
    }

    /// Returns the value that outlives the call.
    pub fn hold(&self) -> &H {
        self.hold.as_ref().expect("it is taken in drop alone")
    }

    /// Sets `running` while plugin code runs.
    #[must_use]
    pub fn telling(mut self, running: Arc<AtomicBool>) -> Guarded<H, M, F> {
        self.running = Some(running);
        self
    }

    /// Runs plugin code: starts the call if it is new, and polls it. A call that has ended is dropped here
    /// too.
    fn run(&mut self, context: &mut Context<'_>) -> Poll<Result<F::Output, RawError>> {
        let polled = catch_unwind(AssertUnwindSafe(|| {
            if matches!(self.call, Call::New(_))
                && let Call::New(make) = std::mem::replace(&mut self.call, Call::Over)
            {
                self.call = Call::Begun(make(self.hold()));
            }
            match &mut self.call {
                Call::Begun(future) => Pin::new(future).poll(context),
                // It was polled after its end.
                _ => Poll::Pending,
            }
        }));
        match polled {
            Ok(Poll::Pending) => Poll::Pending,
            Ok(Poll::Ready(output)) => {
                self.forget_call();
                Poll::Ready(Ok(output))
            }
            Err(payload) => {
                // A payload may panic when it is dropped.
                std::mem::forget(payload);
                self.forget_call();
                Poll::Ready(Err(RawError::new(
                    500,
                    PANICKED,
                    "the plugin panicked, with nothing to catch it",
                )))
            }
        }
    }

    /// Returns whether the call has waited for a worker longer than [`UNWATCHED_PATIENCE`].
    fn is_out_of_patience(&mut self) -> bool {
        self.last_since.get_or_insert_with(Instant::now).elapsed() >= UNWATCHED_PATIENCE
    }

    /// Arranges for the call to be polled again once a worker may have left plugin code.
    fn wait(&mut self, context: &mut Context<'_>) {
        if !threads::is_watched() {
            context.waker().wake_by_ref();
            return;
        }
        let is_new = matches!(self.call, Call::New(_));
        let begin = || -> BoxFuture<'static, ()> { Box::pin(threads::worker_out(is_new)) };
        if self.again.get_or_insert_with(begin).as_mut().poll(context).is_ready() {
            self.again = None;
            context.waker().wake_by_ref();
        }
    }

    fn run_inside(&mut self, inside: Inside, context: &mut Context<'_>) -> Poll<Result<F::Output, RawError>> {
        if let Some(running) = &self.running {
            running.store(true, Ordering::Release);
        }
        let polled = self.run(context);
        drop(inside);
        if let Some(running) = &self.running {
            running.store(false, Ordering::Release);
        }
        polled
    }

    /// Runs plugin code on this thread after it has stopped being a worker.
    fn run_moved(&mut self, context: &mut Context<'_>) -> Poll<Result<F::Output, RawError>> {
        let bulkhead = self.bulkhead;
        let permit = self.permit.get_or_insert_with(|| Box::pin(bulkhead.permit()));
        let Poll::Ready(permit) = permit.as_mut().poll(context) else {
            // A worker may become free before a thread for moved code does.
            self.wait(context);
            return Poll::Pending;
        };
        self.permit = None;
        let Some(_permit) = permit else {
            return Poll::Ready(Err(switched_off(bulkhead.name())));
        };
        tokio::task::block_in_place(|| {
            self.run_inside(threads::enter_outside(bulkhead.number(), self.work), context)
        })
    }
}

impl<H: Send + 'static, M: Send + 'static, F: Send + 'static> Guarded<H, M, F> {
    /// Drops the call.
    fn forget_call(&mut self) {
        drop_caught(std::mem::replace(&mut self.call, Call::Over));
    }
}

impl<H, M, F> Future for Guarded<H, M, F>
where
    H: Send + 'static,
    M: FnOnce(&H) -> F + Send + 'static,
    F: Future + Unpin + Send + 'static,
{
    type Output = Result<F::Output, RawError>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        let is_new = matches!(this.call, Call::New(_));
        if is_new && this.bulkhead.is_off() {
            this.call = Call::Over;
            return Poll::Ready(Err(switched_off(this.bulkhead.name())));
        }
        if this.bulkhead.is_slow() {
            return this.run_moved(context);
        }
        let way = if is_new && threads::begun_ones_wait() {
            Way::Last
        } else {
            threads::enter(this.bulkhead.number(), this.work)
        };
        match way {
            Way::Open(inside) => {
                (this.last_since, this.again, this.permit) = (None, None, None);
                if !is_new {
                    // For a new task, spawning it already moved the waiting task out of the slot.
                    threads::displace();
                }
                this.run_inside(inside, context)
            }
            Way::Last if threads::is_spent() => this.run_moved(context),
            Way::Last if !threads::is_watched() && this.is_out_of_patience() => this.run_moved(context),
            Way::Last => {
                this.permit = None;
                this.wait(context);
                Poll::Pending
            }
        }
    }
}

impl<H, M, F> Drop for Guarded<H, M, F>
where
    H: Send + 'static,
    M: Send + 'static,
    F: Send + 'static,
{
    fn drop(&mut self) {
        if matches!(self.call, Call::Over) {
            return;
        }
        let (bulkhead, work) = (self.bulkhead, self.work);
        if !bulkhead.is_slow()
            && let Way::Open(_inside) = threads::enter(bulkhead.number(), work)
        {
            threads::displace();
            self.forget_call();
            return;
        }
        let left = Left { call: std::mem::replace(&mut self.call, Call::Over), _hold: self.hold.take() };
        // Without a runtime the process is ending, and nothing is dropped any more.
        match Handle::try_current() {
            Ok(runtime) => drop(runtime.spawn(left.drop_later(bulkhead, work))),
            Err(_) => std::mem::forget(left),
        }
    }
}

/// The remains of a call that nobody waits for.
struct Left<H, M, F> {
    call: Call<M, F>,
    /// Dropped after the call.
    _hold: Option<H>,
}

impl<H, M, F> Left<H, M, F> {
    /// Drops the call on a worker as soon as one may run it. If the plugin blocks or all workers are lost,
    /// drops it on another thread. If the extension is switched off, leaks it.
    async fn drop_later(self, bulkhead: &'static Bulkhead, work: Work) {
        let Left { call, _hold } = self;
        while !bulkhead.is_slow() && !threads::is_spent() && threads::is_watched() {
            if let Way::Open(_inside) = threads::enter(bulkhead.number(), work) {
                drop_caught(call);
                return;
            }
            threads::worker_out(false).await;
        }
        let Some(_permit) = bulkhead.permit().await else {
            std::mem::forget(call);
            return;
        };
        tokio::task::block_in_place(|| {
            let _inside = threads::enter_outside(bulkhead.number(), work);
            drop_caught(call);
        });
    }
}

/// Drops a plugin's value and catches its panics.
fn drop_caught<T>(dropped: T) {
    if let Err(payload) = catch_unwind(AssertUnwindSafe(|| drop(dropped))) {
        std::mem::forget(payload);
    }
}

/// A task that is aborted when this is dropped.
pub struct OwnTask<T>(JoinHandle<T>);

impl<T: Send + 'static> OwnTask<T> {
    /// Spawns `work` as a task of its own.
    pub fn spawn(work: impl Future<Output = T> + Send + 'static) -> OwnTask<T> {
        let task = OwnTask(tokio::spawn(work));
        // If a plugin waits for the task, it must not depend on that plugin's thread.
        threads::displace_inside();
        task
    }
}

impl<T> Future for OwnTask<T> {
    type Output = Result<T, JoinError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.0).poll(context)
    }
}

impl<T> Drop for OwnTask<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}

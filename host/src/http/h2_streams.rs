//! The task of each HTTP/2 stream. It ends if the client receives the response too slowly: that stream is reset, while
//! the others on its connection continue. It never looks at a stream's contents.

use std::{pin::pin, sync::Arc};

use hyper::rt::Executor;
use tokio::{sync::Notify, time::Instant};

use super::{
    Limits,
    pace::{Pace, PaceJudge, look_interval},
};

tokio::task_local! {
    static STREAM: Arc<StreamPace>;
}

/// The pace of the client of one stream.
#[derive(Debug, Default)]
pub(super) struct StreamPace {
    pub(super) pace: Pace,
    answered: Notify,
}

impl StreamPace {
    /// Returns the pace of the current task's stream. From now on its response is being sent, and waits for the client.
    pub(super) fn of_answer() -> Option<Arc<StreamPace>> {
        let stream = STREAM.try_with(Arc::clone).ok()?;
        stream.pace.wait();
        stream.answered.notify_one();
        Some(stream)
    }

    /// Completes once the client is too slow, with the reason.
    async fn too_slow(&self, limits: &Limits) -> &'static str {
        // Until then the stream waits for the server, under other deadlines.
        self.answered.notified().await;
        let mut judge = PaceJudge::new(Instant::now());
        loop {
            tokio::time::sleep(look_interval(limits)).await;
            if let Some(why) = judge.judge(&self.pace, Instant::now(), limits) {
                return why;
            }
        }
    }
}

/// Runs the streams of HTTP/2 connections.
#[derive(Clone)]
pub(super) struct StreamExecutor {
    limits: Arc<Limits>,
}

impl StreamExecutor {
    pub(super) fn new(limits: &Limits) -> StreamExecutor {
        StreamExecutor { limits: Arc::new(limits.clone()) }
    }
}

impl<F: Future<Output = ()> + Send + 'static> Executor<F> for StreamExecutor {
    fn execute(&self, stream: F) {
        let limits = Arc::clone(&self.limits);
        tokio::spawn(async move {
            let pace = Arc::new(StreamPace::default());
            let stream = pin!(STREAM.scope(Arc::clone(&pace), stream));
            tokio::select! {
                biased;
                () = stream => {}
                why = pace.too_slow(&limits) => tracing::debug!(why, "a stream was cut off"),
            }
        });
    }
}

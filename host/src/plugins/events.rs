//! The event bus: topics, hooks before an event, listeners after it. Never knows what an event means.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use parking_lot::Mutex;
use serde::de::IgnoredAny;
use tinybase_abi::{
    bytes::Bytes,
    codec::{BatchWriter, split_tickets},
    error::RawError,
    interfaces::{Outcome, Topic},
};
use tokio::sync::{Notify, mpsc};

use super::{
    deferred_batches::DeferredBatches,
    generation::{Generation, Hook, Listener},
    outbox,
    plugin_instance::PluginInstance,
};
use crate::{
    db::{ScopedBatch, SqlOwner},
    isolation::{Work, threads},
    metrics::stats::EVENTS,
};

/// The maximum number of topics ever created.
const TOPICS_MAX: usize = 10_000;
/// The maximum number of events waiting for one listener. Further events are dropped with a warning.
const LISTENER_QUEUE_MAX: usize = 10_000;

/// The maximum total size of events waiting for one listener, in bytes. Further events are dropped with a
/// warning.
const LISTENER_QUEUE_BYTES_MAX: usize = 64 << 20;

/// The queue of events waiting for one listener.
#[derive(Debug, Clone)]
pub struct ListenerQueue {
    events: mpsc::Sender<EventMessage>,
    bytes: Arc<AtomicUsize>,
}

impl ListenerQueue {
    /// Appends an event. Returns false if the queue is full.
    fn push(&self, event: EventMessage) -> bool {
        let bytes = event.payload.len();
        let fits = self.bytes.fetch_add(bytes, Ordering::Relaxed) + bytes <= LISTENER_QUEUE_BYTES_MAX;
        let is_taken = fits && self.events.try_send(event).is_ok();
        if !is_taken {
            self.bytes.fetch_sub(bytes, Ordering::Relaxed);
        }
        is_taken
    }
}

/// An event on its way to a listener.
#[derive(Debug, Clone)]
pub struct EventMessage {
    /// The topic.
    pub topic: Arc<str>,
    /// The subject.
    pub subject: Arc<str>,
    /// The payload, as JSON.
    pub payload: Arc<[u8]>,
}

/// The state that the bus keeps across generations.
pub struct EventBus {
    topics: Mutex<HashMap<String, &'static Topic>>,
    deferred_batches: Arc<DeferredBatches>,
    call_timeout: Duration,
    /// Wakes the outbox after an event was written.
    pub(super) outbox_wake: Notify,
}

impl EventBus {
    /// Creates a bus whose hooks may take `call_timeout` each.
    pub fn new(deferred_batches: Arc<DeferredBatches>, call_timeout: Duration) -> EventBus {
        EventBus { topics: Mutex::default(), deferred_batches, call_timeout, outbox_wake: Notify::new() }
    }

    /// Returns the topic with this name. It lives as long as the process, so plugins may keep it.
    pub fn topic(&self, name: &str) -> &'static Topic {
        static NOBODY: std::sync::OnceLock<Topic> = std::sync::OnceLock::new();
        let mut topics = self.topics.lock();
        if let Some(topic) = topics.get(name) {
            return topic;
        }
        if topics.len() >= TOPICS_MAX {
            tracing::warn!(
                topic = name,
                "more than {TOPICS_MAX} topics were named: nobody can listen to this one"
            );
            return NOBODY.get_or_init(Topic::default);
        }
        let topic: &'static Topic = Box::leak(Box::default());
        topics.insert(name.to_owned(), topic);
        topic
    }

    /// Updates the listener count of every topic.
    pub fn count_listeners(&self, generation: &Generation) {
        for name in generation.before.keys().chain(generation.after.keys()) {
            self.topic(name);
        }
        for (name, topic) in self.topics.lock().iter() {
            let before = generation.before.get(name).map_or(0, Vec::len);
            let after = generation.after.get(name).map_or(&[][..], Vec::as_slice);
            let durable = after.iter().filter(|listener| listener.queue.is_none()).count();
            topic.set(clamp(before + durable), clamp(after.len()));
        }
    }

    /// Runs the hooks before an event. Returns the statements they want to commit with it as a ticket.
    pub async fn before(
        &self,
        generation: &Generation,
        topic: &str,
        subject: &str,
        payload: Bytes,
    ) -> Result<Outcome, RawError> {
        let mut current = payload;
        let mut altered = false;
        let mut attached: Vec<ScopedBatch> = Vec::new();
        for hook in generation.before.get(topic).into_iter().flatten().filter(|hook| hook.matches(subject)) {
            let (payload, added) = self.run_hook(hook, topic, subject, &current).await?;
            if !payload.is_empty() {
                current = payload;
                altered = true;
            }
            attached.extend(added);
        }
        for listener in generation.listeners(topic, subject).filter(|listener| listener.queue.is_none()) {
            attached.push((SqlOwner::Host, outbox::statement(listener, topic, subject, &current)));
        }
        let statements = if attached.is_empty() { Bytes::empty() } else { self.ticket(attached)? };
        Ok(Outcome { payload: if altered { current } else { Bytes::empty() }, statements })
    }

    /// Runs one hook. Returns its replacement payload and the statements it adds to the change.
    async fn run_hook(
        &self,
        hook: &Hook,
        topic: &str,
        subject: &str,
        payload: &[u8],
    ) -> Result<(Bytes, Vec<ScopedBatch>), RawError> {
        let hooks = hook.plugin.hooks().ok_or_else(|| RawError::new(500, "plugin_no_hooks", "no hooks"))?;
        let (position, payload) = (hook.position, Bytes::from(payload.to_vec()));
        let (of, about) = (topic.to_owned(), subject.to_owned());
        let call = move || hooks.before(position, &of, &about, payload);
        let outcome = hook.plugin.bounded(self.call_timeout, Work::Hook, call).await?;
        // Checked here so that an error names the hook's plugin, not the plugin that raised the event.
        let added = self.taken(hook.plugin.scope(), &outcome).map_err(|problem| {
            let plugin = hook.plugin.name();
            tracing::error!(plugin, topic, "a hook's answer is malformed: {problem}");
            let message =
                format!("the extension {plugin} hooked into this with an answer that cannot be used");
            RawError::new(502, "plugin_answer_invalid", message)
        })?;
        Ok((outcome.payload, added))
    }

    /// Checks a hook's outcome and returns what it adds to the change: its statements, and the statements of
    /// the tickets among them.
    fn taken(&self, scope: &SqlOwner, outcome: &Outcome) -> Result<Vec<ScopedBatch>, String> {
        if !outcome.payload.is_empty() {
            let text =
                std::str::from_utf8(&outcome.payload).map_err(|error| format!("its payload: {error}"))?;
            serde_json::from_str::<IgnoredAny>(text).map_err(|error| format!("its payload: {error}"))?;
        }
        if outcome.statements.is_empty() {
            return Ok(Vec::new());
        }
        let (statements, deferred_batches) =
            split_tickets(&outcome.statements).map_err(|error| error.to_string())?;
        let mut added = vec![(scope.clone(), statements)];
        added.extend(
            self.deferred_batches
                .redeem(&deferred_batches)
                .map_err(|error| format!("its statements: {error}"))?,
        );
        Ok(added)
    }

    /// Stores statements until a change is applied. Returns a packed batch that represents them.
    pub(super) fn ticket(&self, attached: Vec<ScopedBatch>) -> Result<Bytes, RawError> {
        let ticket = self.deferred_batches.issue(attached).ok_or_else(|| {
            let mut error =
                RawError::new(503, "too_many_changes", "too many changes are under way: try again");
            error.retryable = 1;
            error
        })?;
        let mut batch = BatchWriter::default();
        batch.push_ticket(ticket);
        Ok(batch.finish().into())
    }

    /// Notifies the listeners of a committed event. Never blocks.
    pub fn after(&self, generation: &Generation, topic: &str, subject: &str, payload: &[u8]) {
        let mut told = None;
        for listener in generation.listeners(topic, subject) {
            let Some(queue) = &listener.queue else {
                self.outbox_wake.notify_one();
                continue;
            };
            let told = told.get_or_insert_with(|| EventMessage {
                topic: topic.into(),
                subject: subject.into(),
                payload: payload.into(),
            });
            if queue.push(told.clone()) {
                EVENTS.told.add_one();
            } else {
                EVENTS.dropped.add_one();
                let plugin = listener.plugin.name();
                tracing::warn!(
                    plugin,
                    topic,
                    "an event was dropped: {LISTENER_QUEUE_MAX} events, or {LISTENER_QUEUE_BYTES_MAX} bytes of \
                     them, wait for this listener"
                );
            }
        }
        threads::displace_inside();
    }
}

fn clamp(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

/// Starts the task that notifies a listener of one event at a time. It ends when its queue is dropped.
pub fn start_listener(plugin: Arc<PluginInstance>, position: u32, call_timeout: Duration) -> ListenerQueue {
    let (queue, mut events) = mpsc::channel::<EventMessage>(LISTENER_QUEUE_MAX);
    let queue = ListenerQueue { events: queue, bytes: Arc::default() };
    let waiting = Arc::clone(&queue.bytes);
    tokio::spawn(async move {
        while let Some(told) = events.recv().await {
            let Some(hooks) = plugin.hooks() else { return };
            let payload = Bytes::from(told.payload.to_vec());
            waiting.fetch_sub(payload.len(), Ordering::Relaxed);
            let topic = Arc::clone(&told.topic);
            let call = move || hooks.after(position, &told.topic, &told.subject, payload);
            if let Err(error) = plugin.bounded(call_timeout, Work::Listener, call).await {
                let words = error.words();
                let (plugin, topic) = (plugin.name(), &*topic);
                tracing::warn!(plugin, topic, code = words.code, "a listener failed: {}", words.message);
            }
        }
    });
    queue
}

impl Listener {
    /// Returns whether it listens to events of this subject.
    pub fn matches(&self, subject: &str) -> bool {
        self.subject.as_deref().is_none_or(|wanted| wanted == subject)
    }
}

impl Hook {
    /// Returns whether it runs before events of this subject.
    pub fn matches(&self, subject: &str) -> bool {
        self.subject.as_deref().is_none_or(|wanted| wanted == subject)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_events_that_wait_for_a_listener_are_limited_in_bytes() {
        let (events, mut waiting) = mpsc::channel(LISTENER_QUEUE_MAX);
        let queue = ListenerQueue { events, bytes: Arc::default() };
        let event = |bytes: usize| EventMessage {
            topic: "t".into(),
            subject: "s".into(),
            payload: vec![0; bytes].into(),
        };
        let half = LISTENER_QUEUE_BYTES_MAX / 2;
        let taken: Vec<bool> = [half, half, 1, 0].map(|bytes| queue.push(event(bytes))).to_vec();
        assert_eq!(taken, [true, true, false, true]);
        let told = waiting.try_recv().unwrap();
        queue.bytes.fetch_sub(told.payload.len(), Ordering::Relaxed);
        assert!(queue.push(event(1)));
    }
}

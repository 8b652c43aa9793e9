//! A response body that a plugin produces in chunks. The chunks are produced in a task of their own, so that
//! neither a chunk that never comes nor dropping the body blocks the connection.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use futures_util::{FutureExt, StreamExt, future::BoxFuture, stream};
use tinybase_abi::{bytes::Bytes as AbiBytes, error::RawError, response::RawStream};
use tokio::sync::mpsc;

use super::plugin_instance::PluginInstance;
use crate::{
    http::ByteStream,
    isolation::{OwnTask, Work, threads},
    logging,
};

/// How many chunks are produced before the client takes them.
const PARTS_AHEAD: usize = 1;

type Part = Result<Bytes, String>;

/// Returns a body of `first` followed by the chunks of `rest`. It keeps the plugin alive until the body ends
/// or the client disconnects. A chunk may take any time, but may not block its thread for longer than
/// `call_timeout`.
pub fn streamed(
    plugin: &Arc<PluginInstance>,
    first: AbiBytes,
    rest: RawStream,
    call_timeout: Duration,
) -> ByteStream {
    let (sender, parts) = mpsc::channel(PARTS_AHEAD);
    let running = Arc::new(AtomicBool::new(false));
    let make = move |plugin: &Arc<PluginInstance>| -> BoxFuture<'static, ()> {
        pull(Arc::clone(plugin), rest, sender).boxed()
    };
    let pulling = plugin.guarded(Work::Stream, make).telling(Arc::clone(&running));
    let task = OwnTask::spawn(logging::carried(pulling));
    let name = plugin.name().to_owned();
    let start = stream::iter((!first.is_empty()).then(|| Ok(Bytes::from_owner(first))));
    let rest = stream::unfold(Some((parts, task)), move |state| {
        let (running, name) = (Arc::clone(&running), name.clone());
        async move {
            let (mut parts, task) = state?;
            match next(&mut parts, &running, call_timeout).await {
                Next::Part(Ok(part)) => Some((Ok(part), Some((parts, task)))),
                Next::Part(Err(message)) => Some((Err(message.into()), None)),
                Next::End => None,
                Next::Blocked => {
                    tracing::error!(plugin = name, "a body broke off: the extension blocks its thread");
                    Some((Err("the extension makes no further part".into()), None))
                }
            }
        }
    });
    Box::pin(start.chain(rest))
}

enum Next {
    Part(Part),
    End,
    Blocked,
}

async fn next(parts: &mut mpsc::Receiver<Part>, running: &AtomicBool, call_timeout: Duration) -> Next {
    let mut was_running = false;
    loop {
        match tokio::time::timeout(call_timeout, parts.recv()).await {
            Ok(part) => return part.map_or(Next::End, Next::Part),
            // Plugin code was running at two checks with no chunk in between. A poll that does not block
            // takes almost no time.
            Err(_) if running.load(Ordering::Acquire) && was_running => return Next::Blocked,
            Err(_) => was_running = running.load(Ordering::Acquire),
        }
    }
}

/// Pulls one chunk after another, as fast as they are taken. A panic ends the body with an error.
async fn pull(plugin: Arc<PluginInstance>, mut stream: RawStream, parts: mpsc::Sender<Part>) {
    loop {
        let part = match stream.pull().await {
            Ok(part) if part.is_empty() => return,
            Ok(part) => Ok(Bytes::from_owner(part)),
            Err(error) => Err(broke_off(&plugin, &error)),
        };
        let is_last = part.is_err();
        // The connection that this wakes must not wait for this plugin's thread.
        if threads::displacing(parts.send(part)).await.is_err() || is_last {
            return;
        }
    }
}

fn broke_off(plugin: &PluginInstance, error: &RawError) -> String {
    let words = error.words();
    tracing::error!(plugin = plugin.name(), code = words.code, "a body broke off: {}", words.message);
    words.message
}

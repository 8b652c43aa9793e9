//! Opens a verified library in this process, creates the plugin, and ends it. One of the few
//! places of the host with `unsafe`.

use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tinybase_abi::loaded::{self, LoadedInstance, LoadedRoot, OpenError};
use tokio::sync::watch;

use super::{
    LoadError,
    manifest::Manifest,
    own_thread,
    package::{Package, hex},
    plugin_instance::PluginInstance,
    registration::Registration,
    services::{PluginContext, PluginHost},
};

/// Opens a library whose bytes the caller has verified, and checks its descriptor.
///
/// # Errors
/// See [`OpenError`].
pub fn open_verified(library: &Path) -> Result<LoadedRoot, OpenError> {
    // SAFETY: the caller has verified the bytes; an unpacked extension's folder is never written again.
    unsafe { loaded::open(library) }
}

/// Checks the library's descriptor against the package's manifest.
pub fn check_descriptor(root: &LoadedRoot, package: &Package) -> Result<(), LoadError> {
    let described = root.descriptor();
    if described.manifest_sha256 != package.manifest_sha256 {
        return Err(LoadError::ManifestDiffers {
            library: hex(&described.manifest_sha256),
            package: hex(&package.manifest_sha256),
        });
    }
    Ok(())
}

/// Creates the plugin of a package and checks its registration. The plugin is not started yet.
///
/// # Errors
/// If the library cannot be opened, or the plugin is not created in time or registers something it may not.
pub async fn create(
    shared: &Arc<PluginContext>,
    package: &Package,
) -> Result<Arc<PluginInstance>, LoadError> {
    let manifest = Arc::new(package.manifest.clone());
    let host = PluginHost::leak(Arc::clone(shared), Arc::clone(&manifest));
    let (library, checked, alive) = (package.library(), package.clone(), shared.alive.clone());
    let timeout = shared.limits.start_timeout;
    let created = own_thread::run(&shared.runtime, timeout, move || {
        let root = open_verified(&library)?;
        check_descriptor(&root, &checked)?;
        let instance = root.create(host).map_err(|error| LoadError::plugin("create", &error))?;
        let alive = Alive::count(alive);
        match Registration::read(instance.registration(), &manifest) {
            Ok(registration) => {
                Ok(Arc::new(PluginInstance::new(manifest, registration, host, instance, alive)))
            }
            Err(error) => {
                end(instance, host, alive, None);
                Err(error.into())
            }
        }
    });
    let created = created.await.unwrap_or_else(|lost| Err(LoadError::lost("create", timeout, lost)));
    created.inspect_err(|error| note_stuck(shared, &package.manifest, error))
}

/// Starts a plugin after its migrations have run.
///
/// # Errors
/// The error that the plugin returns, or a timeout. If the call never returns, its thread is abandoned and
/// the plugin is never ended.
pub async fn start(plugin: &Arc<PluginInstance>, timeout: Duration) -> Result<(), LoadError> {
    let shared = plugin.host().shared();
    let runtime = shared.runtime.clone();
    let (started, handle) = (Arc::clone(plugin), runtime.clone());
    let outcome = own_thread::run(&runtime, timeout + own_thread::GRACE, move || {
        handle.block_on(async move {
            let Some(lifecycle) = started.lifecycle() else { return Ok(()) };
            match tokio::time::timeout(timeout, lifecycle.start()).await {
                Ok(answer) => answer.into_result().map_err(|error| LoadError::plugin("start", &error)),
                Err(_) => Err(LoadError::Slow { step: "start", timeout }),
            }
        })
    });
    let outcome = outcome.await.unwrap_or_else(|lost| Err(LoadError::lost("start", timeout, lost)));
    outcome.inspect_err(|error| {
        if matches!(error, LoadError::Stuck { .. }) {
            plugin.give_up();
        }
        note_stuck(shared, plugin.manifest(), error);
    })
}

/// Logs and records a call that never returned, for operators.
fn note_stuck(shared: &PluginContext, manifest: &Manifest, error: &LoadError) {
    if let LoadError::Stuck { .. } = error {
        let (plugin, version) = (manifest.name.as_str(), manifest.version.to_string());
        tracing::error!(plugin, version, code = error.code(), "{error}");
        shared.stuck.lock().insert(manifest.name.clone(), format!("version {version}: {error}"));
    }
}

/// Counts a plugin that has not ended yet.
#[derive(Debug)]
pub struct Alive {
    count: watch::Sender<usize>,
    is_counted: AtomicBool,
}

impl Alive {
    fn count(count: watch::Sender<usize>) -> Alive {
        count.send_modify(|alive| *alive += 1);
        Alive { count, is_counted: AtomicBool::new(true) }
    }

    /// Stops counting the plugin: it has ended, or nobody waits for it any more.
    pub fn release(&self) {
        if self.is_counted.swap(false, Ordering::AcqRel) {
            self.count.send_modify(|alive| *alive -= 1);
        }
    }
}

/// Ends a plugin without remaining references, in a task of its own. `ended` is dropped afterwards.
pub fn end(
    instance: LoadedInstance,
    host: &'static PluginHost,
    alive: Alive,
    ended: Option<watch::Sender<()>>,
) {
    host.shared().runtime.spawn(async move {
        let plugin = host.manifest().name.as_str();
        if let Err(problem) = end_in_time(instance, host).await {
            tracing::warn!(plugin, "a plugin did not shut down in time and was left: {problem}");
        }
        alive.release();
        drop(ended);
    });
}

async fn end_in_time(instance: LoadedInstance, host: &'static PluginHost) -> Result<(), String> {
    let (runtime, time_max) = (host.shared().runtime.clone(), host.shared().limits.call_timeout);
    if tokio::time::timeout(time_max, host.stop_tasks()).await.is_err() {
        // Its code still runs, so it must not be shut down.
        return Err("a task of it does not end".to_owned());
    }
    let handle = runtime.clone();
    let ended = own_thread::run(&runtime, time_max + own_thread::GRACE, move || {
        handle.block_on(async move {
            // SAFETY: every call and client of this instance held a `PluginInstance`, the last of which is
            // gone, and its tasks have just been ended.
            let ended = unsafe { instance.shut_down() };
            tokio::time::timeout(time_max, ended).await.map(|answer| answer.into_result())
        })
    });
    match ended.await {
        Ok(Ok(Ok(()))) => Ok(()),
        Ok(Ok(Err(error))) => {
            let (plugin, words) = (host.manifest().name.as_str(), error.words());
            tracing::warn!(plugin, code = words.code, "shut_down failed: {}", words.message);
            Ok(())
        }
        Ok(Err(_)) => Err(format!("shut_down took longer than {} ms", time_max.as_millis())),
        Err(lost) => {
            let error = LoadError::lost("shut_down", time_max, lost);
            note_stuck(host.shared(), host.manifest(), &error);
            Err(error.to_string())
        }
    }
}

//! Opens a verified library in this process, makes the plugin, and ends it. The one place of the host with `unsafe`.

use std::{path::Path, sync::Arc, time::Duration};

use tinybase_abi::loaded::{self, LoadedInstance, LoadedRoot, OpenError};
use tokio::sync::watch;

use super::{
    LoadError,
    manifest::Manifest,
    package::{Package, hex},
    registration::Registration,
    running::Running,
    services::{PluginHost, Shared},
};

/// Opens a library whose bytes the caller has verified, and checks what it says of itself.
///
/// # Errors
/// See [`OpenError`].
pub fn open_verified(library: &Path) -> Result<LoadedRoot, OpenError> {
    // SAFETY: the caller has verified the bytes; an unpacked extension's folder is never written again.
    unsafe { loaded::open(library) }
}

/// Holds the library's own words against the package's manifest.
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

/// Makes the plugin of a package and checks what it registers. It is not started yet.
///
/// # Errors
/// Where the library cannot be opened, the plugin cannot be created in time, or registers what it may not.
pub async fn create(shared: &Arc<Shared>, package: &Package) -> Result<Arc<Running>, LoadError> {
    let manifest = Arc::new(package.manifest.clone());
    let host = PluginHost::leak(Arc::clone(shared), Arc::clone(&manifest));
    let (library, checked) = (package.library(), package.clone());
    // Off the async threads: a plugin may block as long as it likes here.
    let created = tokio::task::spawn_blocking(move || {
        let root = open_verified(&library)?;
        check_descriptor(&root, &checked)?;
        root.create(host).map_err(|error| LoadError::plugin("create", &error))
    });
    let timeout = shared.limits.start_timeout;
    let instance = tokio::time::timeout(timeout, created)
        .await
        .map_err(|_| LoadError::Slow { step: "create", timeout })?
        .map_err(|error| LoadError::Panicked(error.to_string()))??;
    shared.alive.send_modify(|alive| *alive += 1);
    finish(instance, manifest, host)
}

fn finish(
    instance: LoadedInstance,
    manifest: Arc<Manifest>,
    host: &'static PluginHost,
) -> Result<Arc<Running>, LoadError> {
    match Registration::read(instance.registration(), &manifest) {
        Ok(registration) => Ok(Arc::new(Running::new(manifest, registration, host, instance))),
        Err(error) => {
            end(instance, host, None);
            Err(error.into())
        }
    }
}

/// Starts a plugin, once its migrations have run.
///
/// # Errors
/// What the plugin answers, or that it took too long.
pub async fn start(plugin: &Running, timeout: Duration) -> Result<(), LoadError> {
    let Some(lifecycle) = plugin.lifecycle() else { return Ok(()) };
    match tokio::time::timeout(timeout, lifecycle.start()).await {
        Ok(answer) => answer.into_result().map_err(|error| LoadError::plugin("start", &error)),
        Err(_) => Err(LoadError::Slow { step: "start", timeout }),
    }
}

/// Ends a plugin that nothing holds any more, in a task of its own; `alive` is dropped behind it.
pub fn end(instance: LoadedInstance, host: &'static PluginHost, alive: Option<watch::Sender<()>>) {
    let shared = Arc::clone(host.shared());
    let runtime = shared.runtime.clone();
    runtime.spawn(async move {
        host.stop_tasks().await;
        // SAFETY: every call and client of this instance held a `Running`, the last of which is gone, and its tasks
        // have just been ended.
        let ended = unsafe { instance.shut_down() };
        if tokio::time::timeout(shared.limits.call_timeout, ended).await.is_err() {
            tracing::warn!("a plugin did not shut down in time and was left");
        }
        shared.alive.send_modify(|alive| *alive -= 1);
        drop(alive);
    });
}

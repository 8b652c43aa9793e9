//! What copying an instance needs of extensions: their packages, and how an extension's tables are created.
//! For this, an extension is loaded on its own; it gets no requests, events or jobs.

use std::{sync::Arc, time::Duration};

use serde_json::Value as Json;

use super::{
    LoadError, Plugins, active_plugin::ActivePlugin, fan_out, generation::Generation, install, library,
    package::Package,
};

/// How long an extension may take to describe its tables.
const ASK_TIME_MAX: Duration = Duration::from_secs(60);

/// How long it may take to end afterwards.
const END_TIME_MAX: Duration = Duration::from_secs(10);

impl Plugins {
    /// Returns the packages of everything installed, enabled or not, in their installed versions.
    ///
    /// # Errors
    /// See [`LoadError`]. Also fails if a built-in extension is not of the bundled version, since its tables
    /// may differ.
    pub async fn installed_packages(&self) -> Result<Vec<Package>, LoadError> {
        let bundled = install::bundled()?;
        let mut packages = Vec::new();
        for installed in self.store.all().await? {
            let folder = self.folder_of(&installed.name, &installed.folder_name());
            let package = Package::read(&folder)?;
            if package.hash != installed.hash {
                let (path, problem) = (folder.display().to_string(), LoadError::FilesChanged.to_string());
                return Err(LoadError::File { path, problem });
            }
            let newer = bundled.iter().find(|new| new.manifest.name == installed.name);
            if installed.is_builtin && newer.is_some_and(|newer| newer.hash != installed.hash) {
                return Err(LoadError::Outdated(installed.name));
            }
            packages.push(package);
        }
        Ok(packages)
    }

    /// Loads a single extension, runs its hook before `topic` with `payload`, and ends it. Returns `None` if
    /// it has no such hook or the hook leaves the payload unchanged.
    ///
    /// # Errors
    /// See [`LoadError`]. Also returns the errors of the hook.
    pub async fn ask_alone(
        &self,
        name: &str,
        topic: &str,
        payload: &Json,
    ) -> Result<Option<Json>, LoadError> {
        let installed = self.store.all().await?;
        let Some(installed) = installed.into_iter().find(|installed| installed.name == name) else {
            return Ok(None);
        };
        if let Some(reason) = installed.quarantined_reason {
            return Err(LoadError::Quarantined { name: name.to_owned(), reason });
        }
        // No load marker is set. Otherwise, if this process were killed during loading, the next server would
        // blame the extension.
        let package = self.verified(&installed).await?;
        let answer = self.ask_loaded(&package, topic, payload).await;
        self.shut_down(END_TIME_MAX).await;
        answer
    }

    async fn ask_loaded(
        &self,
        package: &Package,
        topic: &str,
        payload: &Json,
    ) -> Result<Option<Json>, LoadError> {
        let limits = self.shared.limits;
        let plugin = library::create(&self.shared, package).await?;
        let mut generation = Generation::to_serve();
        generation.join(&ActivePlugin::new(Arc::clone(&plugin), &package.hash), limits)?;
        generation.activate(limits, false);
        library::start(&plugin, limits.start_timeout).await?;
        let hooks = generation.before.get(topic).map_or(&[][..], Vec::as_slice);
        let Some(hook) = hooks.first() else { return Ok(None) };
        let asked = fan_out::ask(hook, topic, payload, ASK_TIME_MAX).await;
        let answer = asked.map_err(|error| LoadError::plugin("the hook of the copy", &error))?;
        Ok(answer.map(|part| part.payload))
    }
}

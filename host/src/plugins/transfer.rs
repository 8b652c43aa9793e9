//! What a copy of an instance asks of extensions: their packages, and how the tables of one are made. An extension is
//! loaded for that question alone; it gets no request, no event and no job.

use std::{sync::Arc, time::Duration};

use serde_json::Value as Json;

use super::{
    LoadError, Plugins, active_plugin::ActivePlugin, fan_out, generation::Generation, install, library,
    package::Package,
};

/// How long an extension may think about its tables.
const ASK_TIME_MAX: Duration = Duration::from_secs(60);

/// How long it may take to end behind that.
const END_TIME_MAX: Duration = Duration::from_secs(10);

impl Plugins {
    /// The packages of everything that is installed, enabled or not, as they were installed.
    ///
    /// # Errors
    /// See [`LoadError`]; also where an extension that came with this program is of another version, since its tables
    /// may be.
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

    /// Loads one extension by itself, asks its hook before `topic` what it makes of `payload`, and ends it. Answers
    /// `None` where it has no such hook or leaves the payload as it is.
    ///
    /// # Errors
    /// See [`LoadError`]; also what the hook answers.
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
        // No marker is left for the time of loading: were this process killed meanwhile, the next server would take the
        // extension for the cause.
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

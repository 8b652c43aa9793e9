//! The one way to change what is installed or enabled, and what a server does about changes that are asked for elsewhere.

use std::time::Duration;

use tokio::time::Instant;

use super::{
    change::{Change, ChangeError, Changed, Kind},
    journal::{Entry, Journal, Step},
};
use crate::{
    audit::Actor,
    db::{DbError, Engine},
    http::etag::IfMatch,
    plugins::{LoadError, Plugins, Purpose, install, process::Outlook, store},
};

/// How often it is looked whether a change has ended, or may begin.
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// How long a server may take to begin with a change that it is asked for.
const CLAIM_TIME_MAX: Duration = Duration::from_secs(10);

impl Plugins {
    /// Makes a change, and answers once it is made everywhere. Of several, one is made at a time; this one waits for its
    /// turn, at most `extensions.change_timeout_ms`.
    ///
    /// In a process that serves it is carried out here; the caller may go away meanwhile. In any other it is carried out by
    /// the server that serves this database, or here where none does: what is enabled is loaded for that, and ended again.
    ///
    /// # Errors
    /// A [`ChangeError`] with a stable code; what ran before runs then as it did.
    pub async fn change(&self, change: Change, actor: &Actor) -> Result<Changed, ChangeError> {
        self.change_if(change, actor, &IfMatch::default()).await
    }

    /// The same, done only while the extension is in a state that `if_match` names.
    ///
    /// # Errors
    /// `precondition_failed` as well.
    pub async fn change_if(
        &self,
        change: Change,
        actor: &Actor,
        if_match: &IfMatch,
    ) -> Result<Changed, ChangeError> {
        let (plugins, actor, if_match) = (self.clone(), actor.clone(), if_match.clone());
        let is_server = self.process.purpose() == Purpose::Serve && self.change_lock.is_held();
        let made = tokio::spawn(async move {
            if is_server {
                plugins.change_here(&change, &actor, &if_match).await
            } else {
                plugins.change_from_outside(&change, &actor, &if_match).await
            }
        });
        made.await.map_err(|error| LoadError::Panicked(error.to_string()))?
    }

    pub(in crate::plugins) fn journal(&self) -> Journal {
        Journal::new(self.store.sql().clone(), self.nodes.id().clone())
    }

    fn change_deadline(&self) -> Instant {
        Instant::now() + self.shared.limits.change_timeout
    }

    /// Writes the change down as soon as no other one is open, and carries it out in this process.
    async fn change_here(
        &self,
        change: &Change,
        actor: &Actor,
        if_match: &IfMatch,
    ) -> Result<Changed, ChangeError> {
        let journal = self.journal();
        let deadline = self.change_deadline();
        loop {
            let entry = self.entry_of(change, actor, if_match).await?;
            if journal.request(&entry).await? {
                if let Some(outcome) = self.claim_and_execute(&entry).await? {
                    return outcome;
                }
                // Another node was quicker to take it up.
                return self.outcome_of(&entry, deadline).await;
            }
            // Whoever asked for the open one may have nobody else to carry it out.
            if self.change_lock.is_held() {
                self.serve_requests().await?;
            }
            wait_for_turn(deadline).await?;
        }
    }

    /// As a command does it.
    async fn change_from_outside(
        &self,
        change: &Change,
        actor: &Actor,
        if_match: &IfMatch,
    ) -> Result<Changed, ChangeError> {
        let journal = self.journal();
        let deadline = self.change_deadline();
        loop {
            if self.take_over_from_servers().await? {
                if self.process.purpose() == Purpose::Serve {
                    return self.change_here(change, actor, if_match).await;
                }
                return self.change_alone(change, actor, if_match).await;
            }
            if let Change::Install { package, .. } | Change::Update { package, .. } = change {
                // The server may not reach the folder that it lies in.
                self.stage_for_server(package).await?;
            }
            let entry = self.entry_of(change, actor, if_match).await?;
            if journal.request(&entry).await?
                && let Some(outcome) = self.claimed_outcome(&entry, deadline).await
            {
                return outcome;
            }
            wait_for_turn(deadline).await?;
        }
    }

    /// Whether no server serves the database, so that this process may carry changes out.
    async fn take_over_from_servers(&self) -> Result<bool, ChangeError> {
        if self.shared.database.engine() == Engine::Postgres && !self.nodes.list().await?.is_empty() {
            return Ok(false);
        }
        Ok(self.change_lock.take().map_err(|error| LoadError::file("the lock of changes", &error))?)
    }

    async fn change_alone(
        &self,
        change: &Change,
        actor: &Actor,
        if_match: &IfMatch,
    ) -> Result<Changed, ChangeError> {
        self.load(Purpose::Command, false).await?;
        let changed = self.change_here(change, actor, if_match).await;
        self.shut_down(self.shared.limits.call_timeout).await;
        changed
    }

    /// Brings a package to where a server finds it.
    async fn stage_for_server(&self, package: &crate::plugins::package::Package) -> Result<(), ChangeError> {
        if self.shared.database.engine() == Engine::Postgres {
            return self.archive(package).await;
        }
        let name = store::folder_name(&package.manifest.version.to_string(), &package.hash);
        let (source, target) = (package.clone(), self.folder_of(&package.manifest.name, &name));
        let placed = tokio::task::spawn_blocking(move || install::place(&source, &target));
        Ok(placed.await.map_err(|error| LoadError::Panicked(error.to_string()))??)
    }

    /// The outcome of a change that a server was asked for; `None` where none took it up and this process may do so now.
    async fn claimed_outcome(
        &self,
        entry: &Entry,
        deadline: Instant,
    ) -> Option<Result<Changed, ChangeError>> {
        let journal = self.journal();
        let asked = Instant::now();
        loop {
            match journal.find(&entry.id).await {
                Ok(Some(now)) if now.is_ended => return Some(now.outcome()),
                Ok(Some(now)) if now.carrier.is_some() => {
                    if let Err(error) = self.recover_from_outside(&now).await {
                        return Some(Err(error));
                    }
                    if Instant::now() >= deadline {
                        return Some(Err(slow()));
                    }
                    tokio::time::sleep(LOOK_EVERY).await;
                    continue;
                }
                Ok(Some(_)) => {}
                Ok(None) => return Some(Err(withdrawn())),
                Err(error) => return Some(Err(error.into())),
            }
            let is_held = self.take_over_from_servers().await.unwrap_or(false);
            let is_silent = asked.elapsed() > CLAIM_TIME_MAX;
            if (is_held || is_silent) && journal.withdraw(&entry.id).await.unwrap_or(false) {
                if is_held {
                    return None;
                }
                let told = "the server that serves this database did not take the change up; see its log";
                return Some(Err(ChangeError::new("server_silent", told)));
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// Completes or takes back a change whose server went down over it, so that nobody has to wait for its next start.
    async fn recover_from_outside(&self, entry: &Entry) -> Result<(), ChangeError> {
        if !self.take_over_from_servers().await? {
            return Ok(());
        }
        let is_gone =
            self.shared.database.engine() == Engine::Sqlite || self.journal().is_abandoned(entry).await?;
        if is_gone {
            self.load(Purpose::Command, false).await?;
            self.shut_down(self.shared.limits.call_timeout).await;
        }
        Ok(())
    }

    /// Waits for the end of a change that another process carries out.
    async fn outcome_of(&self, entry: &Entry, deadline: Instant) -> Result<Changed, ChangeError> {
        let journal = self.journal();
        loop {
            match journal.find(&entry.id).await? {
                Some(now) if now.is_ended => return now.outcome(),
                Some(_) => {}
                None => return Err(withdrawn()),
            }
            if Instant::now() >= deadline {
                return Err(slow());
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    async fn entry_of(
        &self,
        change: &Change,
        actor: &Actor,
        if_match: &IfMatch,
    ) -> Result<Entry, ChangeError> {
        let installed = self.store.find(change.name()).await?;
        if installed.is_none() && !matches!(change, Change::Install { .. }) {
            return Err(ChangeError::not_installed(change.name()));
        }
        let from = installed.as_ref().map(|one| (one.version.as_str(), one.hash.as_str()));
        let mut entry = Entry::new(change, from, actor);
        entry.details.if_match = if_match.header().map(str::to_owned);
        Ok(entry)
    }

    /// Carries out what somebody else asked for and nobody has taken up. An error is one of the database's.
    pub(in crate::plugins) async fn serve_requests(&self) -> Result<(), ChangeError> {
        let Some(entry) = self.journal().open().await?.filter(|entry| entry.carrier.is_none()) else {
            return Ok(());
        };
        // Whoever asked learns what it came to, by the journal.
        self.claim_and_execute(&entry).await.map(drop)
    }

    /// Carries a change out that nobody has taken up; `None` where somebody else was quicker.
    async fn claim_and_execute(
        &self,
        entry: &Entry,
    ) -> Result<Option<Result<Changed, ChangeError>>, ChangeError> {
        self.process.set_executing(Some(&entry.id));
        let outcome = match self.journal().claim(entry).await {
            Ok(true) => {
                let carrier = Some(self.nodes.id().to_string());
                Ok(Some(self.execute(Entry { carrier, ..entry.clone() }).await))
            }
            Ok(false) => Ok(None),
            Err(error) => Err(error.into()),
        };
        self.process.set_executing(None);
        outcome
    }

    /// Does this node's part in the change of another.
    pub(in crate::plugins) async fn participate(
        &self,
        said: &mut Said,
    ) -> Result<Participation, ChangeError> {
        let Some(entry) = self.journal().open().await? else { return Ok(Participation::Reconcile) };
        if entry.carrier.is_none() {
            return Ok(Participation::Reconcile);
        }
        if entry.carrier.as_deref() == Some(self.nodes.id()) {
            return Ok(Participation::Wait);
        }
        match entry.step {
            Step::Migrated | Step::Started => return Ok(Participation::Wait),
            Step::Prepared if said.lacks(&entry, Step::Prepared) => {
                let outcome = self.prepare(&entry).await;
                self.report(&entry.id, Step::Prepared, &outcome).await?;
                said.note(&entry, Step::Prepared);
            }
            step if entry.is_recorded() && step >= Step::Swapped => {
                if said.lacks(&entry, Step::Swapped) {
                    return Ok(Participation::ReconcileAndReport(Box::new(entry)));
                }
                if entry.kind == Kind::Rollback
                    && step >= Step::Drained
                    && said.lacks(&entry, Step::Drained)
                    && !self.process.is_draining(&entry.name)
                {
                    self.report(&entry.id, Step::Drained, &Ok(())).await?;
                    said.note(&entry, Step::Drained);
                }
            }
            _ => {}
        }
        Ok(Participation::Reconcile)
    }

    /// Says to whoever carries a change out whether it is taken up here. What will pass by itself is no answer yet: it is
    /// tried again before.
    pub(in crate::plugins) async fn report_reconciled(
        &self,
        entry: &Entry,
        said: &mut Said,
    ) -> Result<(), ChangeError> {
        let outcome = if self.is_up(entry).await? {
            Ok(())
        } else {
            let failure = self.process.failures().remove(&entry.name);
            if failure.is_none_or(|failure| failure.outlook == Outlook::Passing) {
                return Ok(());
            }
            Err(self.process.failure(&entry.name))
        };
        self.report(&entry.id, Step::Swapped, &outcome).await?;
        said.note(entry, Step::Swapped);
        Ok(())
    }
}

/// What this node has said to whoever carries a change out.
#[derive(Debug, Default)]
pub(in crate::plugins) struct Said {
    change: String,
    steps: Vec<Step>,
}

impl Said {
    fn lacks(&self, entry: &Entry, step: Step) -> bool {
        self.change != entry.id || !self.steps.contains(&step)
    }

    fn note(&mut self, entry: &Entry, step: Step) {
        if self.change != entry.id {
            *self = Said { change: entry.id.clone(), steps: Vec::new() };
        }
        self.steps.push(step);
    }
}

/// What a node does while a change may be under way.
pub(in crate::plugins) enum Participation {
    /// It takes up what is installed.
    Reconcile,
    /// It takes that up, and says whether it could.
    ReconcileAndReport(Box<Entry>),
    /// The rows say what will be and does not run yet where the change is carried out, or this node itself is at it.
    Wait,
}

async fn wait_for_turn(deadline: Instant) -> Result<(), ChangeError> {
    if Instant::now() >= deadline {
        let told = "another change of extensions is being made; try again once it is over";
        return Err(ChangeError::new("change_in_progress", told));
    }
    tokio::time::sleep(LOOK_EVERY).await;
    Ok(())
}

fn slow() -> ChangeError {
    let told = "the change goes on, and takes longer than extensions.change_timeout_ms; see: tinybase extensions list";
    ChangeError::new("change_timeout", told)
}

fn withdrawn() -> ChangeError {
    ChangeError::from(DbError::Closed("the change was taken back by another process".to_owned()))
}

//! The extension as the host sees it: its state, and the one place where everything is registered.

use std::{sync::Arc, time::Duration};

use tinybase_plugin_api::{
    Auth, Host, Plugin, Registry, Result, audit::Audit, database::Database, host::Reserved,
};

use crate::{
    catalog::CatalogStore, collections, commands, dialect::Dialect, metrics, openapi, records, scopes,
    table_transfer,
};

/// The collections extension.
pub struct Collections {
    host: Host,
    pub(crate) audit: Audit,
    pub(crate) database: Database,
    pub(crate) catalog: CatalogStore,
    pub(crate) events: records::Events,
}

impl Collections {
    /// Returns the SQL dialect of the database.
    pub(crate) fn dialect(&self) -> Dialect {
        Dialect::of(self.database.engine())
    }

    /// Returns the maximum response size in bytes, as enforced by the host.
    pub(crate) fn answer_bytes_max(&self) -> usize {
        self.host.response_bytes_max()
    }

    /// Runs a task in the background.
    pub(crate) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) -> Result<()> {
        self.host.spawn(task)
    }

    /// Reserves memory for data that is about to be created.
    pub(crate) async fn reserve(&self, bytes: usize) -> Result<Reserved> {
        self.host.reserve(bytes).await
    }
}

/// How often the catalog is checked for changes by other processes while no request needs it.
const CATALOG_CHECK: Duration = Duration::from_secs(5);

#[tinybase_plugin_api::export]
impl Plugin for Collections {
    fn create(host: Host) -> Result<Collections> {
        let (audit, database) = (host.audit()?, host.database()?);
        let events = records::Events::new(&host)?;
        let catalog = CatalogStore::new(host.clone(), database);
        Ok(Collections { host, audit, database, catalog, events })
    }

    fn register(registry: &mut Registry<Collections>) {
        register_collections(registry);
        register_records(registry);
        registry.before("user.delete", None, 0, records::before_user_delete);
        registry.before(metrics::TOPIC, None, 0, metrics::collect);
        registry.before(openapi::TOPIC, None, 0, openapi::collect);
        registry.before(table_transfer::TOPIC, None, 0, table_transfer::tables);
        registry.service("records", 1, records::serve);
        registry.every(CATALOG_CHECK, "catalog", check_catalog);
        registry.command("import", commands::import);
        registry.command("export", commands::export);
    }

    async fn start(self: Arc<Self>) -> Result<()> {
        self.catalog.reload().await.map(drop)
    }
}

async fn check_catalog(plugin: Arc<Collections>) -> Result<()> {
    plugin.catalog.current().await.map(drop)
}

fn register_collections(registry: &mut Registry<Collections>) {
    registry
        .get("/api/collections", collections::list)
        .scope(scopes::READ)
        .summary("List collections")
        .operation(openapi::list_collections().into());
    registry
        .post("/api/collections", collections::create)
        .auth(Auth::Admin)
        .scope(scopes::MANAGE)
        .summary("Create a collection")
        .operation(openapi::create_collection().into());
    registry
        .get("/api/collections/{name}", collections::read)
        .scope(scopes::READ_ONE)
        .summary("Read a collection")
        .operation(openapi::get_collection().into());
    registry
        .patch("/api/collections/{name}", collections::alter)
        .auth(Auth::Admin)
        .scope(scopes::MANAGE)
        .summary(
            "Change a collection; with ?dry_run=true only say what would change and which records would fail",
        )
        .operation(openapi::change_collection().into());
    registry
        .delete("/api/collections/{name}", collections::delete)
        .auth(Auth::Admin)
        .scope(scopes::MANAGE)
        .summary("Delete a collection and its records")
        .operation(openapi::delete_collection().into());
    registry
        .get("/api/admin/collections/status", collections::status_all)
        .auth(Auth::Viewer)
        .summary("Rows, indexes and constraints of all collections")
        .operation(openapi::status_of_all().into());
    registry
        .get("/api/admin/collections/{name}/status", collections::status)
        .auth(Auth::Viewer)
        .summary("Rows, indexes and constraints of a collection")
        .operation(openapi::status_of_one().into());
}

fn register_records(registry: &mut Registry<Collections>) {
    let any = openapi::Described::any();
    registry
        .post("/api/collections/batch", records::batch)
        .scope(scopes::WRITE_EACH)
        .summary("Apply many changes together or not at all")
        .operation(openapi::apply_batch().into());
    registry
        .get("/api/collections/{name}/aggregate", records::aggregate)
        .scope(scopes::READ_ONE)
        .summary("Count, sum and group records")
        .operation(openapi::aggregate_records(&any).into());
    registry
        .get("/api/collections/{name}/records", records::list)
        .scope(scopes::READ_ONE)
        .summary("List records")
        .operation(openapi::list_records(&any).into());
    registry
        .post("/api/collections/{name}/records", records::create)
        .scope(scopes::WRITE_ONE)
        .summary("Create a record")
        .operation(openapi::create_record(&any).into());
    registry
        .get("/api/collections/{name}/records/{id}", records::read)
        .scope(scopes::READ_ONE)
        .summary("Read a record")
        .operation(openapi::get_record(&any).into());
    registry
        .patch("/api/collections/{name}/records/{id}", records::update)
        .scope(scopes::WRITE_ONE)
        .summary("Change fields of a record")
        .operation(openapi::change_record(&any).into());
    registry
        .put("/api/collections/{name}/records/{id}", records::replace)
        .scope(scopes::WRITE_ONE)
        .summary("Replace a record, or create it under this id")
        .operation(openapi::replace_record(&any).into());
    registry
        .delete("/api/collections/{name}/records/{id}", records::delete)
        .scope(scopes::WRITE_ONE)
        .summary("Delete a record")
        .operation(openapi::delete_record(&any).into());
}

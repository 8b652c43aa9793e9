//! A well-behaved plugin next to misbehaving ones, with two routes that request what it was not granted.

use std::time::Duration;

use tinybase_plugin_api::{audit::Entry, http::HttpRequest, prelude::*};

/// How long a transaction of a note may be open.
const NOTE_TIME_MAX: Duration = Duration::from_secs(5);

struct Neighbour {
    host: Host,
}

#[tinybase_plugin_api::export]
impl Plugin for Neighbour {
    fn create(host: Host) -> Result<Neighbour> {
        Ok(Neighbour { host })
    }

    fn register(registry: &mut Registry<Neighbour>) {
        registry.get("/api/neighbour/hello", Neighbour::hello);
        registry.get("/api/neighbour/undeclared", Neighbour::undeclared);
        registry.post("/api/neighbour/steal", Neighbour::steal);
        registry.post("/api/neighbour/emit", Neighbour::emit);
        registry.post("/api/neighbour/notes/{fate}", Neighbour::note);
        registry.before("note.make", None, 0, Neighbour::watch);
        registry.post("/api/neighbour/ask", Neighbour::ask);
        registry.post("/api/neighbour/echo", Neighbour::echo).body_bytes_max(1 << 20);
    }
}

impl Neighbour {
    async fn hello(self: Arc<Self>, _request: Request) -> Result<Response> {
        Ok(Response::json_bytes("\"hello\""))
    }

    /// Uses a capability that its manifest does not declare.
    async fn undeclared(self: Arc<Self>, _request: Request) -> Result<Response> {
        Response::json(&self.host.data_dir()?)
    }

    /// Runs the SQL in the request.
    async fn steal(self: Arc<Self>, request: Request) -> Result<Response> {
        let sql = String::from_utf8_lossy(request.body()).into_owned();
        Response::json(&self.host.database()?.execute(&sql, &[]).await?)
    }

    /// Emits `record.create` with the request's body as the record.
    async fn emit(self: Arc<Self>, request: Request) -> Result<Response> {
        let payload = json!({"record": request.json::<Json>()?});
        let topic = self.host.topic("record.create")?;
        let passed = topic.before("things", &payload).await?;
        if !passed.statements.is_empty() {
            self.host.database()?.apply(passed.statements).await?;
        }
        topic.after("things", &payload)?;
        Ok(Response::json(&passed.payload)?.with_status(201))
    }

    /// Creates a note with an entry in the audit log, unless its fate is `refused`, `rolled_back` or `dropped`.
    /// `recorded` is an entry without a note.
    async fn note(self: Arc<Self>, request: Request) -> Result<Response> {
        let fate = request.param(0);
        let (audit, database) = (self.host.audit()?, self.host.database()?);
        let entry = Entry::new("note", "note", fate).by(&request);
        if fate == "recorded" {
            audit.record(&entry.with_change(json!({"long": "x".repeat(70 << 10), "short": 1}))).await?;
            return Response::json(&fate);
        }
        let passed = self.host.topic("note.make")?.before(fate, &json!({})).await?;
        let mut batch = passed.statements;
        batch.push("CREATE TABLE IF NOT EXISTS neighbour_notes (fate TEXT CHECK (fate <> 'refused'))", &[]);
        batch.append(audit.entry(&entry).await?)?;
        batch.push("INSERT INTO neighbour_notes VALUES (?1)", &[fate.into()]);
        if !matches!(fate, "rolled_back" | "dropped") {
            database.apply(batch).await?;
            return Response::json(&fate);
        }
        let mut transaction = database.begin(NOTE_TIME_MAX).await?;
        transaction.apply(batch).await?;
        if fate == "rolled_back" {
            transaction.rollback().await?;
        }
        Response::json(&fate)
    }

    /// The hook before a note, which adds its own audit entry to the note's change.
    async fn watch(self: Arc<Self>, event: Event) -> Result<HookOutcome> {
        let entry = self.host.audit()?.entry(&Entry::new("watch", "note", event.subject)).await?;
        Ok(HookOutcome::accept().with_statements(entry))
    }

    /// Sends a request to the URL in the request; returns status and body.
    async fn ask(self: Arc<Self>, request: Request) -> Result<Response> {
        let url: String = request.json()?;
        let answer = self.host.http()?.send(&HttpRequest::get(url)).await?;
        Response::json(&json!([answer.status(), String::from_utf8_lossy(answer.body())]))
    }

    async fn echo(self: Arc<Self>, request: Request) -> Result<Response> {
        let body: Json = request.json()?;
        Response::json(&body)
    }
}

//! A plugin that behaves, beside those that do not, and two routes that ask for what it was not given.

use tinybase_plugin_api::prelude::*;

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

    /// Runs the SQL that it is sent.
    async fn steal(self: Arc<Self>, request: Request) -> Result<Response> {
        let sql = String::from_utf8_lossy(request.body()).into_owned();
        Response::json(&self.host.database()?.execute(&sql, &[]).await?)
    }

    /// Emits `record.create` with what it is sent as the record.
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

    async fn echo(self: Arc<Self>, request: Request) -> Result<Response> {
        let body: Json = request.json()?;
        Response::json(&body)
    }
}

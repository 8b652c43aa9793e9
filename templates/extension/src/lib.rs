//! {{description}}
#![forbid(unsafe_code)]

use serde::Deserialize;
use tinybase_plugin_api::prelude::*;

pub struct {{Type}} {
    host: Host,
    database: Database,
}

#[derive(Deserialize)]
struct Settings {
    greeting: String,
}

#[derive(Deserialize)]
struct NewVisit {
    name: String,
}

#[tinybase_plugin_api::export]
impl Plugin for {{Type}} {
    fn create(host: Host) -> Result<{{Type}}> {
        let database = host.database()?;
        Ok({{Type}} { host, database })
    }

    fn register(registry: &mut Registry<{{Type}}>) {
        registry.get("/api/{{name}}", {{Type}}::list).auth(Auth::User);
        registry.post("/api/{{name}}", {{Type}}::visit).auth(Auth::User);
    }
}

impl {{Type}} {
    async fn list(self: Arc<Self>, _request: Request) -> Result<Response> {
        let sql = "SELECT name, visited_at FROM {{name}}_visits ORDER BY id DESC LIMIT 100";
        let rows = self.database.query(ReadHint::Indexed, sql, &[]).await?;
        let mut visits = Vec::with_capacity(rows.len());
        for row in &rows {
            visits.push(json!({"name": row.text(0)?, "visited_at": row.text(1)?}));
        }
        Response::json(&json!({"visits": visits}))
    }

    async fn visit(self: Arc<Self>, request: Request) -> Result<Response> {
        let NewVisit { name } = request.json()?;
        if name.trim().is_empty() || name.len() > 100 {
            return Err(Error::bad_request("name_invalid", "a visitor's name has 1 to 100 bytes"));
        }
        let settings: Settings = self.host.settings().await?;
        let sql = "INSERT INTO {{name}}_visits (name, visited_at) VALUES (?1, ?2)";
        self.database.execute(sql, params![name.as_str(), Value::Now]).await?;
        let message = format!("{}, {name}!", settings.greeting);
        Ok(Response::json(&json!({"message": message}))?.with_status(201))
    }
}

//! A plugin that emits the event `beater.beat` with the number in the request.

use tinybase_plugin_api::prelude::*;

struct Beater {
    host: Host,
}

#[tinybase_plugin_api::export]
impl Plugin for Beater {
    fn create(host: Host) -> Result<Beater> {
        Ok(Beater { host })
    }

    fn register(registry: &mut Registry<Beater>) {
        registry.post("/api/beater/{beat}", Beater::beat);
    }
}

impl Beater {
    async fn beat(self: Arc<Self>, request: Request) -> Result<Response> {
        let payload = json!({"beat": request.param(0).parse::<i64>().unwrap_or(-1)});
        let topic = self.host.topic("beater.beat")?;
        let passed = topic.before("", &payload).await?;
        if !passed.statements.is_empty() {
            self.host.database()?.apply(passed.statements).await?;
        }
        topic.after("", &payload)?;
        Response::json(&payload)
    }
}

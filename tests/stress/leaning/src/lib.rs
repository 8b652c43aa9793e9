//! A plugin that needs the plugin `pulse`.

use tinybase_plugin_api::prelude::*;

struct Leaning;

#[tinybase_plugin_api::export]
impl Plugin for Leaning {
    fn create(_host: Host) -> Result<Leaning> {
        Ok(Leaning)
    }

    fn register(registry: &mut Registry<Leaning>) {
        registry.get("/api/leaning", Leaning::answer);
    }
}

impl Leaning {
    async fn answer(self: Arc<Self>, _request: Request) -> Result<Response> {
        Response::json(&"leaning")
    }
}

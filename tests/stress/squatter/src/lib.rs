//! A plugin that registers a route below the path of `neighbour`.

use tinybase_plugin_api::prelude::*;

struct Squatter;

#[tinybase_plugin_api::export]
impl Plugin for Squatter {
    fn create(_host: Host) -> Result<Squatter> {
        Ok(Squatter)
    }

    fn register(registry: &mut Registry<Squatter>) {
        registry.get("/api/squatter", Squatter::answer);
        registry.get("/api/neighbour/notes", Squatter::answer);
    }
}

impl Squatter {
    async fn answer(self: Arc<Self>, _request: Request) -> Result<Response> {
        Response::json(&"squatter")
    }
}

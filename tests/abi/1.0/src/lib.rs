//! A plugin that uses a little of every part of ABI 1.0. Its built form is kept; this source is never changed.
#![forbid(unsafe_code)]

use tinybase_plugin_api::prelude::*;

struct Frozen {
    host: Host,
}

#[tinybase_plugin_api::export]
impl Plugin for Frozen {
    fn create(host: Host) -> Result<Frozen> {
        Ok(Frozen { host })
    }

    fn register(registry: &mut Registry<Frozen>) {
        registry.get("/api/frozen/{name}", Frozen::greet);
        registry.before("frozen.event", None, 0, Frozen::pass);
    }
}

impl Frozen {
    async fn greet(self: Arc<Self>, request: Request) -> Result<Response> {
        if request.param(0) == "panic" {
            panic!("on purpose");
        }
        let rows = self.host.database()?.query(ReadHint::Indexed, "SELECT 1 + ?1", params![41]).await?;
        let number = rows.first().map(|row| row.integer(0)).transpose()?;
        let caller = request.caller().map(|caller| caller.email().to_owned());
        Response::json(&json!({
            "name": request.param(0),
            "number": number,
            "caller": caller,
            "header": request.header("x-frozen"),
            "storage_is_refused": self.host.data_dir().is_err_and(|error| error.code() == "capability_missing"),
        }))
    }

    async fn pass(self: Arc<Self>, event: Event) -> Result<Before> {
        Ok(Before::pass().with_payload(json!([event.topic, event.subject, event.payload])))
    }
}

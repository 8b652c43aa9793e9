//! A sign-in method with a fixed code, which verifies nobody: for the tests of sign-in methods only. `STRESS_SWITCH`
//! makes its list of sign-in methods fail.

use std::time::Duration;

use tinybase_plugin_api::{prelude::*, sessions::SignIn};

/// The code that signs anybody in.
const CODE: &str = "314159";

struct Door {
    host: Host,
}

#[tinybase_plugin_api::export]
impl Plugin for Door {
    fn create(host: Host) -> Result<Door> {
        Ok(Door { host })
    }

    fn register(registry: &mut Registry<Door>) {
        registry.post("/api/door/code", Door::sign_in);
        registry.put("/api/door/settings", Door::configure);
        registry.get("/api/door/settings", Door::configured);
        registry.post("/api/door/who", Door::who);
        registry.service("identity", 1, Door::identity);
    }
}

impl Door {
    /// `{"email" or "user_id", "code", "register"}`
    async fn sign_in(self: Arc<Self>, request: Request) -> Result<Response> {
        let body: Json = request.json()?;
        if body["code"] != CODE {
            return Err(Error::unauthorized("code_wrong", "the code is wrong"));
        }
        let who = match (body["email"].as_str(), body["user_id"].as_str()) {
            (Some(email), _) => SignIn::by_email(email, "code"),
            (None, id) => SignIn::by_user_id(id.unwrap_or_default(), "code"),
        };
        let who = if body["register"] == true { who.or_register() } else { who };
        let answer = self.host.sign_in(&who.from(&request)).await?;
        Ok(Response::json(&answer)?.with_header("cache-control", "no-store"))
    }

    /// `{"token"}`: returns the token's user and rights.
    async fn who(self: Arc<Self>, request: Request) -> Result<Response> {
        let body: Json = request.json()?;
        let user = self.host.authenticate(body["token"].as_str().unwrap_or_default()).await?;
        Response::json(&json!({
            "email": user.email,
            "role": user.role,
            "is_admin": user.is_admin,
            "scopes": user.scopes,
            "token_id": user.token_id,
            "may_write": user.allows("collections:write"),
        }))
    }

    async fn configure(self: Arc<Self>, request: Request) -> Result<Response> {
        self.host.update_settings(&request.json()?).await?;
        Ok(Response::empty(204))
    }

    /// Returns the extension's own configuration, which no real extension would reveal.
    async fn configured(self: Arc<Self>, _request: Request) -> Result<Response> {
        Response::json(&self.host.settings::<Json>().await?)
    }

    async fn identity(self: Arc<Self>, method: String, _payload: Json) -> Result<Json> {
        if method != "methods" {
            return Err(Error::not_found("no_such_method", "this service has the method methods alone"));
        }
        let url = match std::env::var("STRESS_SWITCH").as_deref() {
            Ok("methods_hang") => {
                self.host.sleep(Duration::from_secs(60)).await?;
                "/late"
            }
            Ok("methods_panic") => panic!("listed on purpose"),
            Ok("methods_bad") => "javascript:alert(1)",
            _ => "/api/door/page",
        };
        Ok(json!([{"id": "code", "label": "One-time code", "start_url": url}]))
    }
}

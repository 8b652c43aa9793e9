//! The routes of hooks: create, list, change and delete them, and rotate their secrets. A secret is returned only once,
//! by the call that creates it.

use tinybase_plugin_api::{audit::Entry, prelude::*};
use uuid::Uuid;

use crate::{
    Webhooks,
    hook::Hook,
    input::Input,
    page::{Page, check_query},
    time::Moment,
};

pub(crate) fn register(registry: &mut Registry<Webhooks>) {
    registry.get("/api/webhooks", Webhooks::list_hooks).auth(Auth::Editor).summary("The hooks");
    registry
        .post("/api/webhooks", Webhooks::create_hook)
        .auth(Auth::Editor)
        .summary("Add a hook; answers its secret, which is never answered again");
    registry.get("/api/webhooks/{id}", Webhooks::show_hook).auth(Auth::Editor).summary("A hook");
    registry.patch("/api/webhooks/{id}", Webhooks::change_hook).auth(Auth::Editor).summary("Change a hook");
    registry
        .delete("/api/webhooks/{id}", Webhooks::delete_hook)
        .auth(Auth::Editor)
        .summary("Delete a hook and its deliveries");
    registry
        .post("/api/webhooks/{id}/rotate-secret", Webhooks::rotate_secret)
        .auth(Auth::Editor)
        .summary("Make a new secret for a hook; the old one signs beside it for a while");
}

fn changed_meanwhile(error: Error) -> Error {
    match error.code() {
        "db_condition" => {
            Error::conflict("webhook_changed", "the hook was changed meanwhile: look at it again")
        }
        _ => error,
    }
}

fn too_many(error: Error) -> Error {
    match error.code() {
        "db_condition" => Error::conflict("too_many_webhooks", "there are 200 hooks, which is the most"),
        _ => error,
    }
}

impl Webhooks {
    async fn list_hooks(self: Arc<Self>, request: Request) -> Result<Response> {
        check_query(&request, &["limit", "offset"])?;
        let page = Page::of(&request)?;
        let hooks = self.hooks().await?;
        let number = |number: i64| usize::try_from(number).unwrap_or(usize::MAX);
        let mut shown = Vec::new();
        for hook in hooks.iter().skip(number(page.offset)).take(number(page.limit)) {
            shown.push(self.shown(hook, &request).await?);
        }
        let (limit, offset) = (page.limit, page.offset);
        Response::json(&json!({"hooks": shown, "total": hooks.len(), "limit": limit, "offset": offset}))
    }

    async fn show_hook(self: Arc<Self>, request: Request) -> Result<Response> {
        check_query(&request, &[])?;
        Response::json(&self.shown(&self.hook(request.param(0)).await?, &request).await?)
    }

    async fn create_hook(self: Arc<Self>, request: Request) -> Result<Response> {
        let input: Input = request.json()?;
        let now = Moment::now(self.database).await?;
        let mut hook = Hook::new(Uuid::now_v7().to_string(), now);
        hook.belong_to(&request);
        input.put_into(&mut hook)?;
        let key = self.make_signing_key().await?;
        let entry =
            Entry::new("create", "webhook", hook.id.as_str()).by(&request).with_change(hook.audited());
        let mut batch = hook.insert();
        batch.append(self.audit.entry(&entry).await?)?;
        self.database.apply(batch).await.map_err(too_many)?;
        let mut answer = self.shown(&hook, &request).await?;
        answer["secret"] = key.secret(&hook.id, hook.secret_version).text().into();
        Ok(Response::json(&answer)?.with_status(201))
    }

    async fn change_hook(self: Arc<Self>, request: Request) -> Result<Response> {
        let input: Input = request.json()?;
        let mut hook = self.hook(request.param(0)).await?;
        hook.check_owner(&request)?;
        let (before, headers) = (hook.audited(), hook.headers.clone());
        input.put_into(&mut hook)?;
        hook.limit_to(&request)?;
        let mut change = hook.audited();
        if let (Some(fields), Some(before)) = (change.as_object_mut(), before.as_object()) {
            fields.retain(|name, value| before.get(name) != Some(value));
            for (name, value) in fields.iter_mut() {
                *value = json!({"from": before.get(name), "to": value.take()});
            }
            if headers != hook.headers {
                fields.insert("headers".to_owned(), json!("changed"));
            }
        }
        self.store(&request, "update", hook, change).await
    }

    async fn store(&self, request: &Request, action: &str, mut hook: Hook, change: Json) -> Result<Response> {
        let mut batch = hook.update(Moment::now(self.database).await?);
        let entry = Entry::new(action, "webhook", hook.id.as_str()).by(request).with_change(change);
        batch.append(self.audit.entry(&entry).await?)?;
        self.database.apply(batch).await.map_err(changed_meanwhile)?;
        Response::json(&self.shown(&hook, request).await?)
    }

    async fn delete_hook(self: Arc<Self>, request: Request) -> Result<Response> {
        let hook = self.hook(request.param(0)).await?;
        hook.check_owner(&request)?;
        let mut batch = Batch::default();
        batch.push("DELETE FROM webhooks_hooks WHERE id = ?1", params![hook.id.as_str()]);
        let entry =
            Entry::new("delete", "webhook", hook.id.as_str()).by(&request).with_change(hook.audited());
        batch.append(self.audit.entry(&entry).await?)?;
        self.database.apply(batch).await?;
        Ok(Response::empty(204))
    }

    async fn rotate_secret(self: Arc<Self>, request: Request) -> Result<Response> {
        let mut hook = self.hook(request.param(0)).await?;
        hook.check_owner(&request)?;
        let (settings, key) = (self.settings().await?, self.make_signing_key().await?);
        let now = Moment::now(self.database).await?;
        hook.secret_version += 1;
        hook.previous_secret_until = Some(now.after(settings.secret_overlap()));
        let (id, version) = (hook.id.clone(), hook.secret_version);
        let change = json!({"previous_secret_until": hook.previous_secret_until.map(Moment::text)});
        self.store(&request, "rotate_secret", hook, change).await?;
        let mut answer = self.shown(&self.hook(&id).await?, &request).await?;
        answer["secret"] = key.secret(&id, version).text().into();
        Response::json(&answer)
    }
}

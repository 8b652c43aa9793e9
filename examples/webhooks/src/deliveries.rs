//! The routes of deliveries: list them with their state and errors, send one again, and send a test.

use tinybase_plugin_api::{audit::Entry, database::Row, prelude::*};

use crate::{
    Webhooks,
    access::Standing,
    owner::only_owner,
    page::{Page, check_query, fault},
    time::Moment,
};

const COLUMNS: &str = "id, hook_id, event_id, event_type, state, attempts, next_attempt_at, last_attempt_at, \
                       response_status, error, created_at, finished_at";

const AGAIN: &str = "UPDATE webhooks_deliveries SET state = 'pending', attempts = 0, next_attempt_at = ?2, error = NULL, \
                     response_status = NULL, finished_at = NULL WHERE id = ?1 AND state IN ('dead', 'delivered')";

pub(crate) fn register(registry: &mut Registry<Webhooks>) {
    registry
        .get("/api/webhooks/deliveries", Webhooks::list_all)
        .auth(Auth::Editor)
        .summary("The deliveries of the caller's own hooks, newest first; for admins those of all hooks");
    registry
        .get("/api/webhooks/{id}/deliveries", Webhooks::list_of_hook)
        .auth(Auth::Editor)
        .summary("The deliveries of a hook, newest first");
    registry
        .post("/api/webhooks/deliveries/{id}/retry", Webhooks::send_again)
        .auth(Auth::Editor)
        .summary("Send a delivery that is dead or delivered again, now");
    registry
        .post("/api/webhooks/{id}/test", Webhooks::send_test)
        .auth(Auth::Editor)
        .summary("Send a test message to a hook");
}

fn delivery(row: &Row<'_>) -> Result<Json> {
    let state = row.text(4)?;
    let status = match row.value(8)? {
        tinybase_plugin_api::database::ValueRef::Integer(status) => Some(status),
        _ => None,
    };
    Ok(json!({
        "id": row.text(0)?,
        "hook_id": row.text(1)?,
        "event_id": row.text(2)?,
        "type": row.text(3)?,
        "state": state,
        "attempts": row.integer(5)?,
        "next_attempt_at": Some(row.text(6)?).filter(|_| state == "pending"),
        "last_attempt_at": row.text_or_null(7)?,
        "response_status": status,
        "error": row.text_or_null(9)?,
        "created_at": row.text(10)?,
        "finished_at": row.text_or_null(11)?,
    }))
}

/// Returns the state in the query; `None` for all states.
fn state(request: &Request) -> Result<Option<String>> {
    let Some(state) = request.query_value("state") else { return Ok(None) };
    if matches!(&*state, "pending" | "delivered" | "dead") {
        return Ok(Some(state.into_owned()));
    }
    Err(fault("state", "state is pending, delivered or dead".to_owned()))
}

fn still_pending(error: Error) -> Error {
    match error.code() {
        "db_condition" => {
            let message = "the delivery is pending: it is sent again only once it is delivered or dead";
            Error::conflict("delivery_pending", message)
        }
        _ => error,
    }
}

impl Webhooks {
    async fn list_all(self: Arc<Self>, request: Request) -> Result<Response> {
        self.list(&request, None).await
    }

    async fn list_of_hook(self: Arc<Self>, request: Request) -> Result<Response> {
        let hook = self.hook(request.param(0)).await?;
        hook.check_owner(&request)?;
        self.list(&request, Some(&hook.id)).await
    }

    async fn list(&self, request: &Request, hook_id: Option<&str>) -> Result<Response> {
        check_query(request, &["state", "limit", "offset"])?;
        let (page, state) = (Page::of(request)?, state(request)?);
        let (mut conditions, mut values) = (Vec::new(), Vec::new());
        for (column, value) in [("hook_id", hook_id), ("state", state.as_deref())] {
            if let Some(value) = value {
                values.push(Value::from(value));
                conditions.push(format!("{column} = ?{}", values.len()));
            }
        }
        if let Some(owner) = only_owner(request) {
            values.push(Value::from(owner));
            conditions.push(format!(
                "hook_id IN (SELECT id FROM webhooks_hooks WHERE owner_id = ?{})",
                values.len()
            ));
        }
        let chosen = if conditions.is_empty() { "1 = 1".to_owned() } else { conditions.join(" AND ") };
        let count = format!("SELECT count(*) FROM webhooks_deliveries WHERE {chosen}");
        let total = self.database.query(ReadHint::Scan, &count, &values).await?;
        let total = total.first().map_or(Ok(0), |row| row.integer(0))?;
        let (limit_at, offset_at) = (values.len() + 1, values.len() + 2);
        let sql = format!(
            "SELECT {COLUMNS} FROM webhooks_deliveries WHERE {chosen} ORDER BY id DESC LIMIT ?{limit_at} OFFSET ?{offset_at}"
        );
        values.extend([Value::from(page.limit), Value::from(page.offset)]);
        let rows = self.database.query(ReadHint::Scan, &sql, &values).await?;
        let deliveries = rows.iter().map(|row| delivery(&row)).collect::<Result<Vec<_>>>()?;
        let (limit, offset) = (page.limit, page.offset);
        Response::json(&json!({"deliveries": deliveries, "total": total, "limit": limit, "offset": offset}))
    }

    async fn one(&self, id: &str) -> Result<Json> {
        let sql = format!("SELECT {COLUMNS} FROM webhooks_deliveries WHERE id = ?1");
        let rows = self.database.query(ReadHint::Indexed, &sql, params![id]).await?;
        let missing = || Error::not_found("delivery_not_found", "there is no such delivery");
        delivery(&rows.first().ok_or_else(missing)?)
    }

    async fn send_again(self: Arc<Self>, request: Request) -> Result<Response> {
        let id = request.param(0);
        let before = self.one(id).await?;
        self.hook(before["hook_id"].as_str().unwrap_or_default()).await?.check_owner(&request)?;
        let now = Moment::now(self.database).await?;
        let mut batch = Batch::default();
        batch.push_expecting(Expect::Exactly(1), AGAIN, params![id, now.text()]);
        let change = json!({"state": {"from": before["state"], "to": "pending"}});
        let entry = Entry::new("retry", "webhook_delivery", id).by(&request).with_change(change);
        batch.append(self.audit.entry(&entry).await?)?;
        self.database.apply(batch).await.map_err(still_pending)?;
        Ok(Response::json(&self.one(id).await?)?.with_status(202))
    }

    async fn send_test(self: Arc<Self>, request: Request) -> Result<Response> {
        let hook = self.hook(request.param(0)).await?;
        hook.check_owner(&request)?;
        if !hook.is_active {
            let message = "the hook is switched off: switch it on before you test it";
            return Err(Error::conflict("webhook_inactive", message));
        }
        if let Standing::Ended(reason) = self.standing(&hook).await? {
            return Err(Error::conflict("webhook_inactive", format!("the hook receives nothing: {reason}")));
        }
        let id = self.queue_test(&hook).await?;
        Ok(Response::json(&self.one(&id).await?)?.with_status(202))
    }
}

//! Notes that only their author sees.
#![forbid(unsafe_code)]

use serde::Deserialize;
use tinybase_plugin_api::prelude::*;

pub struct Notes {
    host: Host,
    database: Database,
}

#[derive(Deserialize)]
struct Settings {
    notes_max: i64,
}

#[derive(Deserialize)]
struct NewNote {
    text: String,
}

#[tinybase_plugin_api::export]
impl Plugin for Notes {
    fn create(host: Host) -> Result<Notes> {
        let database = host.database()?;
        Ok(Notes { host, database })
    }

    fn register(registry: &mut Registry<Notes>) {
        registry.get("/api/notes", Notes::list).auth(Auth::User);
        registry.post("/api/notes", Notes::create_note).auth(Auth::User);
        registry.delete("/api/notes/{id}", Notes::delete).auth(Auth::User);
        registry.command("count", Notes::count);
    }
}

fn caller_id(request: &Request) -> Result<&str> {
    let caller = request.caller().ok_or_else(|| Error::unauthorized("token_missing", "sign in first"))?;
    Ok(caller.user_id())
}

impl Notes {
    async fn list(self: Arc<Self>, request: Request) -> Result<Response> {
        let sql = "SELECT id, text, created_at FROM notes_notes WHERE owner_id = ?1 ORDER BY id DESC LIMIT 100";
        let rows = self.database.query(ReadHint::Indexed, sql, params![caller_id(&request)?]).await?;
        let mut notes = Vec::with_capacity(rows.len());
        for row in &rows {
            notes.push(json!({"id": row.integer(0)?, "text": row.text(1)?, "created_at": row.text(2)?}));
        }
        Response::json(&json!({"notes": notes}))
    }

    async fn create_note(self: Arc<Self>, request: Request) -> Result<Response> {
        let note: NewNote = request.json()?;
        if note.text.trim().is_empty() {
            return Err(Error::bad_request("text_empty", "a note needs a text"));
        }
        let settings: Settings = self.host.settings().await?;
        // One statement checks the limit and inserts, so that two requests at once cannot both pass.
        let sql = "INSERT INTO notes_notes (owner_id, text, created_at) SELECT ?1, ?2, ?3 \
                   WHERE (SELECT count(*) FROM notes_notes WHERE owner_id = ?1) < ?4 RETURNING id";
        let params = params![caller_id(&request)?, note.text, Value::Now, settings.notes_max];
        let mut batch = Batch::default();
        batch.push(sql, params);
        let applied = self.database.apply(batch).await?;
        match applied.statements[0].rows.first() {
            Some(row) => Ok(Response::json(&json!({"id": row.integer(0)?}))?.with_status(201)),
            None => Err(Error::conflict("too_many_notes", "delete a note before you add another")),
        }
    }

    async fn delete(self: Arc<Self>, request: Request) -> Result<Response> {
        let missing = || Error::not_found("note_not_found", "you have no such note");
        let id: i64 = request.param(0).parse().map_err(|_| missing())?;
        let sql = "DELETE FROM notes_notes WHERE owner_id = ?1 AND id = ?2";
        match self.database.execute(sql, params![caller_id(&request)?, id]).await? {
            0 => Err(missing()),
            _ => Ok(Response::empty(204)),
        }
    }

    async fn count(self: Arc<Self>, _arguments: Arguments, console: Console) -> Result<u32> {
        let row = self.database.query_one("SELECT count(*) FROM notes_notes", &[]).await?;
        console.line(match row.as_deref() {
            Some([Value::Integer(count)]) => format!("{count} notes"),
            _ => "no answer".to_owned(),
        });
        Ok(0)
    }
}

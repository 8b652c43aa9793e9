//! A plugin that offers `mail@1` and sends nothing: it keeps every mail and shows it to any client. Mail to an address
//! that begins with `bounce` fails.

use tinybase_plugin_api::prelude::*;

struct Mailbox {
    database: Database,
}

#[tinybase_plugin_api::export]
impl Plugin for Mailbox {
    fn create(host: Host) -> Result<Mailbox> {
        Ok(Mailbox { database: host.database()? })
    }

    fn register(registry: &mut Registry<Mailbox>) {
        registry.service("mail", 1, Mailbox::serve);
        registry.get("/api/mailbox", Mailbox::list);
    }
}

impl Mailbox {
    async fn serve(self: Arc<Self>, method: String, mail: Json) -> Result<Json> {
        if method != "send" {
            return Err(Error::not_found("method_unknown", "mail@1 has the method send alone"));
        }
        if mail["to"].as_str().is_none_or(|to| to.starts_with("bounce")) {
            return Err(Error::new(502, "mail_refused", format!("the mail server refused {mail}")));
        }
        let sql = "INSERT INTO mailbox_mails (mail) VALUES (?1)";
        self.database.execute(sql, params![mail.to_string()]).await?;
        Ok(Json::Null)
    }

    /// Returns every mail, the oldest first.
    async fn list(self: Arc<Self>, _request: Request) -> Result<Response> {
        let rows =
            self.database.query(ReadHint::Indexed, "SELECT mail FROM mailbox_mails ORDER BY id", &[]).await?;
        let mails = rows.iter().map(|row| row.text(0)).collect::<Result<Vec<_>>>()?;
        Ok(Response::json_bytes(format!("[{}]", mails.join(","))))
    }
}

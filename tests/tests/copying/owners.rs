//! After a copy to PostgreSQL each extension owns its tables, whatever the server's user is, and can change them as
//! before.

use serde_json::json;
use tinybase_test_postgres::{Database, psql, server_url};

use super::{copied, filled, on_sqlite};
use crate::instance::on;

/// The objects of extensions in the database that another role owns: tables, views, sequences, functions.
const OF_OTHERS: &str = "SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace \
     AND starts_with(relname, 'collections_') AND relkind IN ('r', 'p', 'v', 'm', 'S', 'i') \
     AND pg_get_userbyid(relowner) <> 'tb_' || substr(md5(current_database()), 1, 12) || '_collections' \
     UNION ALL SELECT proname FROM pg_proc WHERE starts_with(proname, 'collections_') \
     AND pg_get_userbyid(proowner) <> 'tb_' || substr(md5(current_database()), 1, 12) || '_collections'";

/// A database user without superuser rights, who may create roles and owns the database. It is removed on drop.
struct Limited<'a> {
    server: &'a str,
    database: &'a Database,
    name: String,
}

impl Limited<'_> {
    fn new<'a>(server: &'a str, database: &'a Database) -> Limited<'a> {
        let name = format!("limited_{}", database.url().rsplit('_').next().unwrap());
        let script = format!(
            "CREATE ROLE {name} LOGIN CREATEROLE PASSWORD 'secret'; \
             DO $$ BEGIN EXECUTE format('ALTER DATABASE %I OWNER TO {name}', current_database()); END $$; \
             ALTER SCHEMA public OWNER TO {name}"
        );
        database.run(&script).unwrap();
        Limited { server, database, name }
    }

    fn url(&self) -> String {
        let url = self.database.url();
        let (_, host) = url.split_once('@').unwrap();
        format!("postgres://{}:secret@{host}", self.name)
    }
}

impl Drop for Limited<'_> {
    fn drop(&mut self) {
        let change_owner = format!("REASSIGN OWNED BY {0} TO CURRENT_USER; DROP OWNED BY {0}", self.name);
        let _ = self.database.run(&change_owner);
        let _ = psql(self.server, &format!("DROP ROLE {}", self.name));
    }
}

#[test]
#[allow(clippy::print_stdout, reason = "a test's output tells what it did")]
fn behind_a_copy_extensions_own_their_tables_and_change_them() {
    let Some(server) = server_url() else {
        println!("left out without a PostgreSQL server: only there tables have owners");
        return;
    };
    let mut site = on_sqlite();
    filled(&mut site, 5);
    let (of_super, of_limited) = (Database::create(&server).unwrap(), Database::create(&server).unwrap());
    let limited = Limited::new(&server, &of_limited);
    for (database, url, user) in
        [(&of_super, of_super.url(), "CURRENT_USER"), (&of_limited, limited.url(), &limited.name)]
    {
        copied(&site, "sqlite://./tinybase.db", &url);
        assert_eq!(database.run(OF_OTHERS).unwrap(), "", "{url}");
        let own =
            "SELECT count(*) >= 4 FROM pg_class WHERE starts_with(relname, 'collections_') AND relkind = 'r'";
        assert_eq!(database.run(own).unwrap(), "t", "{url}: there is something to own");
        // Like its next migration.
        let as_extension = "DO $$ BEGIN EXECUTE format('SET ROLE %I', \
             'tb_' || substr(md5(current_database()), 1, 12) || '_collections'); END $$;";
        let migrate = "ALTER TABLE collections_meta ADD COLUMN later TEXT; CREATE INDEX collections_later ON \
             collections_meta (later); DROP INDEX collections_later; ALTER TABLE collections_meta DROP COLUMN later";
        database.run(&format!("{as_extension} {migrate}")).unwrap();
        // A table that the host owns, as in a restored database, is handed to the extension at the next start.
        database.run(&format!("ALTER TABLE collections_meta OWNER TO {user}")).unwrap();
        assert!(database.run(OF_OTHERS).unwrap().contains("collections_meta"), "{url}");
        // Like a schema change, on tables that the extension created at run time.
        on(&mut site, &url, |site| {
            let server = site.serve();
            let admin = server.admin();
            let fields = json!([
                {"name": "place", "type": "reference", "collection": "places", "on_delete": "cascade"},
                {"name": "by", "type": "reference", "collection": "users"},
                {"name": "note", "type": "string", "index": true},
                {"name": "stars", "type": "integer", "index": true},
            ]);
            admin.patch("/api/collections/visits", &json!({"schema": {"fields": fields}})).expect(200);
            let record = json!({"data": {"note": "new", "stars": 3}});
            admin.post("/api/collections/visits/records", &record).expect(201);
            admin.delete("/api/collections/visits").expect(204);
            assert!(server.stop().success());
        });
        assert_eq!(database.run(OF_OTHERS).unwrap(), "", "{url}");
    }
}

//! Tests of the extension on a test host: real SQL and migrations, and a replacement of the collections' service.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

use tinybase_plugin_api::{prelude::*, testkit::TestHost};
use tinybase_search::Search;

/// One collection, whose records are visible to their owners and admins only, or to everyone.
#[derive(Default)]
struct Posts {
    id: String,
    revision: i64,
    is_public: bool,
    records: BTreeMap<String, Json>,
    /// The maximum number of records in a response.
    answer_max: usize,
}

struct Site {
    host: TestHost<Search>,
    posts: Arc<Mutex<Posts>>,
}

impl Site {
    fn new(is_public: bool) -> Site {
        let host = TestHost::<Search>::start(env!("CARGO_MANIFEST_DIR"));
        let posts = Posts { id: "c1".into(), revision: 1, is_public, answer_max: 500, ..Posts::default() };
        let posts = Arc::new(Mutex::new(posts));
        let served = Arc::clone(&posts);
        host.offer("records", 1, move |method, asked| served.lock().unwrap().answer(method, &asked));
        Site { host, posts }
    }

    fn index(&self, body: &Json) {
        let answer = self.host.request("PUT", "/api/search/indexes/posts").admin().json(body).send();
        assert!(answer.status() < 300, "{}", answer.json());
        self.host.job("build").unwrap();
    }

    /// Stores a record. Returns the payload of its event.
    fn store(&self, id: &str, version: i64, owner: &str, data: Json) -> Json {
        let created_at = "2026-01-01T00:00:00.000000Z";
        let record = json!({
            "id": id, "collection_id": "c1", "owner_id": owner, "data": data,
            "created_at": created_at, "updated_at": created_at, "version": version,
        });
        self.posts.lock().unwrap().records.insert(id.to_owned(), record);
        json!({"collection": "posts", "id": id, "version": version, "created_at": created_at})
    }

    fn told(&self, topic: &str, event: &Json) {
        self.host.after(topic, "posts", event).unwrap();
    }

    fn add(&self, id: &str, owner: &str, data: Json) {
        let event = self.store(id, 1, owner, data);
        self.told("record.create", &event);
    }

    fn search(&self, user: &str, query: &str) -> Json {
        let answer = self.host.get(&format!("/api/search/posts?{query}")).user(user).send();
        assert_eq!(answer.status(), 200, "{query}: {}", answer.json());
        answer.json()
    }

    fn found(&self, user: &str, query: &str) -> Vec<String> {
        let hits = self.search(user, query);
        hits["hits"].as_array().unwrap().iter().map(|hit| hit["id"].as_str().unwrap().to_owned()).collect()
    }

    fn state(&self) -> Json {
        self.host.get("/api/search/indexes/posts").admin().send().json()
    }
}

impl Posts {
    fn answer(&self, method: &str, asked: &Json) -> Result<Json> {
        let name = asked["collection"].as_str().or(asked["name"].as_str()).unwrap_or("posts");
        if name != "posts" || self.id.is_empty() {
            return Err(Error::not_found("collection_not_found", "there is no such collection"));
        }
        let ids = asked["ids"].as_array().cloned();
        let of_ids = ids.iter().flatten().filter_map(|id| self.records.get(id.as_str().unwrap()));
        match method {
            "read" => {
                let caller = &asked["caller"];
                if !self.is_public && caller.is_null() {
                    return Err(Error::forbidden("access_denied", "sign in"));
                }
                let all = self.is_public || caller["role"] == "admin";
                let seen = of_ids.filter(|record| all || record["owner_id"] == caller["user_id"]);
                let seen: Vec<_> = seen.collect();
                let is_too_large = seen.len() > self.answer_max
                    || seen.iter().any(|record| record["data"]["is_huge"] == true);
                if is_too_large {
                    return Err(Error::too_large("answer_too_large", "too many"));
                }
                Ok(json!({"records": seen, "sees_all": all}))
            }
            "list" if ids.is_some() => Ok(self.page(of_ids.cloned().collect(), None)),
            "list" => {
                let after = asked["after"].as_str().unwrap_or_default();
                let limit = usize::try_from(asked["limit"].as_u64().unwrap()).unwrap();
                let behind = self.records.iter().filter(|(id, _)| id.as_str() > after);
                let page: Vec<Json> = behind.take(limit).map(|(_, record)| record.clone()).collect();
                if page.len() > self.answer_max {
                    return Err(Error::too_large("answer_too_large", "too many"));
                }
                let next = page.last().filter(|_| page.len() == limit).map(|last| last["id"].clone());
                Ok(self.page(page, next))
            }
            _ => {
                let fields = json!([{"name": "title", "type": "string"}, {"name": "body", "type": "string"}]);
                Ok(json!({"collections": [{
                    "id": self.id, "name": "posts", "revision": self.revision,
                    "records": self.records.len(), "fields": fields,
                }]}))
            }
        }
    }

    fn page(&self, records: Vec<Json>, next: Option<Json>) -> Json {
        json!({"collection_id": self.id, "revision": self.revision, "records": records, "next": next})
    }
}

const FIELDS: &str = r#"{"fields": [{"name": "title", "weight": 5}, "body"]}"#;

fn fields() -> Json {
    FIELDS.parse().unwrap()
}

#[test]
fn words_phrases_prefixes_and_what_is_excluded() {
    let site = Site::new(true);
    site.index(&fields());
    site.add("a", "u1", json!({"title": "The quick fox", "body": "jumps over a lazy dog"}));
    site.add("b", "u1", json!({"title": "A lazy day", "body": "the fox is quick to sleep"}));
    site.add("c", "u1", json!({"title": "Größe & Zürich", "body": {"deep": ["foxes", 1999]}}));
    for (query, expected) in [
        ("q=fox", &["a", "b"][..]),
        ("q=FOX", &["a", "b"]),
        ("q=lazy", &["b", "a"]),
        ("q=%22quick+fox%22", &["a"]),
        ("q=fox*", &["c", "a", "b"]),
        ("q=fox+-dog", &["b"]),
        ("q=fox+-%22quick+to%22", &["a"]),
        ("q=grosse", &[]),
        ("q=gr%C3%B6%C3%9Fe", &["c"]),
        ("q=1999", &["c"]),
        ("q=zurich", &["c"]),
        ("q=nothing", &[]),
    ] {
        let mut found = site.found("u1", query);
        let mut expected: Vec<String> = expected.iter().map(|id| (*id).to_owned()).collect();
        if query == "q=fox*" {
            found.sort();
            expected.sort();
        }
        assert_eq!(found, expected, "{query}");
    }
    let hits = site.search("u1", "q=lazy&highlight=true&limit=1");
    assert_eq!(hits["hits"][0]["snippet"], "A <mark>lazy</mark> day");
    assert!(hits["hits"][0]["score"].as_f64().unwrap() > 0.0);
    assert_eq!(
        (&hits["next_offset"], &hits["truncated"], &hits["building"]),
        (&json!(1), &json!(false), &json!([]))
    );
    let second = site.search("u1", "q=lazy&limit=1&offset=1");
    assert_eq!((&second["hits"][0]["id"], &second["next_offset"]), (&json!("a"), &Json::Null));
    assert_eq!(second["hits"][0]["record"]["data"]["title"], "The quick fox");
    assert!(second["hits"][0]["record"].get("version").is_none());
}

#[test]
fn english_stems_are_found_where_they_are_asked_for() {
    let site = Site::new(true);
    site.add("a", "u1", json!({"title": "Running", "body": "ponies"}));
    site.index(&json!({"fields": ["title", "body"], "language": "english"}));
    assert_eq!(site.found("u1", "q=run+pony"), ["a"]);
    site.index(&json!({"fields": ["title", "body"]}));
    assert_eq!(site.found("u1", "q=run+pony"), [""; 0]);
    assert_eq!(site.found("u1", "q=running"), ["a"]);
}

#[test]
fn nobody_finds_what_they_may_not_see() {
    let site = Site::new(false);
    site.index(&fields());
    for number in 0..50 {
        site.add(&format!("b{number:02}"), "bob", json!({"title": format!("secret fox {number}")}));
    }
    site.add("a1", "ada", json!({"title": "a long title about a fox that is mine"}));
    site.add("a2", "ada", json!({"body": "my other fox"}));
    let hits = site.search("ada", "q=fox");
    assert_eq!(site.found("ada", "q=fox"), ["a1", "a2"]);
    assert!(hits["hits"][0]["score"].is_null(), "a score tells of all records");
    assert_eq!((&hits["next_offset"], &hits["truncated"]), (&Json::Null, &json!(false)));
    assert!(!hits.to_string().contains("secret"));
    assert_eq!(site.found("ada", "q=secret"), [""; 0]);
    assert_eq!(site.found("ada", "q=fox&limit=1&offset=1"), ["a2"]);
    assert_eq!(site.found("eve", "q=fox"), [""; 0]);
    let admin = site.host.get("/api/search/posts?q=fox&limit=100").admin().send().json();
    assert_eq!(admin["hits"].as_array().unwrap().len(), 52);

    let nobody = site.host.get("/api/search/posts?q=nothing").send();
    assert_eq!((nobody.status(), nobody.code().as_str()), (403, "access_denied"));
    let nobody = site.host.get("/api/search?q=fox").send();
    assert_eq!((nobody.status(), &nobody.json()["hits"]), (200, &json!([])));
    let nobody = site.host.get("/api/search?q=fox&collections=posts").send();
    assert_eq!(nobody.code(), "access_denied");
}

#[test]
fn a_text_that_is_not_there_any_more_is_not_shown() {
    let site = Site::new(true);
    site.index(&fields());
    site.add("a", "u1", json!({"title": "the password is fox"}));
    // The change is made, but the index was not notified of it.
    let event = site.store("a", 2, "u1", json!({"title": "nothing here"}));
    assert_eq!(site.found("u1", "q=password"), [""; 0]);
    site.told("record.update", &event);
    assert_eq!(site.found("u1", "q=password"), [""; 0]);
    assert_eq!(site.found("u1", "q=nothing"), ["a"]);
}

#[test]
fn what_is_told_twice_late_or_in_another_order_ends_alike() {
    let site = Site::new(true);
    site.index(&fields());
    let first = site.store("a", 1, "u1", json!({"title": "one"}));
    let second = site.store("a", 2, "u1", json!({"title": "two"}));
    for event in [&second, &first, &second, &first] {
        site.told("record.update", event);
        assert_eq!(site.found("u1", "q=two"), ["a"]);
    }
    site.posts.lock().unwrap().records.remove("a");
    site.told("record.delete", &second);
    site.told("record.delete", &second);
    site.told("record.create", &first);
    assert_eq!(site.state()["documents"], 0);
    // A page that was read before the deletion arrives late: it must not restore the record.
    site.store("a", 2, "u1", json!({"title": "two"}));
    site.told("record.update", &second);
    assert_eq!((site.found("u1", "q=two"), site.state()["documents"].clone()), (vec![], json!(0)));
    // A new record with the same id is another record.
    let again = site.store("a", 1, "u1", json!({"title": "two again"}));
    let later = "2026-01-02T00:00:00.000000Z";
    site.posts.lock().unwrap().records.get_mut("a").unwrap()["created_at"] = json!(later);
    site.told("record.create", &again);
    site.told("record.delete", &second);
    assert_eq!(
        (site.found("u1", "q=again"), site.state()["documents"].clone()),
        (vec!["a".to_owned()], json!(1))
    );
}

#[test]
fn an_index_is_built_in_pages_while_the_one_before_is_searched() {
    let site = Site::new(true);
    site.host.set_settings(json!({"page_records": 7})).unwrap();
    site.posts.lock().unwrap().answer_max = 5;
    for number in 0..40 {
        site.store(&format!("{number:02}"), 1, "u1", json!({"title": "fox", "body": "hound"}));
    }
    let put = |body: &Json| site.host.request("PUT", "/api/search/indexes/posts").admin().json(body).send();
    let made = put(&json!({"fields": ["title"]}));
    assert_eq!(
        (made.status(), &made.json()["state"], &made.json()["total"]),
        (201, &json!("building"), &json!(40))
    );
    assert_eq!(site.search("u1", "q=fox")["building"], json!(["posts"]));
    site.host.job("build").unwrap();
    let state = site.state();
    assert_eq!(
        (&state["state"], &state["indexed"], &state["documents"]),
        (&json!("ready"), &json!(40), &json!(40)),
        "{state}"
    );
    assert_eq!(site.found("u1", "q=fox&limit=100").len(), 40);

    let changed = put(&json!({"fields": ["title", "body"]}));
    assert_eq!((changed.status(), &changed.json()["state"]), (200, &json!("rebuilding")));
    assert_eq!(site.found("u1", "q=fox&limit=100").len(), 40, "the one before is searched");
    assert_eq!(site.found("u1", "q=hound").len(), 0);
    let event = site.store("07", 2, "u1", json!({"title": "badger"}));
    site.told("record.update", &event);
    assert_eq!(site.found("u1", "q=badger").len(), 1, "both are kept current");
    site.host.job("build").unwrap();
    assert_eq!(site.found("u1", "q=hound&limit=100").len(), 39);
    assert_eq!(site.found("u1", "q=badger").len(), 1);
    let left = site.host.query("SELECT count(*), min(number) FROM search_builds", &[]).unwrap();
    assert_eq!(left, [[Value::Integer(1), Value::Integer(2)]]);
    let tables = "SELECT count(*) FROM sqlite_master WHERE name LIKE 'search\\_w\\_1%' ESCAPE '\\'";
    assert_eq!(site.host.query(tables, &[]).unwrap(), [[Value::Integer(0)]]);

    let same = put(&json!({"fields": ["title", "body"]}));
    assert_eq!((same.status(), &same.json()["state"]), (200, &json!("ready")), "nothing changed");
    let anew = site.host.post("/api/search/indexes/posts/rebuild").admin().send();
    assert_eq!((anew.status(), &anew.json()["state"]), (202, &json!("rebuilding")));
    let actions: Vec<String> = site.host.audited().iter().map(|entry| entry.action.clone()).collect();
    assert_eq!(actions, ["search.index.set", "search.index.set", "search.index.rebuild"]);
}

#[test]
fn indexes_follow_schemas_and_collections() {
    let site = Site::new(true);
    site.add("a", "u1", json!({"title": "fox"}));
    site.index(&fields());
    // A schema change causes no events, but may change the records.
    site.store("a", 1, "u1", json!({"title": "badger"}));
    site.posts.lock().unwrap().revision = 2;
    site.host.job("watch").unwrap();
    assert_eq!(site.state()["state"], "rebuilding");
    site.host.job("build").unwrap();
    site.host.job("watch").unwrap();
    assert_eq!(
        (site.found("u1", "q=badger"), site.state()["state"].clone()),
        (vec!["a".to_owned()], json!("ready"))
    );

    // Records were added by an import, which causes no events.
    site.store("b", 1, "u1", json!({"title": "hound"}));
    site.host.job("tidy").unwrap();
    assert_eq!(site.state()["state"], "ready", "it may be a change that is under way");
    site.host.job("tidy").unwrap();
    site.host.job("build").unwrap();
    assert_eq!(site.found("u1", "q=hound"), ["b"]);

    // The words were not copied into this database.
    site.host.query("SELECT 1 FROM search_w_3 LIMIT 0", &[]).unwrap();
    let payload = json!({"tables": ["search_w_3", "search_w_3_data"], "derived": []});
    let told = site.host.emit("copy.tables", "", &payload).unwrap();
    assert_eq!(told, json!({"tables": [], "derived": ["search_w_3", "search_w_3_data"]}));

    // A new collection with the same name is another collection.
    site.posts.lock().unwrap().id = "c2".into();
    site.host.job("watch").unwrap();
    let missing = site.host.get("/api/search/posts?q=fox").user("u1").send();
    assert_eq!((missing.status(), missing.code().as_str()), (404, "not_indexed"));
    site.posts.lock().unwrap().id = String::new();
    let missing = site.host.get("/api/search/posts?q=fox").user("u1").send();
    assert_eq!((missing.status(), missing.code().as_str()), (404, "collection_not_found"));
    site.host.job("build").unwrap();
    assert_eq!(site.host.query("SELECT count(*) FROM search_docs", &[]).unwrap(), [[Value::Integer(0)]]);
}

#[test]
fn what_cannot_be_meant_is_refused_by_name() {
    let site = Site::new(true);
    site.index(&fields());
    for (target, expected) in [
        ("/api/search/posts", (422, "query_empty")),
        ("/api/search/posts?q=", (422, "query_empty")),
        ("/api/search/posts?q=-fox", (422, "query_only_excluded")),
        ("/api/search/posts?q=f*", (422, "query_prefix_too_short")),
        ("/api/search/posts?q=fox&limit=0", (422, "invalid_query")),
        ("/api/search/posts?q=fox&limit=101", (422, "invalid_query")),
        ("/api/search/posts?q=fox&offset=-1", (422, "invalid_query")),
        ("/api/search/posts?q=fox&highlight=maybe", (422, "invalid_query")),
        ("/api/search/others?q=fox", (404, "collection_not_found")),
        ("/api/search?q=fox&collections=posts,others", (404, "collection_not_found")),
        ("/api/search?q=fox&collections=a,b,c,d,e,f,g,h,i,j,k", (422, "invalid_query")),
    ] {
        let answer = site.host.get(target).user("u1").send();
        assert_eq!((answer.status(), answer.code().as_str()), expected, "{target}");
    }
    for (body, expected) in [
        (json!({}), (422, "invalid_body")),
        (json!({"fields": []}), (422, "invalid_index")),
        (json!({"fields": ["none"]}), (422, "invalid_index")),
        (json!({"fields": ["title", "title"]}), (422, "invalid_index")),
        (json!({"fields": [{"name": "title", "weight": 0}]}), (422, "invalid_index")),
        (json!({"fields": [{"name": "title", "weight": 11}]}), (422, "invalid_index")),
        (json!({"fields": [{"name": "title", "colour": 1}]}), (422, "invalid_body")),
        (json!({"fields": ["title"], "language": "klingon"}), (422, "invalid_body")),
    ] {
        let answer = site.host.request("PUT", "/api/search/indexes/posts").admin().json(&body).send();
        assert_eq!((answer.status(), answer.code().as_str()), expected, "{body}");
    }
    let index = "/api/search/indexes/posts";
    for (method, target) in
        [("PUT", index), ("DELETE", index), ("GET", index), ("GET", "/api/search/indexes")]
    {
        assert_eq!(site.host.request(method, target).user("u1").send().status(), 403, "{method} {target}");
        assert_eq!(site.host.request(method, target).send().status(), 401, "{method} {target}");
    }
    assert_eq!(site.host.request("PUT", index).role("v", "viewer").json(&fields()).send().status(), 403);
    assert_eq!(site.host.get(index).role("v", "viewer").send().status(), 200);
    assert_eq!(site.host.request("DELETE", index).admin().send().status(), 204);
    assert_eq!(site.host.request("DELETE", index).admin().send().code(), "index_not_found");
    assert_eq!(site.host.get(index).admin().send().code(), "index_not_found");
}

#[test]
fn records_that_are_too_large_together_are_found_by_fewer_at_once() {
    let site = Site::new(true);
    site.index(&fields());
    for at in 0..30 {
        site.add(&format!("r{at:02}"), "u1", json!({"title": "fox"}));
    }
    let all = site.found("u1", "q=fox&limit=100");
    assert_eq!(all.len(), 30);
    for answer_max in [7, 1] {
        site.posts.lock().unwrap().answer_max = answer_max;
        assert_eq!(site.found("u1", "q=fox&limit=100"), all, "{answer_max} at once");
        assert_eq!(site.found("u1", "q=fox&limit=5&offset=20"), all[20..25], "{answer_max} at once");
    }
    // Only a record that does not fit into any response is left out.
    site.store("r03", 2, "u1", json!({"title": "fox", "is_huge": true}));
    let left = site.search("u1", "q=fox&limit=100");
    assert_eq!((left["hits"].as_array().unwrap().len(), &left["truncated"]), (29, &json!(true)));
}

#[test]
fn parameters_that_a_route_does_not_have_are_refused() {
    let site = Site::new(true);
    site.index(&fields());
    for target in [
        "/api/search/posts?q=fox&limt=5",
        "/api/search/posts?q=fox&collections=posts",
        "/api/search/posts?q=fox&q=dog",
        "/api/search?q=fox&colections=posts",
        "/api/search/indexes?x=1",
        "/api/search/indexes/posts?x=1",
    ] {
        let refused = site.host.get(target).admin().send();
        assert_eq!((refused.status(), refused.code()), (422, "invalid_query".into()), "{target}");
    }
    assert_eq!(site.host.get("/api/search?q=fox&collections=posts&_=1").admin().send().status(), 200);
}

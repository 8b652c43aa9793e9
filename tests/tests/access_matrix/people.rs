//! Everyone who calls: a person of each role, and application tokens. It never decides what they may do.

use std::collections::HashMap;

use serde_json::{Value as Json, json};
use tinybase_tests::{
    client::Client,
    server::Server,
    site::{ADMIN_EMAIL, PASSWORD},
};

/// Everyone, in the order of the columns. `user` owns the records and sessions that are called for. `token` is an
/// application token of the admin's that may do everything, `scoped` one that may read collections alone, `unscoped` one
/// that may do nothing.
pub const PEOPLE: [&str; 9] =
    ["nobody", "user", "other", "viewer", "editor", "admin", "token", "scoped", "unscoped"];

/// A server with everyone signed in to it.
pub struct World<'s> {
    /// The server.
    pub server: &'s Server,
    clients: HashMap<&'static str, Client>,
    counter: u32,
}

impl<'s> World<'s> {
    /// Makes everyone, and the collection `things`, where each record is its owner's.
    pub fn new(server: &'s Server) -> World<'s> {
        let admin = server.admin();
        let mut world = World { server, clients: HashMap::new(), counter: 0 };
        for person in ["user", "other", "viewer", "editor"] {
            let role = if person == "other" { "user" } else { person };
            let account = json!({"email": email(person), "password": PASSWORD, "role": role});
            admin.post("/api/admin/users", &account).expect(201);
        }
        let tokens = [
            ("token", json!(["*"])),
            ("scoped", json!(["collections:read"])),
            ("unscoped", json!(["nothing:at-all"])),
        ];
        for (name, scopes) in tokens {
            let wanted = json!({"name": name, "scopes": scopes});
            let made = admin.post("/api/admin/application-tokens", &wanted).expect(201);
            let value = made["token_value"].as_str().unwrap();
            world.clients.insert(name, server.client().with_token(value));
        }
        world.clients.insert("nobody", server.client());
        for person in ["user", "other", "viewer", "editor", "admin"] {
            world.sign_in_again(person);
        }
        world.add_collection("things");
        world
    }

    /// The client of one of [`PEOPLE`].
    pub fn person(&self, name: &str) -> &Client {
        &self.clients[name]
    }

    /// A new session for a person whose last one may have ended.
    pub fn sign_in_again(&mut self, name: &'static str) {
        let email = match name {
            "nobody" | "token" | "scoped" | "unscoped" => return,
            "admin" => ADMIN_EMAIL.to_owned(),
            _ => email(name),
        };
        self.clients.insert(name, self.server.client().signed_in(&email));
    }

    /// A collection whose records are their owners' alone.
    pub fn add_collection(&self, name: &str) {
        let access =
            json!({"list": "owner", "read": "owner", "create": "auth", "update": "owner", "delete": "owner"});
        let collection = json!({
            "name": name, "label": name,
            "schema": {"fields": [{"name": "title", "type": "string"}]},
            "options": {"access": access},
        });
        self.person("admin").post("/api/collections", &collection).expect(201);
    }

    /// A number that was not given before.
    pub fn next(&mut self) -> u32 {
        self.counter += 1;
        self.counter
    }
}

/// The email of a person.
pub fn email(name: &str) -> String {
    format!("{name}@example.com")
}

/// The id in an answer.
pub fn id_of(answer: &Json) -> String {
    answer["id"].as_str().unwrap().to_owned()
}

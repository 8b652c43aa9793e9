//! All callers: a person of each role, and application tokens. It never decides what they may do.

use std::collections::HashMap;

use serde_json::{Value as Json, json};
use tinybase_tests::{
    client::Client,
    server::Server,
    site::{ADMIN_EMAIL, PASSWORD},
};

/// All callers, in the order of the columns. `user` owns the records and sessions used in the calls. `token` is an
/// application token of the admin that may do everything, `scoped` one that may only read collections, `unscoped` one
/// that may do nothing.
pub const PEOPLE: [&str; 9] =
    ["nobody", "user", "other", "viewer", "editor", "admin", "token", "scoped", "unscoped"];

/// A server with everybody signed in.
pub struct World<'s> {
    /// The server.
    pub server: &'s Server,
    clients: HashMap<&'static str, Client>,
    counter: u32,
}

impl<'s> World<'s> {
    /// Creates everybody, and the collection `things`, in which each record belongs to its owner.
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

    /// Returns the client of one of [`PEOPLE`].
    pub fn person(&self, name: &str) -> &Client {
        &self.clients[name]
    }

    /// Signs a person in again, since their last session may have ended.
    pub fn sign_in_again(&mut self, name: &'static str) {
        let email = match name {
            "nobody" | "token" | "scoped" | "unscoped" => return,
            "admin" => ADMIN_EMAIL.to_owned(),
            _ => email(name),
        };
        self.clients.insert(name, self.server.client().signed_in(&email));
    }

    /// Creates a collection whose records are only for their owners.
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

    /// Returns a new number.
    pub fn next(&mut self) -> u32 {
        self.counter += 1;
        self.counter
    }
}

/// Returns the email of a person.
pub fn email(name: &str) -> String {
    format!("{name}@example.com")
}

/// Returns the id in a response.
pub fn id_of(answer: &Json) -> String {
    answer["id"].as_str().unwrap().to_owned()
}

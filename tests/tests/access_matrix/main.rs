//! Who may call what: every mounted route called as everyone, and every access rule of collections, against the answers in
//! `tests/access.matrix` and `tests/collection_rules.matrix`. A route or a rule without a row fails;
//! `UPDATE_EXPECT=1` writes the rows again, to be read before they are believed.

#![allow(clippy::unwrap_used, reason = "a failed call fails its test")]

mod matrix;
mod people;
mod rules;
mod subjects;

use matrix::Matrix;
use people::{PEOPLE, World};
use tinybase_tests::{Site, client::Client};

/// The methods that an OpenAPI document may hold.
const METHODS: [&str; 5] = ["get", "post", "put", "patch", "delete"];

/// Every mounted route, as the server itself tells: method and path, in the order of the paths.
fn routes(anyone: &Client) -> Vec<(&'static str, String)> {
    let document = anyone.get("/openapi.json").expect(200);
    let paths = document["paths"].as_object().unwrap();
    let mut routes = Vec::new();
    for (path, item) in paths {
        for method in METHODS.into_iter().filter(|method| item.get(*method).is_some()) {
            routes.push((method, path.clone()));
        }
    }
    routes.sort_by(|(method, path), (other_method, other_path)| {
        (path, method).cmp(&(other_path, other_method))
    });
    assert!(routes.len() > 50, "the document tells of {} routes alone", routes.len());
    routes
}

/// What everyone is answered, in the order of [`PEOPLE`], each with a thing of their own.
fn answers(world: &mut World<'_>, method: &str, pattern: &str) -> Vec<String> {
    PEOPLE
        .map(|person| {
            let subject = subjects::of(world, method, pattern).unwrap_or_else(|| {
                panic!(
                    "{method} {pattern} is new: say in subjects.rs what it is called with, and add its row"
                )
            });
            let answer = world.person(person).send(method, &subject.path, subject.body.as_bytes());
            if subjects::may_end_the_session(method, pattern) {
                world.sign_in_again(person);
            }
            answer.status.to_string()
        })
        .into()
}

#[test]
fn every_route_answers_everyone_as_the_matrix_says() {
    let mut site = Site::new();
    // Everyone signs in again and again; nobody's session ends for that.
    site.set("TINYBASE_AUTH_SESSIONS_PER_USER_MAX", "1000");
    // The routes themselves, without what the document tells of each collection beside them.
    site.set("TINYBASE_OPENAPI_DESCRIBED_MAX", "0");
    let server = site.serve();
    let mut world = World::new(&server);
    let mut matrix = Matrix::new("route", &PEOPLE);
    for (method, path) in routes(&server.client()) {
        let method = method.to_uppercase();
        let cells = answers(&mut world, &method, &path);
        matrix.row(format!("{method} {path}"), cells);
    }
    matrix.compare("tests/access.matrix");
}

#[test]
fn every_rule_of_a_collection_holds_for_everyone_as_the_matrix_says() {
    let site = Site::new();
    let server = site.serve();
    let world = World::new(&server);
    let mut matrix = Matrix::new("rule and operation", &PEOPLE);
    for (name, rule) in rules::RULES {
        rules::rows(&world, name, rule, &mut matrix);
    }
    matrix.compare("tests/collection_rules.matrix");
}

//! Who may call what: calls every mounted route as every person, and checks every access rule of collections, against
//! the results in `tests/access.matrix` and `tests/collection_rules.matrix`. A route or a rule without a row fails;
//! `UPDATE_EXPECT=1` rewrites the rows, which must then be reviewed.

#![allow(clippy::unwrap_used, reason = "a failed call fails its test")]

mod matrix;
mod people;
mod rules;
mod subjects;

use matrix::Matrix;
use people::{PEOPLE, World};
use tinybase_tests::{Site, client::Client};

/// The methods that an OpenAPI document may contain.
const METHODS: [&str; 5] = ["get", "post", "put", "patch", "delete"];

/// Returns every mounted route according to the server itself: method and path, ordered by path.
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

/// Returns every person's result, in the order of [`PEOPLE`]. Each call uses a separate object.
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
    // People sign in repeatedly; that must not end anybody's session.
    site.set("TINYBASE_AUTH_SESSIONS_PER_USER_MAX", "1000");
    // Only the routes themselves, without the paths of individual collections.
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

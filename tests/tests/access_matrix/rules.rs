//! The access rules of collections: each operation under each rule, as every person. The records belong to `user`.

use serde_json::json;

use super::{
    matrix::Matrix,
    people::{PEOPLE, World, id_of},
};

/// Each rule, with the name of its collection. The last is a filter that matches every second record.
pub const RULES: [(&str, &str); 5] = [
    ("for_public", "public"),
    ("for_auth", "auth"),
    ("for_owner", "owner"),
    ("for_admin", "admin"),
    ("for_filter", "title = \"shown\""),
];

/// Records of `user` for lists, half of them `shown`.
const RECORDS: usize = 4;

/// Adds a row for every operation under this rule.
pub fn rows(world: &World<'_>, name: &str, rule: &str, matrix: &mut Matrix) {
    world.add_collection(name);
    let records = format!("/api/collections/{name}/records");
    let new = |title: &str| {
        let record = json!({"data": {"title": title}});
        format!("{records}/{}", id_of(&world.person("user").post(&records, &record).expect(201)))
    };
    let titles = ["shown", "hidden"];
    for number in 0..RECORDS {
        new(titles[number % 2]);
    }
    // For each title: one record to read, and for each person one to change and one to delete.
    let read = titles.map(new);
    let mut changed = PEOPLE.map(|_| titles.map(new)).into_iter();
    let mut deleted = PEOPLE.map(|_| titles.map(new)).into_iter();
    let total = RECORDS + 2 + PEOPLE.len() * 4;
    let access = json!({"list": rule, "read": rule, "create": rule, "update": rule, "delete": rule});
    let change = json!({"options": {"access": access}});
    world.person("admin").patch(&format!("/api/collections/{name}"), &change).expect(200);
    let mut row = |operation: &str, cell: &mut dyn FnMut(&'static str) -> String| {
        matrix.row(format!("{name} {operation}"), PEOPLE.map(cell).into());
    };
    row("list", &mut |person| {
        let answer = world.person(person).get(&format!("{records}?limit=1000"));
        if answer.status != 200 {
            return answer.status.to_string();
        }
        let listed = answer.json()["records"].as_array().unwrap().len();
        let share = match listed {
            0 => "none",
            all if all == total => "all",
            half if half * 2 == total => "half",
            _ => "some",
        };
        format!("200:{share}")
    });
    for (index, title) in titles.into_iter().enumerate() {
        row(&format!("read {title}"), &mut |person| {
            world.person(person).get(&read[index]).status.to_string()
        });
    }
    row("update shown/hidden", &mut |person| {
        let paths = changed.next().unwrap();
        let change = json!({"data": {}});
        paths.map(|path| world.person(person).patch(&path, &change).status.to_string()).join("/")
    });
    row("delete shown/hidden", &mut |person| {
        let paths = deleted.next().unwrap();
        paths.map(|path| world.person(person).delete(&path).status.to_string()).join("/")
    });
    row("create shown/hidden", &mut |person| {
        titles
            .map(|title| {
                world.person(person).post(&records, &json!({"data": {"title": title}})).status.to_string()
            })
            .join("/")
    });
}

//! The limit on the number of hooks, also with concurrent creation.

use serde_json::json;

use super::site;

const HOOKS_MAX: usize = 200;
const AT_ONCE: usize = 8;

#[test]
fn hooks_that_are_made_at_once_are_never_too_many() {
    let site = site();
    let server = site.serve();
    let admin = server.admin();
    let hook = json!({"url": "https://example.org/in", "events": ["delete"]});
    for _ in 0..HOOKS_MAX - 1 {
        admin.post("/api/webhooks", &hook).expect(201);
    }
    let statuses: Vec<u16> = std::thread::scope(|scope| {
        let posts: Vec<_> = (0..AT_ONCE)
            .map(|_| {
                let (admin, hook) = (admin.clone(), &hook);
                scope.spawn(move || admin.post("/api/webhooks", hook).status)
            })
            .collect();
        posts.into_iter().map(|post| post.join().unwrap()).collect()
    });
    assert_eq!(statuses.iter().filter(|status| **status == 201).count(), 1, "{statuses:?}");
    assert_eq!(statuses.iter().filter(|status| **status == 409).count(), AT_ONCE - 1, "{statuses:?}");
    assert_eq!(admin.get("/api/webhooks?limit=1").expect(200)["total"], HOOKS_MAX);
    let refused = admin.post("/api/webhooks", &hook).expect(409);
    assert_eq!(refused["code"], "too_many_webhooks");
}

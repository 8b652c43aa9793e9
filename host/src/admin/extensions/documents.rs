//! The OpenAPI operations of `/api/admin/extensions`.

use serde_json::{Value as Json, json};

use crate::http::operation::{Operation, operation, schema};

fn named(id: &str, summary: &str) -> Operation {
    operation(id, "extensions", summary)
}

fn missing(operation: Operation) -> Operation {
    operation.refuses(404, "It is not installed.")
}

fn changing(operation: Operation) -> Operation {
    operation
        .refuses(400, "It was not changed: the check that failed is the error's code.")
        .refuses(409, "Another change is under way, or other extensions need it.")
}

/// Completes the operation of a change to an existing extension, with its preconditions.
fn changing_one(operation: Operation) -> Operation {
    changing(missing(operation)).changes_tagged()
}

fn any_object() -> Json {
    json!({"type": "object"})
}

/// Returns the schema of an extension.
fn extension() -> Json {
    let fields = [
        ("id", schema::text()),
        ("name", schema::text()),
        ("version", schema::text()),
        ("description", schema::text()),
        ("author", schema::text()),
        ("license", schema::text()),
        ("repo_url", schema::text()),
        ("is_enabled", schema::flag()),
        ("is_builtin", schema::flag()),
        ("quarantined_reason", schema::nullable(schema::text())),
        ("capabilities", schema::list(schema::text())),
        ("dependencies", any_object()),
        ("settings", json!({})),
        ("pages", schema::list(any_object())),
        ("hash", schema::text()),
        ("registry", schema::nullable(schema::text())),
        ("publisher", schema::nullable(schema::text())),
        ("previous_version", schema::nullable(schema::text())),
        ("installed_at", schema::time()),
        ("updated_at", schema::time()),
        ("nodes", schema::list(any_object())),
    ];
    let mut extension = schema::object(&fields);
    extension["properties"]["update_available"] = schema::flag();
    extension["properties"]["latest_version"] = schema::nullable(schema::text());
    schema::named("Extension", extension)
}

pub(super) fn list() -> Json {
    named("listExtensions", "What is installed")
        .query("enabled_only", schema::flag(), "Leave out what is disabled.")
        .query("include_builtin", schema::flag(), "`true` lists what came with the program too.")
        .query("check_updates", schema::flag(), "Ask the registries whether something newer is there.")
        .paged()
        .answers(200, "In the order of installation.", schema::page("extensions", extension()))
        .into()
}

pub(super) fn search() -> Json {
    let fields = [
        ("name", schema::text()),
        ("version", schema::text()),
        ("description", schema::text()),
        ("author", schema::text()),
        ("registry", schema::text()),
        ("publisher", schema::text()),
        ("capabilities", schema::list(schema::text())),
        ("published_at", schema::time()),
        ("installed", schema::nullable(schema::text())),
    ];
    let offers = schema::list(schema::named("ExtensionOffer", schema::object(&fields)));
    let answer = schema::object(&[("extensions", offers), ("failures", schema::list(schema::text()))]);
    named("searchRegistries", "What the registries have")
        .query("search", schema::text(), "What the name, the description or the author contains.")
        .answers(200, "The newest version of each that this host can load.", answer)
        .into()
}

pub(super) fn verify() -> Json {
    let fields = [
        ("name", schema::text()),
        ("version", schema::text()),
        ("hash", schema::text()),
        ("problem", schema::nullable(schema::text())),
    ];
    let verdicts = schema::list(schema::named("ExtensionVerdict", schema::object(&fields)));
    missing(
        named("verifyExtensions", "Hold the files of what is installed against their hashes")
            .describe("The files are those of the node that answers. `problem` says what differs; it is null where nothing does.")
            .query("name", schema::text(), "One extension; all where left out.")
            .answers(200, "In the order of installation.", schema::object(&[("extensions", verdicts)])),
    )
    .into()
}

pub(super) fn audit() -> Json {
    let fields = [
        ("name", schema::text()),
        ("version", schema::text()),
        ("kind", schema::text()),
        ("message", schema::text()),
    ];
    let findings = schema::list(schema::named("ExtensionFinding", schema::object(&fields)));
    let answer = schema::object(&[("findings", findings), ("failures", schema::list(schema::text()))]);
    named("auditExtensions", "Hold what is installed against the registries")
        .describe(
            "`kind` is `revoked`, `yanked`, `publisher_changed`, `outdated` or `unknown_origin`. `failures` says which registries \
             could not be asked: what those revoked is not told.",
        )
        .answers(200, "What an operator should know, in the order of installation.", answer)
        .into()
}

pub(super) fn install() -> Json {
    let body = schema::input(
        &["source"],
        &[
            ("source", schema::text_of(1, 2_000)),
            ("accept_publisher", schema::flag()),
            ("dry_run", schema::flag()),
        ],
    );
    let plan = schema::object(&[("plan", schema::list(any_object()))]);
    changing(
        named("installExtension", "Install an extension with what it depends on")
            .describe(
                "`source` is a name of the registries, with a version requirement behind `@` where one is wanted, or the URL \
                 of a package. With `dry_run` nothing is changed, and the answer says what would be.",
            )
            .body(body)
            .answers_tagged(201, "It is installed and serves.", extension())
            .answers(200, "What would be done.", plan)
            .refuses(404, "No registry has it."),
    )
    .into()
}

pub(super) fn read() -> Json {
    missing(named("getExtension", "An installed extension").answers_tagged(200, "It.", extension())).into()
}

pub(super) fn update() -> Json {
    let body = schema::input(
        &[],
        &[("is_enabled", schema::flag()), ("version", schema::text()), ("accept_publisher", schema::flag())],
    );
    changing_one(
        named("updateExtension", "Enable, disable or update an extension")
            .describe(
                "With `version`, a requirement such as `^1.2` or `*`, the newest that fits is installed.",
            )
            .body(body)
            .answers_tagged(200, "As it is now.", extension()),
    )
    .into()
}

pub(super) fn uninstall() -> Json {
    changing_one(
        named("uninstallExtension", "Take an extension away")
            .query("purge", schema::flag(), "`true` removes its tables, settings and files too.")
            .answers_empty(204, "It is gone."),
    )
    .into()
}

pub(super) fn roll_back() -> Json {
    changing_one(named("rollBackExtension", "Bring an extension back to the version before").answers_tagged(
        200,
        "As it is now.",
        extension(),
    ))
    .into()
}

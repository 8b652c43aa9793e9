//! The operations on collections themselves, and on their status.

use serde_json::{Value as Json, json};

use super::{Operation, count, id, list, nullable, object, operation, text, time};
use crate::limits;

const TAG: &str = "collections";

const IF_MATCH: &str = "The tag that the collection must have.";

/// `GET /api/collections`
pub(crate) fn list_collections() -> Operation {
    let page = object(json!({
        "collections": list(collection()), "total": count(), "limit": page_limit(), "offset": count(),
    }));
    operation("listCollections", TAG)
        .query("limit", page_limit(), "The most collections of a page.")
        .query("offset", count(), "How many to leave out first.")
        .answers(
            200,
            "The collections that the caller may list or read in, in the order of their creation; their rules are shown to editors \
             and admins alone. With `limit` or `offset` a page of them.",
            json!({"anyOf": [list(collection()), page]}),
        )
        .refuses(413, "The collections are too large together: ask for pages, or for smaller ones.")
}

/// `POST /api/collections`
pub(crate) fn create_collection() -> Operation {
    let body = json!({
        "type": "object",
        "additionalProperties": false,
        "required": ["name", "label", "schema"],
        "properties": {
            "name": {"type": "string", "pattern": "^[a-z][a-z0-9_]*$", "maxLength": limits::NAME_BYTES_MAX},
            "label": label(),
            "schema": schema(),
            "options": nullable(options()),
        },
    });
    operation("createCollection", TAG)
        .body(body)
        .answers_tagged(201, "The collection.", collection())
        .refuses(400, "The name is taken or means something else, or the schema or the options do not hold.")
}

/// `GET /api/collections/{name}`
pub(crate) fn get_collection() -> Operation {
    named("getCollection")
        .header("if-none-match", "The tag of the collection that the client has.")
        .answers_tagged(200, "The collection; its rules are shown to editors and admins alone.", collection())
        .answers_empty(304, "The collection is still the one of the tag.")
}

/// `PATCH /api/collections/{name}`
pub(crate) fn change_collection() -> Operation {
    let body = json!({
        "type": "object",
        "additionalProperties": false,
        "properties": {"label": nullable(label()), "schema": nullable(schema()), "options": nullable(options())},
    });
    named("changeCollection")
        .describe(
            "`schema` is given whole. Of `options` and of `options.access` what is not named stays, and null takes an option or a \
             rule back to its default.",
        )
        .query("dry_run", json!({"type": "boolean", "default": false}), "Only say what would change.")
        .header("if-match", IF_MATCH)
        .body(body)
        .answers_tagged(
            200,
            "The collection as it is now; in a dry run, what would change.",
            json!({"anyOf": [collection(), dry_run()]}),
        )
        .refuses(400, "The schema or the options do not hold, or records do not fit the new schema.")
        .refuses(412, "The collection is not the one of the tag: somebody changed it meanwhile.")
}

/// `DELETE /api/collections/{name}`
pub(crate) fn delete_collection() -> Operation {
    named("deleteCollection")
        .header("if-match", IF_MATCH)
        .answers_empty(204, "It is gone, with its records.")
        .refuses(409, "Another collection refers to it.")
        .refuses(412, "The collection is not the one of the tag: somebody changed it meanwhile.")
}

/// `GET /api/admin/collections/status`
pub(crate) fn status_of_all() -> Operation {
    let healthy = json!({"type": "boolean", "description": "Whether all that are answered are; of a page, those on it."});
    let all = json!({"healthy": healthy, "collections": list(object(report()))});
    let mut page = all.clone();
    page["total"] = count();
    page["limit"] = page_limit();
    page["offset"] = count();
    operation("getStatusOfCollections", TAG)
        .query("limit", page_limit(), "The most collections of a page.")
        .query("offset", count(), "How many to leave out first.")
        .answers(
            200,
            "The status of each, in the order of their creation. With `limit` or `offset` a page of them.",
            json!({"anyOf": [object(all), object(page)]}),
        )
        .refuses(413, "They are too large together: ask for pages.")
}

/// `GET /api/admin/collections/{name}/status`
pub(crate) fn status_of_one() -> Operation {
    let failure = object(json!({"id": text(), "problem": text()}));
    let records = object(json!({"checked": count(), "failing": count(), "failures": list(failure)}));
    let mut fields = report();
    fields["records"] = records;
    named("getStatusOfCollection").answers(200, "Its status, with every record checked.", object(fields))
}

fn named(operation_id: &str) -> Operation {
    operation(operation_id, TAG).path("name", name_in_path(), "The collection's name.")
}

/// Returns the path parameter for a collection's name.
pub(super) fn name_in_path() -> Json {
    json!({"type": "string", "minLength": 1})
}

fn page_limit() -> Json {
    json!({"type": "integer", "minimum": 1, "maximum": limits::PAGE_LIMIT_MAX})
}

fn label() -> Json {
    json!({"type": "string", "minLength": 1, "maxLength": limits::LABEL_CHARS_MAX})
}

fn collection() -> Json {
    object(json!({
        "id": id(), "name": text(), "label": text(), "schema": schema(), "options": options(),
        "created_at": time(), "updated_at": time(),
    }))
}

fn schema() -> Json {
    let fields = json!({"type": "array", "maxItems": limits::FIELDS_MAX, "items": field()});
    json!({
        "type": "object", "required": ["fields"], "properties": {"fields": fields}, "additionalProperties": false,
    })
}

/// Returns the schema of a field definition. A null member is the same as an absent one.
fn field() -> Json {
    let word =
        json!({"type": "string", "pattern": "^[A-Za-z_][A-Za-z0-9_]*$", "maxLength": limits::NAME_BYTES_MAX});
    let flag = json!({"type": ["boolean", "null"]});
    let bound = json!({"type": ["number", "string", "null"]});
    let length = json!({"type": ["integer", "null"], "minimum": 0});
    json!({
        "type": "object",
        "required": ["name", "type"],
        "additionalProperties": false,
        "properties": {
            "name": word,
            "type": {
                "type": "string",
                "description": "`string`, `integer`, `number`, `boolean`, `array`, `object`, `date` or `reference`; `list[string]` and its kin.",
                "examples": ["string", "integer", "number", "boolean", "array", "list[string]", "object", "date", "reference"],
            },
            "required": flag, "unique": flag, "index": flag,
            "default": {},
            "min": bound, "max": bound,
            "min_length": length, "max_length": length,
            "pattern": {"type": ["string", "null"], "maxLength": limits::PATTERN_BYTES_MAX},
            "description": {"type": ["string", "null"], "maxLength": limits::DESCRIPTION_CHARS_MAX},
            "collection": {"type": ["string", "null"], "description": "Where a reference leads: a collection's name, or `users`."},
            "on_delete": {"enum": ["restrict", "cascade", "set_null", null]},
            "renamed_from": {"type": ["string", "null"], "description": "In a change: the field's name before."},
        },
    })
}

fn options() -> Json {
    let rule = json!({
        "type": ["string", "null"],
        "description": "`public`, `auth`, `owner`, `admin` or an expression.",
        "examples": ["public", "auth", "owner", "admin"],
    });
    let rules = json!({
        "type": ["object", "null"],
        "additionalProperties": false,
        "properties": {"list": rule, "read": rule, "create": rule, "update": rule, "delete": rule},
    });
    json!({
        "type": "object",
        "additionalProperties": false,
        "properties": {"access": rules, "unknown_fields": {"enum": ["reject", "drop", null]}},
    })
}

fn dry_run() -> Json {
    let names = || list(text());
    let changes = object(json!({
        "added": names(),
        "dropped": names(),
        "renamed": list(object(json!({"from": text(), "to": text()}))),
        "retyped": list(object(json!({"field": text(), "from": text(), "to": text()}))),
    }));
    let fault = object(json!({"path": text(), "message": text()}));
    object(json!({
        "dry_run": {"const": true},
        "changes": changes,
        "records_checked": count(),
        "records_changed": count(),
        "records_failing": count(),
        "failures": list(object(json!({"id": text(), "errors": list(fault)}))),
    }))
}

/// Returns the fields of a collection's status.
fn report() -> Json {
    let constraint = json!({
        "type": "object",
        "required": ["field"],
        "properties": {"field": text(), "references": text(), "unique": {"type": "boolean"}},
    });
    json!({
        "name": text(), "table": text(), "revision": count(), "row_count": count(), "indexes": list(text()),
        "constraints": list(constraint), "healthy": {"type": "boolean"}, "problems": list(text()),
    })
}

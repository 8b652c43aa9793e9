//! The operations on records: of any collection, or of one with known fields.

use serde_json::{Value as Json, json};

use super::{Operation, collections::name_in_path, count, id, list, nullable, object, operation, text, time};
use crate::limits;

/// The collection, or any collection, whose records are described.
pub(crate) struct Described {
    /// The part of the operation ids between verb and noun: `Posts` in `listPostsRecords`.
    pub(super) infix: String,
    /// The group of the operations.
    pub(super) tag: String,
    /// Whether the collection is a path parameter.
    pub(super) is_any: bool,
    /// A record in a response.
    pub(super) record: Json,
    /// The data of a new record.
    pub(super) given: Json,
    /// The fields that are merged into a record's data.
    pub(super) changes: Json,
}

impl Described {
    /// Describes the records of any collection.
    pub(crate) fn any() -> Described {
        let data = json!({"type": "object"});
        Described {
            infix: String::new(),
            tag: "records".to_owned(),
            is_any: true,
            record: record(&data),
            given: data.clone(),
            changes: data,
        }
    }

    fn operation(&self, verb: &str, noun: &str) -> Operation {
        let operation = operation(&format!("{verb}{}{noun}", self.infix), &self.tag);
        if self.is_any {
            return operation.path("name", name_in_path(), "The collection's name.");
        }
        operation
    }

    fn of_one(&self, verb: &str) -> Operation {
        self.operation(verb, "Record").path(
            "id",
            json!({"type": "string", "minLength": 1}),
            "The record's id, a UUID in lower case.",
        )
    }
}

/// `GET {name}/records`
pub(crate) fn list_records(of: &Described) -> Operation {
    let page = json!({
        "type": "object",
        "required": ["records", "total", "limit", "offset"],
        "properties": {
            "records": list(of.record.clone()),
            "total": nullable(count()),
            "limit": count(),
            "offset": count(),
            "next_cursor": {"type": ["string", "null"]},
        },
    });
    let listed = of.operation("list", "Records");
    filtered(listed)
        .query("sort", text(), "Fields to sort by, such as `-year,title`; `-` is from the end.")
        .query("sort_by", text(), "One field to sort by; not beside `sort`.")
        .query("sort_order", json!({"enum": ["asc", "desc"]}), "The order of `sort_by`, else of creation.")
        .query("count", json!({"enum": ["exact", "none"]}), "Whether `total` is counted or null.")
        .query("cursor", cursor(), "Empty for the first page, then `next_cursor` of the page before.")
        .shaped()
        .answers(200, "A page of records, those created last first.", page)
        .refuses(413, "The records of the page are too large together.")
}

/// `GET {name}/aggregate`
pub(crate) fn aggregate_records(of: &Described) -> Operation {
    let figures = || json!({"type": "object", "additionalProperties": {"type": ["number", "string", "boolean", "null"]}});
    let group = json!({
        "type": "object",
        "required": ["by"],
        "properties": {
            "by": figures(), "count": count(), "count_of": figures(), "sum": figures(), "avg": figures(),
            "min": figures(), "max": figures(),
        },
    });
    let answer = object(json!({"groups": list(group), "limit": count(), "offset": count()}));
    filtered(of.operation("aggregate", "Records"))
        .query("count", text(), "`*`, which is what is answered where no function is named, or fields.")
        .query("sum", text(), "Fields of numbers to add up.")
        .query("avg", text(), "Fields of numbers.")
        .query("min", text(), "Fields.")
        .query("max", text(), "Fields.")
        .query("group_by", text(), "Fields that make the groups.")
        .query("sort", text(), "Groups' fields and functions, such as `-count` or `sum.price`.")
        .answers(200, "The groups; one, without `group_by`.", answer)
        .refuses(400, "A sum does not fit 64 bits.")
        .refuses(413, "The groups are too large together.")
}

/// `POST {name}/records`
pub(crate) fn create_record(of: &Described) -> Operation {
    of.operation("create", "Record")
        .body(with_data(&of.given))
        .answers_tagged(201, "The record.", of.record.clone())
        .refused_writes()
}

/// `GET {name}/records/{id}`
pub(crate) fn get_record(of: &Described) -> Operation {
    of.of_one("get")
        .shaped()
        .header("if-none-match", "The tag of the record that the client has.")
        .answers_tagged(200, "The record.", of.record.clone())
        .answers_empty(304, "The record is still the one of the tag.")
        .refuses(413, "The record is too large together with what its references lead to.")
}

/// `PATCH {name}/records/{id}`
pub(crate) fn change_record(of: &Described) -> Operation {
    conditional(of.of_one("change"))
        .body(with_data(&of.changes))
        .answers_tagged(200, "The record as it is now.", of.record.clone())
        .refused_writes()
}

/// `PUT {name}/records/{id}`
pub(crate) fn replace_record(of: &Described) -> Operation {
    conditional(of.of_one("replace"))
        .body(with_data(&of.given))
        .answers_tagged(200, "The record as it is now.", of.record.clone())
        .answers_tagged(201, "The record, which was not there before.", of.record.clone())
        .refused_writes()
}

/// `DELETE {name}/records/{id}`
pub(crate) fn delete_record(of: &Described) -> Operation {
    conditional(of.of_one("delete"))
        .answers_empty(204, "It is gone.")
        .refuses(409, "Another record refers to it.")
}

/// `POST /api/collections/batch`
pub(crate) fn apply_batch() -> Operation {
    let data = json!({"type": "object"});
    let change = json!({
        "type": "object",
        "required": ["op", "collection"],
        "additionalProperties": false,
        "properties": {
            "op": {"enum": ["create", "update", "replace", "delete"]},
            "collection": text(),
            "id": {"type": "string", "description": "Of the record; it may be left out on create."},
            "data": data,
            "if_match": {"type": "string", "description": "The tag that the record must have."},
        },
    });
    let operations = json!({"type": "array", "maxItems": limits::BATCH_OPERATIONS_MAX, "items": change});
    let body = json!({
        "type": "object", "required": ["operations"], "properties": {"operations": operations},
        "additionalProperties": false,
    });
    let result = json!({
        "type": "object",
        "required": ["op", "status"],
        "properties": {
            "op": {"enum": ["create", "update", "delete"]},
            "status": {"enum": [200, 201, 204]},
            "record": record(&data),
        },
    });
    operation("applyBatch", "records")
        .body(body)
        .answers(200, "What became of each, in their order.", object(json!({"results": list(result)})))
        .refused_writes()
        .refuses(412, "A record is not the one of its `if_match`.")
}

fn filtered(operation: Operation) -> Operation {
    let limit = json!({
        "type": "integer", "minimum": 1, "maximum": limits::PAGE_LIMIT_MAX, "default": limits::PAGE_LIMIT_DEFAULT,
    });
    let offset = json!({"type": "integer", "minimum": 0, "maximum": limits::PAGE_OFFSET_MAX, "default": 0});
    let filter = json!({"type": "string", "maxLength": limits::FILTER_BYTES_MAX});
    operation
        .query("filter", filter, "Which records, such as `year > 1999 and title like 'A%'`.")
        .query("limit", limit, "The most entries of the answer.")
        .query("offset", offset, "How many entries to leave out first; not beside `cursor`.")
}

fn conditional(operation: Operation) -> Operation {
    operation
        .header("if-match", "The tag that the record must have.")
        .header("if-none-match", "A tag that the record must not have; `*` where it must not be there.")
        .refuses(412, "The record is not the one that the preconditions name.")
}

impl Operation {
    fn shaped(self) -> Operation {
        self.query("fields", text(), "The fields of `data` to answer; all, where left out.").query(
            "expand",
            text(),
            "References to follow, such as `author,author.country`.",
        )
    }

    fn refused_writes(self) -> Operation {
        self.refuses(400, "The data does not fit the collection's schema.")
            .refuses(409, "A value that must be unique is taken, a reference leads nowhere, or others keep changing the record.")
    }
}

fn with_data(data: &Json) -> Json {
    json!({
        "type": "object", "required": ["data"], "properties": {"data": data}, "additionalProperties": false,
    })
}

fn cursor() -> Json {
    json!({"type": "string", "maxLength": limits::CURSOR_BYTES_MAX})
}

/// Returns the schema of a record with this data.
pub(super) fn record(data: &Json) -> Json {
    json!({
        "type": "object",
        "required": ["id", "collection_id", "owner_id", "data", "created_at", "updated_at"],
        "properties": {
            "id": id(), "collection_id": id(), "owner_id": nullable(id()), "data": data, "created_at": time(),
            "updated_at": time(),
            "expand": {"type": "object", "description": "What the references lead to; null where it may not be seen."},
        },
    })
}

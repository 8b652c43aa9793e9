//! The API documentation of this extension: an OpenAPI operation for each route, with its input and responses. It
//! describes the routes, and never decides anything.

mod collections;
mod each;
mod fields;
mod records;

use serde_json::{Map, Value as Json, json};

pub(crate) use collections::{
    change_collection, create_collection, delete_collection, get_collection, list_collections, status_of_all,
    status_of_one,
};
pub(crate) use each::{TOPIC, collect};
pub(crate) use records::{
    Described, aggregate_records, apply_batch, change_record, create_record, delete_record, get_record,
    list_records, replace_record,
};

/// A builder for an operation. The host adds what all routes have in common.
pub(crate) struct Operation(Map<String, Json>);

/// Creates an operation with an id, from which clients name their method, and the group it is shown in.
fn operation(id: &str, tag: &str) -> Operation {
    let mut object = Map::new();
    object.insert("operationId".to_owned(), id.into());
    object.insert("tags".to_owned(), json!([tag]));
    object.insert("parameters".to_owned(), json!([]));
    object.insert("responses".to_owned(), json!({}));
    Operation(object)
}

impl Operation {
    fn describe(mut self, text: &str) -> Operation {
        self.0.insert("description".to_owned(), text.into());
        self
    }

    fn parameter(mut self, place: &str, name: &str, schema: Json, about: &str) -> Operation {
        let parameter = json!({
            "name": name, "in": place, "required": place == "path", "schema": schema, "description": about,
        });
        let parameters = self.0.get_mut("parameters").and_then(Json::as_array_mut);
        parameters.expect("an operation begins with a list of parameters").push(parameter);
        self
    }

    fn query(self, name: &str, schema: Json, about: &str) -> Operation {
        self.parameter("query", name, schema, about)
    }

    fn path(self, name: &str, schema: Json, about: &str) -> Operation {
        self.parameter("path", name, schema, about)
    }

    fn header(self, name: &str, about: &str) -> Operation {
        self.parameter("header", name, text(), about)
    }

    fn body(mut self, schema: Json) -> Operation {
        let body = json!({"required": true, "content": {"application/json": {"schema": schema}}});
        self.0.insert("requestBody".to_owned(), body);
        self
    }

    fn response(mut self, status: u16, response: Json) -> Operation {
        let responses = self.0.get_mut("responses").and_then(Json::as_object_mut);
        responses
            .expect("an operation begins with an object of responses")
            .insert(status.to_string(), response);
        self
    }

    fn answers(self, status: u16, about: &str, schema: Json) -> Operation {
        self.response(
            status,
            json!({"description": about, "content": {"application/json": {"schema": schema}}}),
        )
    }

    /// Adds a response that carries the entity tag of its content.
    fn answers_tagged(self, status: u16, about: &str, schema: Json) -> Operation {
        let tag = json!({"schema": text(), "description": "The tag, for `If-Match` and `If-None-Match`."});
        let content = json!({"application/json": {"schema": schema}});
        self.response(status, json!({"description": about, "headers": {"ETag": tag}, "content": content}))
    }

    fn answers_empty(self, status: u16, about: &str) -> Operation {
        self.response(status, json!({"description": about}))
    }

    /// Adds an error response specific to the route.
    fn refuses(self, status: u16, about: &str) -> Operation {
        self.answers(status, about, json!({"$ref": "#/components/schemas/Error"}))
    }
}

impl From<Operation> for Json {
    fn from(operation: Operation) -> Json {
        Json::Object(operation.0)
    }
}

fn text() -> Json {
    json!({"type": "string"})
}

fn id() -> Json {
    json!({"type": "string", "format": "uuid"})
}

fn time() -> Json {
    json!({"type": "string", "format": "date-time"})
}

fn count() -> Json {
    json!({"type": "integer", "minimum": 0})
}

fn list(items: Json) -> Json {
    json!({"type": "array", "items": items})
}

/// Returns the schema of an object with these fields, all of them required.
fn object(fields: Json) -> Json {
    let required: Vec<String> =
        fields.as_object().into_iter().flatten().map(|(name, _)| name.clone()).collect();
    json!({"type": "object", "required": required, "properties": fields})
}

/// Returns the same schema, or null.
fn nullable(schema: Json) -> Json {
    json!({"anyOf": [schema, {"type": "null"}]})
}

//! Builds the OpenAPI operation of a route, and its JSON Schemas. It never looks at the mounted routes: paths, security
//! and the responses that every route may return are added where the document is assembled.

use serde_json::{Map, Value as Json, json};

/// A builder of an operation; `into()` converts it to JSON.
#[derive(Debug, Clone)]
pub struct Operation {
    object: Map<String, Json>,
}

/// Creates an operation: its id, by which clients name their method (`listUsers`), its group, and its summary.
pub fn operation(id: &str, tag: &str, summary: &str) -> Operation {
    let mut object = Map::new();
    object.insert("operationId".into(), id.into());
    object.insert("tags".into(), json!([tag]));
    object.insert("summary".into(), summary.into());
    object.insert("responses".into(), json!({}));
    Operation { object }
}

impl Operation {
    /// Sets a description, in addition to the summary.
    #[must_use]
    pub fn describe(mut self, text: &str) -> Operation {
        self.object.insert("description".into(), text.into());
        self
    }

    /// Adds an optional query parameter.
    #[must_use]
    pub fn query(self, name: &str, schema: Json, about: &str) -> Operation {
        self.parameter("query", name, schema, about, false)
    }

    /// Adds a path parameter. Path parameters without a description are added as text.
    #[must_use]
    pub fn path(self, name: &str, schema: Json, about: &str) -> Operation {
        self.parameter("path", name, schema, about, true)
    }

    /// Adds an optional request header.
    #[must_use]
    pub fn header(self, name: &str, schema: Json, about: &str) -> Operation {
        self.parameter("header", name, schema, about, false)
    }

    /// Adds `limit` and `offset` of a list.
    #[must_use]
    pub fn paged(self) -> Operation {
        let limit = json!({"type": "integer", "minimum": 1, "maximum": 1000, "default": 100});
        let offset = json!({"type": "integer", "minimum": 0, "maximum": i64::MAX, "default": 0});
        self.query("limit", limit, "The most entries of the answer.").query(
            "offset",
            offset,
            "How many entries to leave out first.",
        )
    }

    fn parameter(mut self, place: &str, name: &str, schema: Json, about: &str, required: bool) -> Operation {
        let parameter = json!({
            "name": name, "in": place, "required": required, "schema": schema, "description": about,
        });
        let parameters = self.object.entry("parameters").or_insert_with(|| json!([]));
        parameters.as_array_mut().expect("parameters are only ever pushed here").push(parameter);
        self
    }

    /// Sets the required JSON body. It may only have the fields in the schema.
    #[must_use]
    pub fn body(mut self, mut schema: Json) -> Operation {
        schema["additionalProperties"] = false.into();
        let body = json!({"required": true, "content": {"application/json": {"schema": schema}}});
        self.object.insert("requestBody".into(), body);
        self
    }

    /// Adds a response with a JSON body.
    #[must_use]
    pub fn answers(self, status: u16, about: &str, schema: Json) -> Operation {
        self.answers_as(status, about, "application/json", schema)
    }

    /// Adds a response with a body of another type, such as `text/csv`.
    #[must_use]
    pub fn answers_as(mut self, status: u16, about: &str, content_type: &str, schema: Json) -> Operation {
        let mut content = Map::new();
        content.insert(content_type.to_owned(), json!({"schema": schema}));
        let response = json!({"description": about, "content": content});
        self.responses().insert(status.to_string(), response);
        self
    }

    /// Adds a response without a body.
    #[must_use]
    pub fn answers_empty(mut self, status: u16, about: &str) -> Operation {
        self.responses().insert(status.to_string(), json!({"description": about}));
        self
    }

    /// Adds a response with a JSON body and an ETag.
    #[must_use]
    pub fn answers_tagged(self, status: u16, about: &str, schema: Json) -> Operation {
        let mut answered = self.answers(status, about, schema);
        let about = "The tag of this state, for `If-Match`.";
        answered.responses()[&status.to_string()]["headers"] =
            json!({"ETag": {"schema": {"type": "string"}, "description": about}});
        answered
    }

    /// Marks the operation as a change of a resource with an ETag.
    #[must_use]
    pub fn changes_tagged(self) -> Operation {
        self.header(
            "if-match",
            schema::text(),
            "The `ETag` of what is to be changed; `*` or none: whatever is there.",
        )
        .refuses(412, "It is not any more what `If-Match` names.")
    }

    /// Adds an error specific to this route. The errors that any route may return are added automatically: 400, 401,
    /// 403, 404, 405, 408, 413, 414, 415, 422, 429, 431, 500, 503, 504.
    #[must_use]
    pub fn refuses(self, status: u16, about: &str) -> Operation {
        self.answers(status, about, json!({"$ref": "#/components/schemas/Error"}))
    }

    fn responses(&mut self) -> &mut Map<String, Json> {
        let responses = self.object.get_mut("responses").and_then(Json::as_object_mut);
        responses.expect("an operation begins with an object of responses")
    }
}

impl From<Operation> for Json {
    fn from(operation: Operation) -> Json {
        Json::Object(operation.object)
    }
}

/// Short constructors of JSON Schemas.
pub mod schema {
    use serde_json::{Value as Json, json};

    /// Text.
    pub fn text() -> Json {
        json!({"type": "string"})
    }

    /// Text of `min` to `max` characters.
    pub fn text_of(min: usize, max: usize) -> Json {
        json!({"type": "string", "minLength": min, "maxLength": max})
    }

    /// One of these words.
    pub fn one_of(words: &[&str]) -> Json {
        json!({"type": "string", "enum": words})
    }

    /// An integer of at least `min`.
    pub fn integer(min: i64) -> Json {
        json!({"type": "integer", "minimum": min})
    }

    /// A number.
    pub fn number() -> Json {
        json!({"type": "number"})
    }

    /// A boolean.
    pub fn flag() -> Json {
        json!({"type": "boolean"})
    }

    /// An id: a UUID.
    pub fn id() -> Json {
        json!({"type": "string", "format": "uuid"})
    }

    /// A time: RFC 3339, UTC.
    pub fn time() -> Json {
        json!({"type": "string", "format": "date-time"})
    }

    /// An email address.
    pub fn email() -> Json {
        json!({"type": "string", "format": "email"})
    }

    /// A list.
    pub fn list(items: Json) -> Json {
        json!({"type": "array", "items": items})
    }

    /// The schema, or null.
    pub fn nullable(mut schema: Json) -> Json {
        match schema.get("type") {
            Some(Json::String(kind)) if schema.get("enum").is_none() && schema.get("title").is_none() => {
                schema["type"] = json!([kind, "null"]);
                schema
            }
            _ => json!({"anyOf": [schema, {"type": "null"}]}),
        }
    }

    /// An object in which all of these fields are present: a response. Further fields may be added later.
    pub fn object(fields: &[(&str, Json)]) -> Json {
        let required: Vec<&str> = fields.iter().map(|(name, _)| *name).collect();
        input(&required, fields)
    }

    /// An object with these fields, of which `required` are required: a request body.
    pub fn input(required: &[&str], fields: &[(&str, Json)]) -> Json {
        let properties: serde_json::Map<String, Json> =
            fields.iter().map(|(name, schema)| ((*name).to_owned(), schema.clone())).collect();
        json!({"type": "object", "properties": properties, "required": required})
    }

    /// A page of a list: the entries under `plural`, with `total`, `limit` and `offset`.
    pub fn page(plural: &str, items: Json) -> Json {
        object(&[(plural, list(items)), ("total", integer(0)), ("limit", integer(1)), ("offset", integer(0))])
    }

    /// The schema with a name. The document contains it once, and clients use the name for their type.
    pub fn named(name: &str, mut schema: Json) -> Json {
        schema["title"] = name.into();
        schema
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_operation_holds_what_it_was_told() {
        let built: Json = operation("listUsers", "users", "List users")
            .query("search", schema::text(), "A part of the email.")
            .body(schema::input(&["email"], &[("email", schema::email()), ("role", schema::text())]))
            .answers(200, "A page.", schema::page("users", schema::id()))
            .answers_empty(204, "Nothing.")
            .refuses(400, "Taken.")
            .into();
        assert_eq!(built["operationId"], "listUsers");
        assert_eq!(built["parameters"][0]["in"], "query");
        let body = &built["requestBody"]["content"]["application/json"]["schema"];
        assert_eq!(body["required"], json!(["email"]));
        let statuses: Vec<&String> = built["responses"].as_object().unwrap().keys().collect();
        assert_eq!(statuses, ["200", "204", "400"]);
        assert!(built["responses"]["204"].get("content").is_none());
    }

    #[test]
    fn what_may_be_null_says_so() {
        assert_eq!(schema::nullable(schema::text())["type"], json!(["string", "null"]));
        assert_eq!(schema::nullable(schema::one_of(&["a"]))["anyOf"][1]["type"], "null");
    }
}

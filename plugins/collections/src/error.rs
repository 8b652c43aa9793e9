//! Errors as clients see them: codes, statuses and messages, in one place.

use serde_json::{Value, json};
use tinybase_plugin_api::Error;

use crate::{
    access::{Action, Caller},
    catalog::Collection,
    fault::{Fault, Faults, did_you_mean, shorten},
    limits,
    plugin::Collections,
    query::QueryFault,
};

impl From<QueryFault> for Error {
    fn from(fault: QueryFault) -> Error {
        if !fault.unknown.is_empty() {
            let names: Vec<&str> = fault.unknown.iter().map(String::as_str).collect();
            return extra(fault.code, &["query"], (&[], &names), fault.known);
        }
        let message = format!("{}: {}", fault.param, fault.message);
        let detail = json!([{"loc": ["query", fault.param], "msg": fault.message, "type": fault.code}]);
        Error::unprocessable(fault.code, message).with_details(detail)
    }
}

fn listed(faults: &Faults) -> Value {
    json!({"errors": faults.list().iter().map(|fault| json!({"path": fault.path, "message": fault.message})).collect::<Vec<_>>()})
}

/// 400: a record's data does not fit its schema.
pub(crate) fn validation(faults: &Faults) -> Error {
    Error::bad_request("validation_error", format!("Validation error: {faults}")).with_details(listed(faults))
}

/// 400: a collection's schema or options are invalid. 422 if one of their keys is unknown.
pub(crate) fn schema(faults: &Faults) -> Error {
    if !faults.unknown().is_empty() {
        return unknown_in_schema(faults);
    }
    Error::bad_request("invalid_schema", format!("Invalid schema: {faults}")).with_details(listed(faults))
}

fn unknown_in_schema(faults: &Faults) -> Error {
    let fault = |(at, fault): (usize, &Fault)| {
        let mut loc = vec![Value::from("body")];
        let unknown = faults.unknown().iter().find(|unknown| unknown.at == at);
        loc.extend(steps(unknown.map_or(&fault.path, |unknown| &unknown.parent)));
        loc.extend(unknown.map(|unknown| Value::from(unknown.name.as_str())));
        let kind = if unknown.is_some() { EXTRA } else { "value_error" };
        json!({"loc": loc, "msg": fault.message, "type": kind})
    };
    let detail: Vec<Value> = faults.list().iter().enumerate().map(fault).collect();
    Error::unprocessable("invalid_body", faults.to_string()).with_details(Value::Array(detail))
}

/// Splits a path such as `schema.fields[2].min` into its steps.
fn steps(path: &str) -> Vec<Value> {
    let words = path.split(['.', '[']).map(|word| word.trim_end_matches(']'));
    words.map(|word| word.parse::<u64>().map_or_else(|_| word.into(), Value::from)).collect()
}

/// The error type of an unknown name.
const EXTRA: &str = "extra_forbidden";

/// 422: a request has unknown names, and may lack others. `loc` is the path of the object with these names.
pub(crate) fn extra(
    code: &'static str,
    loc: &[&str],
    (missing, names): (&[&str], &[&str]),
    known: &[&str],
) -> Error {
    let there_are = match known {
        [] => "there is none here".to_owned(),
        known => format!("there are {}", known.join(", ")),
    };
    let fault = |name: &&str| {
        let hint = did_you_mean(name, known.iter().copied());
        let name = shorten(name);
        let loc: Vec<&str> = loc.iter().copied().chain([name.as_str()]).collect();
        json!({"loc": loc, "msg": format!("is not known; {there_are}{hint}"), "type": EXTRA})
    };
    let absent = missing.iter().map(|name| {
        let loc: Vec<&str> = loc.iter().copied().chain([*name]).collect();
        json!({"loc": loc, "msg": "is required", "type": "missing"})
    });
    let detail: Vec<Value> = absent.chain(names.iter().take(limits::FAULTS_MAX).map(fault)).collect();
    let first = names.first().map(|name| shorten(name)).unwrap_or_default();
    let message = format!("{}.{first}: is not known; {there_are}", loc.join("."));
    Error::unprocessable(code, message).with_details(Value::Array(detail))
}

/// 422: a part of the body has the wrong shape.
pub(crate) fn body(path: &[&str], kind: &'static str, message: impl Into<String>) -> Error {
    let message = message.into();
    let mut loc = vec!["body"];
    loc.extend(path);
    let text = format!("{}: {message}", loc.join("."));
    Error::unprocessable("invalid_body", text)
        .with_details(json!([{"loc": loc, "msg": message, "type": kind}]))
}

/// 422 for a single fault of the body.
pub(crate) fn body_fault(fault: &Fault) -> Error {
    body(&[&fault.path], "value_error", &*fault.message)
}

/// 422: the body is not JSON.
pub(crate) fn not_json(error: &serde_json::Error) -> Error {
    let loc = json!([{"loc": ["body", error.line(), error.column()], "msg": error.to_string(), "type": "json_invalid"}]);
    Error::unprocessable("invalid_json", format!("the body is no JSON: {error}")).with_details(loc)
}

/// 400: a number in the body would be stored as a different number.
pub(crate) fn inexact_number(number: &str) -> Error {
    let words = crate::number::inexact_words(number);
    Error::bad_request("validation_error", format!("Validation error: {words}"))
        .with_details(json!({"errors": [{"path": "body", "message": words}]}))
}

/// 401 or 403: a rule refuses the caller.
pub(crate) fn refused(action: Action, caller: &Caller<'_>, collection: &Collection) -> Error {
    let name = &collection.name;
    match (caller.id, action.anonymous_status()) {
        (None, 401) => {
            let message =
                format!("to {action} records of {name}, sign in and send the token as Authorization: Bearer");
            Error::unauthorized("token_missing", message)
        }
        _ => {
            Error::forbidden("access_denied", format!("the rule {action} of {name} does not let you do that"))
        }
    }
}

/// 401 or 403: a rule refuses the caller the replacement of a record. The message does not say whether the replacement
/// would be an update or a create, since that would reveal whether the record exists.
pub(crate) fn replacement_refused(caller: &Caller<'_>, collection: &Collection) -> Error {
    if caller.id.is_none() {
        return refused(Action::Update, caller, collection);
    }
    let message = format!("the rules create and update of {} do not let you do that", collection.name);
    Error::forbidden("access_denied", message)
}

/// 409: a reference points to no record, or to none that the caller may read.
pub(crate) fn reference_missing(field: &str, id: &str, target: &str) -> Error {
    let message = format!("{field}: there is no record {id} in {target}");
    let details = json!({"field": field, "collection": target});
    Error::conflict("reference_violation", message).with_details(details)
}

/// 404: there is no such record.
pub(crate) fn record_not_found(id: &str, collection: &Collection) -> Error {
    let id = crate::fault::shorten(id);
    Error::not_found("record_not_found", format!("there is no record {id} in {}", collection.name))
}

/// 412: the record does not match `If-Match` or `If-None-Match`.
pub(crate) fn precondition(message: impl Into<String>) -> Error {
    Error::precondition_failed("precondition_failed", message)
}

/// 409: others kept changing the record during this change.
pub(crate) fn contended() -> Error {
    Error::conflict("write_conflict", "others keep changing the record: read it again and repeat the request")
        .retryable()
}

/// 413: the requested data is larger than a response may be.
pub(crate) fn answer_too_large(bytes_max: usize) -> Error {
    let message = format!(
        "the answer would be larger than {bytes_max} bytes, which is the server's plugins.response_bytes_max: \
         ask for fewer records or groups, or expand fewer references"
    );
    Error::too_large("answer_too_large", message).with_details(json!({"bytes_max": bytes_max}))
}

/// 413: the body has more values than a request may have.
pub(crate) fn body_too_large(bytes_max: usize) -> Error {
    let message =
        format!("the body would take more than {bytes_max} bytes once it is read: send it in smaller parts");
    Error::too_large("body_too_large", message).with_details(json!({"bytes_max": bytes_max}))
}

/// Maps the error of a read to 413 if the database stopped at the maximum response size.
pub(crate) fn of_read(plugin: &Collections) -> impl Fn(Error) -> Error {
    let bytes_max = plugin.answer_bytes_max();
    move |error| if error.code() == "db_result_too_large" { answer_too_large(bytes_max) } else { error }
}

/// Maps an error of the database for a change of records in `collections`: 409 for a duplicate value, 400 for a value
/// that does not fit any index; any other error is unchanged.
pub(crate) fn not_stored<'a>(error: Error, collections: impl Iterator<Item = &'a Collection>) -> Error {
    // Match PostgreSQL's error number: its messages may be in any language.
    if error.code() == "db_sql" && error.message().contains("(54000)") {
        let message = "a field that is indexed or unique holds a text that is too long for the database's index; \
                       PostgreSQL takes about 2700 bytes there";
        return Error::bad_request("indexed_value_too_long", message);
    }
    if error.code() != "db_unique" {
        return error;
    }
    let part = |part: &Value| part.as_str().unwrap_or_default().to_owned();
    let (table, column) = error
        .details()
        .map(|details| (part(&details["table"]), part(&details["columns"][0])))
        .unwrap_or_default();
    let field = collections.filter(|collection| collection.table == table).find_map(|collection| {
        let mut fields = collection.schema.fields().iter();
        fields.find(|field| collection.dialect.column_name(&field.name) == column)
    });
    let field = field.map_or(column, |field| field.name.clone());
    let message = format!("{field}: the value is already taken; it must be unique");
    Error::conflict("unique_violation", message).with_details(json!({"field": field}))
}

//! Turns a requested write into a change to be applied: rules, preconditions, validation. It accesses no storage: the
//! stored record is passed in, and the statement is returned.

use std::sync::{Arc, OnceLock};

use tinybase_plugin_api::{
    Error, Request, Result,
    database::{Batch, Expect, ValueRef},
};

use uuid::Uuid;

use super::{load::Stored, read::parsed};
use crate::{
    access::{Action, Caller, Verdict},
    catalog::Collection,
    error, etag,
    fault::Faults,
    filter::{Context, Record},
    http,
    json::Json,
    validate,
};

/// A requested write.
#[derive(Debug, Clone, Copy)]
pub(super) enum WriteOp<'a> {
    /// Creates a record, with the client's id if it gives one.
    Create(&'a Json<'a>),
    /// Merges fields into the stored data.
    Merge(&'a Json<'a>),
    /// Replaces the stored data, or creates a record if there is none.
    Replace(&'a Json<'a>),
    /// Deletes the record.
    Delete,
}

impl<'a> WriteOp<'a> {
    /// Returns the data sent by the client.
    pub(super) fn data(self) -> Option<&'a Json<'a>> {
        match self {
            WriteOp::Create(data) | WriteOp::Merge(data) | WriteOp::Replace(data) => Some(data),
            WriteOp::Delete => None,
        }
    }
}

/// The kind of a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Change {
    Create,
    Update,
    Delete,
}

/// The preconditions of a request.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Conditions<'a> {
    pub(super) if_match: Option<&'a str>,
    pub(super) if_none_match: Option<&'a str>,
}

/// A change that was allowed and validated.
#[derive(Debug)]
pub(super) struct PreparedWrite {
    pub(super) collection: Arc<Collection>,
    pub(super) change: Change,
    /// The record after the change; on delete, the record before it, without its data.
    pub(super) record: Stored,
    /// The data before the change.
    pub(super) previous: Option<String>,
    /// The id of the change's event, created when there is a listener.
    pub(super) event_id: OnceLock<Uuid>,
}

/// The caller and the request.
#[derive(Clone, Copy)]
pub(super) struct RequestContext<'a> {
    pub(super) caller: Caller<'a>,
    pub(super) method: &'a str,
    pub(super) request_id: &'a str,
    /// The request itself.
    pub(super) request: &'a Request,
}

impl<'a> RequestContext<'a> {
    /// Creates the context of a request.
    pub(super) fn of(request: &'a Request) -> RequestContext<'a> {
        let (method, request_id) = (request.method(), request.request_id());
        RequestContext { caller: http::caller(request), method, request_id, request }
    }

    /// Returns the values of a rule's variables.
    fn rule_context<'c>(&'c self, action: Action, now: &'c str, data: Option<&'c Json<'c>>) -> Context<'c> {
        Context { caller: &self.caller, now, method: self.method, action: action.name(), data }
    }
}

/// Prepares a write to the record `id`, whose stored state is `stored`.
pub(super) fn prepare(
    collection: &Arc<Collection>,
    id: &str,
    stored: Option<Stored>,
    op: WriteOp<'_>,
    conditions: Conditions<'_>,
    context: &RequestContext<'_>,
) -> Result<PreparedWrite> {
    let action = action(op, stored.is_some());
    // A caller whom a rule always refuses must not learn which records exist.
    if collection.options.rules.of(action).verdict(action, &context.caller) == Verdict::Deny {
        return Err(refused(op, action, context, collection));
    }
    let Some(stored) = stored else {
        return match op {
            WriteOp::Create(data) | WriteOp::Replace(data) => {
                create(collection, id, data, op, conditions, context)
            }
            WriteOp::Merge(_) | WriteOp::Delete => {
                let fault = absent(collection, action, id, context, op.data());
                if fault.status() == 404 {
                    check_absent(conditions)?;
                }
                Err(fault)
            }
        };
    };
    check_rule(collection, action, &stored, op, context)?;
    check_present(conditions, &stored)?;
    let unknown = collection.options.unknown_fields;
    let (change, data) = match op {
        WriteOp::Merge(changes) => {
            let before = parsed(&stored.data)?;
            (Change::Update, validate::merged(&collection.schema, unknown, &before, changes))
        }
        WriteOp::Create(data) | WriteOp::Replace(data) => {
            (Change::Update, validate::data(&collection.schema, unknown, data))
        }
        // The data before the deletion is in `previous`.
        WriteOp::Delete => (Change::Delete, Ok(String::new())),
    };
    let data = data.map_err(|faults: Faults| error::validation(&faults))?;
    let version = stored.version + i64::from(change == Change::Update);
    let previous = Some(stored.data);
    // A change sets a new time; a deletion keeps the time of the last change.
    let updated_at = stored.updated_at.filter(|_| change == Change::Delete);
    let record =
        Stored { data, version, updated_at, ..Stored { data: String::new(), updated_at: None, ..stored } };
    Ok(PreparedWrite {
        collection: Arc::clone(collection),
        change,
        record,
        previous,
        event_id: OnceLock::new(),
    })
}

fn action(op: WriteOp<'_>, is_stored: bool) -> Action {
    match op {
        WriteOp::Create(_) => Action::Create,
        WriteOp::Replace(_) if !is_stored => Action::Create,
        WriteOp::Merge(_) | WriteOp::Replace(_) => Action::Update,
        WriteOp::Delete => Action::Delete,
    }
}

/// Returns the error for a refused write.
fn refused(op: WriteOp<'_>, action: Action, context: &RequestContext<'_>, collection: &Collection) -> Error {
    match op {
        WriteOp::Replace(_) => error::replacement_refused(&context.caller, collection),
        _ => error::refused(action, &context.caller, collection),
    }
}

/// Returns the error for a missing record: 404 if the caller learns nothing forbidden from it, and otherwise the same
/// error as for a record that the rule denies.
pub(super) fn absent(
    collection: &Collection,
    action: Action,
    id: &str,
    context: &RequestContext<'_>,
    data: Option<&Json<'_>>,
) -> Error {
    let (rules, caller) = (&collection.options.rules, &context.caller);
    let rule = rules.of(action);
    let all = |action| rules.of(action).verdict(action, caller) == Verdict::Allow;
    let may_know = if all(action) {
        true
    } else if rule.is_about_caller() {
        let (now, nothing) = (http::now(), Json::Object(Vec::new()));
        let rule_context = context.rule_context(action, &now, data);
        let any = Record { id, owner_id: None, created_at: &now, updated_at: &now, data: &nothing };
        rule.allows(action, &any, &rule_context)
    } else {
        // A malformed id belongs to no record, and callers who may list or read everything know which records exist.
        !validate::is_record_id(id) || all(Action::List) || all(Action::Read)
    };
    if may_know {
        error::record_not_found(id, collection)
    } else {
        error::refused(action, caller, collection)
    }
}

fn create(
    collection: &Arc<Collection>,
    id: &str,
    data: &Json<'_>,
    op: WriteOp<'_>,
    conditions: Conditions<'_>,
    context: &RequestContext<'_>,
) -> Result<PreparedWrite> {
    let outcome = validate::data(&collection.schema, collection.options.unknown_fields, data);
    // Permissions come first: if the data is invalid, the rule is evaluated on the data as received.
    let (text, faults) = outcome.map_or_else(|faults| (data.to_text(), Some(faults)), |text| (text, None));
    let record = Stored {
        id: id.to_owned(),
        owner_id: context.caller.id.map(str::to_owned),
        created_at: None,
        updated_at: None,
        data: text,
        version: 1,
    };
    check_rule(collection, Action::Create, &record, op, context)?;
    check_absent(conditions)?;
    if let Some(faults) = faults {
        return Err(error::validation(&faults));
    }
    let (change, event_id) = (Change::Create, OnceLock::new());
    Ok(PreparedWrite { collection: Arc::clone(collection), change, record, previous: None, event_id })
}

/// Evaluates the rule if it depends on the record.
fn check_rule(
    collection: &Arc<Collection>,
    action: Action,
    record: &Stored,
    op: WriteOp<'_>,
    context: &RequestContext<'_>,
) -> Result<()> {
    let rule = collection.options.rules.of(action);
    if rule.verdict(action, &context.caller) == Verdict::Allow {
        return Ok(());
    }
    let (now, data) = (http::now(), parsed(&record.data)?);
    let rule_context = context.rule_context(action, &now, op.data());
    let seen = Record {
        id: &record.id,
        owner_id: record.owner_id.as_deref(),
        created_at: record.created_at.as_deref().unwrap_or(&now),
        updated_at: record.updated_at.as_deref().unwrap_or(&now),
        data: &data,
    };
    if rule.allows(action, &seen, &rule_context) {
        return Ok(());
    }
    Err(refused(op, action, context, collection))
}

fn check_absent(conditions: Conditions<'_>) -> Result<()> {
    match conditions.if_match {
        Some(_) => Err(error::precondition("If-Match: there is no record of this id any more")),
        None => Ok(()),
    }
}

fn check_present(conditions: Conditions<'_>, stored: &Stored) -> Result<()> {
    let tag = stored.etag();
    if let Some(header) = conditions.if_match
        && !etag::matches(header, &tag, false)
    {
        let message =
            format!("If-Match: the record was changed meanwhile; its tag is {tag} now: read it again");
        return Err(error::precondition(message));
    }
    match conditions.if_none_match {
        Some(header) if etag::matches(header, &tag, true) => Err(error::precondition(format!(
            "If-None-Match: the record is there already, with the tag {tag}"
        ))),
        _ => Ok(()),
    }
}

impl PreparedWrite {
    /// Takes over data altered by a hook, which must be valid under the schema as well.
    pub(super) fn alter(&mut self, data: &str) -> Result<()> {
        let given = parsed(data)?;
        let unknown = self.collection.options.unknown_fields;
        let text = validate::data(&self.collection.schema, unknown, &given);
        self.record.data = text.map_err(|faults| error::validation(&faults))?;
        Ok(())
    }

    /// Drops the data that only listeners need.
    pub(super) fn forget_data(&mut self) {
        self.previous = None;
    }

    /// Appends the statement of the change. It affects one row, or none if the record or the collection changed
    /// meanwhile.
    pub(super) fn push(&self, batch: &mut Batch, expect: Expect) {
        let (sql, record) = (&self.collection.sql, &self.record);
        let (id, data) = (ValueRef::Text(&record.id), ValueRef::Text(&record.data));
        match self.change {
            Change::Create => {
                let owner = record.owner_id.as_deref().map_or(ValueRef::Null, ValueRef::Text);
                batch.push_refs(expect, &sql.insert, [id, owner, ValueRef::Now, data]);
            }
            Change::Update => {
                let version = ValueRef::Integer(record.version - 1);
                batch.push_refs(expect, &sql.update, [data, ValueRef::Now, id, version]);
            }
            Change::Delete => batch.push_refs(expect, &sql.delete, [id, ValueRef::Integer(record.version)]),
        }
    }

    /// Returns the status of the response.
    pub(super) fn status(&self) -> u16 {
        match self.change {
            Change::Create => 201,
            Change::Update => 200,
            Change::Delete => 204,
        }
    }
}

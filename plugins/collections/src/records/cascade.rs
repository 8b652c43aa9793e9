//! Deletes the records that depend on a deleted record by `cascade`, if these may form chains of any length. The
//! database would delete a chain recursively, with one stack level per record. Here, every record is deleted after the
//! records that reference it, so that the database never recurses. This module decides nothing: the database's own
//! foreign keys still apply.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use serde_json::{Value as JsonValue, json};
use tinybase_plugin_api::{
    Error, Result,
    database::{Batch, Database, Expect, ReadHint, Rows, Transaction, Value},
    task::Pace,
};

use crate::{
    catalog::{Catalog, Collection},
    dialect::{Dialect, Edge},
    limits,
    plugin::Collections,
    schema::{OnDelete, USERS},
};

/// The starting point of a deletion: a record, or a user.
pub(super) struct Root<'a> {
    name: &'a str,
    /// The number of its collection; the number for users belongs to no collection.
    number: i64,
    /// The table with its id and seq.
    table: &'a str,
    id: &'a str,
}

impl<'a> Root<'a> {
    /// Creates the root for a record.
    pub(super) fn record(collection: &'a Collection, id: &'a str) -> Root<'a> {
        Root { name: &collection.name, number: collection.number, table: &collection.table, id }
    }

    /// Creates the root for a user, who has no seq.
    pub(super) fn user(id: &'a str) -> Root<'a> {
        Root {
            name: USERS,
            number: -1,
            table: "(SELECT id,CAST(0 AS bigint) AS seq FROM tb_users) AS users",
            id,
        }
    }
}

/// The place to read the records from.
enum Reader<'a> {
    Within(&'a mut Transaction),
    Before(&'a Database),
}

impl Reader<'_> {
    async fn query(&mut self, sql: &str, params: &[Value]) -> Result<Rows> {
        match self {
            Reader::Within(transaction) => transaction.query(sql, params).await,
            Reader::Before(database) => database.query(ReadHint::Scan, sql, params).await,
        }
    }
}

/// A field by which records of one collection reference those of another that are deleted with them.
struct Field<'a> {
    collection: &'a Arc<Collection>,
    name: &'a str,
    target: i64,
}

/// The collections and references that a deletion may involve.
struct Family<'a> {
    /// The collections by number.
    members: BTreeMap<i64, &'a Arc<Collection>>,
    cascading: Vec<Field<'a>>,
    restricting: Vec<Field<'a>>,
}

impl<'a> Family<'a> {
    fn of(catalog: &'a Catalog, root: &Root<'a>) -> Family<'a> {
        let mut family = Family { members: BTreeMap::new(), cascading: Vec::new(), restricting: Vec::new() };
        let mut left: Vec<&Arc<Collection>> = match catalog.get(root.name) {
            Some(collection) => vec![collection],
            None => family.add_referrers(catalog, root.name, root.number),
        };
        while let Some(target) = left.pop() {
            if family.members.insert(target.number, target).is_none() {
                left.extend(family.add_referrers(catalog, &target.name, target.number));
            }
        }
        let members = &family.members;
        family.restricting.retain(|field| members.contains_key(&field.collection.number));
        family
    }

    /// Adds the fields that reference one collection's records. Returns the collections of those fields that cascade.
    fn add_referrers(
        &mut self,
        catalog: &'a Catalog,
        name: &'a str,
        target: i64,
    ) -> Vec<&'a Arc<Collection>> {
        let mut cascading = Vec::new();
        for referrer in catalog.referrers(name) {
            let field = Field { collection: referrer.collection, name: referrer.field, target };
            match referrer.on_delete {
                OnDelete::Cascade => {
                    cascading.push(referrer.collection);
                    self.cascading.push(field);
                }
                OnDelete::Restrict => self.restricting.push(field),
                OnDelete::SetNull => {}
            }
        }
        cascading
    }

    fn edges(&self) -> Vec<Edge<'a>> {
        let edge = |field: &Field<'a>| Edge {
            number: field.collection.number,
            table: &field.collection.table,
            field: field.name,
            target: field.target,
        };
        self.cascading.iter().map(edge).collect()
    }
}

/// Returns whether deleting the record may delete a chain of other records.
pub(super) async fn is_needed(plugin: &Collections, root: Root<'_>) -> Result<bool> {
    let catalog = plugin.catalog.current().await?;
    if !catalog.is_deep(root.name) {
        return Ok(false);
    }
    for referrer in catalog.referrers(root.name).filter(|other| other.on_delete == OnDelete::Cascade) {
        let column = referrer.collection.dialect.column(referrer.field);
        let sql = format!("SELECT 1 FROM {} WHERE {column}=?1 LIMIT 1", referrer.collection.table);
        if !plugin.database.query(ReadHint::Indexed, &sql, &[root.id.into()]).await?.is_empty() {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Deletes the records that depend on the root, but not the root itself.
pub(super) async fn delete_dependents(
    plugin: &Collections,
    transaction: &mut Transaction,
    root: Root<'_>,
) -> Result<()> {
    let catalog = plugin.catalog.current().await?;
    let family = Family::of(&catalog, &root);
    for member in family.members.values() {
        if let Some(lock) = member.dialect.lock(&member.table) {
            let mut batch = Batch::default();
            batch.push(&lock, &[]);
            transaction.apply(batch).await?;
        }
    }
    let graph = Graph::read(&mut Reader::Within(&mut *transaction), plugin.dialect(), &family, &root).await?;
    let mut batch = Batch::default();
    let mut pace = Pace::default();
    for step in graph.steps() {
        step.push(&family, &mut batch);
        if batch.len() >= limits::CASCADE_STATEMENTS_MAX {
            transaction.apply(std::mem::take(&mut batch)).await?;
        }
        pace.worked(STEP_BYTES).await;
    }
    if !batch.is_empty() {
        transaction.apply(batch).await?;
    }
    Ok(())
}

/// Adds the statements that delete the records that depend on the user now. Records that are added before these
/// statements are applied are left to the database: they form no long chain any more. If one of the records is changed
/// or moved to another user before, the statements fail with `db_condition`, and their caller retries.
pub(super) async fn push_dependents(plugin: &Collections, root: Root<'_>, batch: &mut Batch) -> Result<()> {
    let catalog = plugin.catalog.current().await?;
    let family = Family::of(&catalog, &root);
    let graph = Graph::read(&mut Reader::Before(&plugin.database), plugin.dialect(), &family, &root).await?;
    let mut pace = Pace::default();
    for step in graph.steps() {
        step.push(&family, batch);
        pace.worked(STEP_BYTES).await;
    }
    Ok(())
}

/// The approximate work of a step, in bytes.
const STEP_BYTES: usize = 256;

/// A record.
struct Node {
    number: i64,
    id: String,
    seq: i64,
    /// The records it references, each with the field.
    above: Vec<(usize, Link)>,
}

/// The field of a reference.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Link {
    Cascading(usize),
    Restricting(usize),
}

/// The records that are deleted together, the root first, and their references.
struct Graph {
    nodes: Vec<Node>,
    places: HashMap<(i64, String), usize>,
}

/// The order of a deletion, while it is built.
struct Order<'g> {
    graph: &'g Graph,
    /// For each record, the number of remaining references to it.
    below: Vec<usize>,
    is_done: Vec<bool>,
    /// Whether a record's own references were set to null.
    is_cut: Vec<bool>,
    /// Records without references to them.
    free: Vec<usize>,
    next_cut: usize,
    steps: Vec<Step>,
}

impl Order<'_> {
    /// Deletes all unreferenced records, and finds the records that are unreferenced after that.
    fn delete_free(&mut self) {
        const ROOT: usize = 0;
        let free = std::mem::take(&mut self.free);
        let places = free.iter().copied().filter(|place| *place != ROOT);
        self.steps.extend(self.graph.delete(places, &self.is_cut));
        for place in &free {
            self.is_done[*place] = true;
        }
        for place in free.into_iter().filter(|place| !self.is_cut[*place]).collect::<Vec<_>>() {
            self.release(place);
        }
    }

    /// Sets the references of one record of a circle to null. Returns false if no record is left.
    fn cut(&mut self) -> bool {
        let mut left = self.next_cut..self.graph.nodes.len();
        let Some(place) = left.find(|place| !self.is_done[*place] && !self.is_cut[*place]) else {
            return false;
        };
        self.next_cut = place + 1;
        self.is_cut[place] = true;
        let node = &self.graph.nodes[place];
        let unlink = |(above, link): &(usize, Link)| Step::Unlink {
            gone: Gone { seq: node.seq, id: node.id.clone(), held: Vec::new() },
            link: *link,
            above: self.graph.nodes[*above].id.clone(),
        };
        self.steps.extend(node.above.iter().map(unlink));
        self.release(place);
        true
    }

    /// Removes a record's references from the counts of the referenced records.
    fn release(&mut self, place: usize) {
        for (above, _) in &self.graph.nodes[place].above {
            self.below[*above] -= 1;
            if self.below[*above] == 0 {
                self.free.push(*above);
            }
        }
    }
}

/// A step of the deletion. Each step is for the records as read: if they changed since, it fails with `db_condition`.
enum Step {
    /// Deletes records of one collection that have no references to them any more.
    Delete { number: i64, gone: Vec<Gone> },
    /// Sets a reference of a circle to null; `above` is the id it points to.
    Unlink { gone: Gone, link: Link, above: String },
}

/// A record to be deleted.
struct Gone {
    /// After the deletion a new record may get the same seq.
    seq: i64,
    id: String,
    /// The cascading fields through which it is deleted, with the ids they point to.
    held: Vec<(usize, String)>,
}

impl Graph {
    async fn read(
        reader: &mut Reader<'_>,
        dialect: Dialect,
        family: &Family<'_>,
        root: &Root<'_>,
    ) -> Result<Graph> {
        let max = limits::CASCADE_REFERENCES_MAX;
        let sql = dialect.dependents((root.number, root.table), &family.edges());
        let limit = i64::try_from(max + 1).expect("the limit is small");
        let rows = reader.query(&sql, &[root.id.into(), limit.into()]).await.map_err(too_many)?;
        if rows.len() > max {
            return Err(too_large());
        }
        let mut graph = Graph { nodes: Vec::with_capacity(rows.len()), places: HashMap::new() };
        let mut links = Vec::with_capacity(rows.len());
        for row in &rows {
            let place = graph.place(row.integer(0)?, row.text(1)?, row.integer(2)?);
            let edge = usize::try_from(row.integer(3)?).unwrap_or(0);
            let (above, above_id) = (row.integer(4)?, row.text(5)?);
            if !above_id.is_empty() {
                links.push((place, edge, (above, above_id.to_owned())));
            }
        }
        for (place, edge, above) in links {
            graph.link(place, &above, Link::Cascading(edge));
        }
        graph.add_restricting(reader, family).await?;
        Ok(graph)
    }

    fn place(&mut self, number: i64, id: &str, seq: i64) -> usize {
        let next = self.nodes.len();
        let place = *self.places.entry((number, id.to_owned())).or_insert(next);
        if place == next {
            self.nodes.push(Node { number, id: id.to_owned(), seq, above: Vec::new() });
        }
        place
    }

    /// A record's reference to itself is ignored: it blocks nothing.
    fn link(&mut self, place: usize, above: &(i64, String), link: Link) {
        if let Some(above) = self.places.get(above).copied().filter(|above| *above != place) {
            self.nodes[place].above.push((above, link));
        }
    }

    /// Adds the `restrict` references between the records: their targets, too, must not be deleted first.
    async fn add_restricting(&mut self, reader: &mut Reader<'_>, family: &Family<'_>) -> Result<()> {
        const IDS_MAX: usize = 1_000;
        for (at, field) in family.restricting.iter().enumerate() {
            let number = field.collection.number;
            let members = self.nodes.iter().filter(|node| node.number == number);
            let ids: Vec<String> = members.map(|node| node.id.clone()).collect();
            let dialect = field.collection.dialect;
            let column = dialect.column(field.name);
            let sql = format!(
                "SELECT id,{column} FROM {} WHERE {column} IS NOT NULL AND {}",
                field.collection.table,
                dialect.among_ids()
            );
            for ids in ids.chunks(IDS_MAX) {
                let list = serde_json::to_string(ids).expect("a list of texts is JSON");
                let rows = reader.query(&sql, &[Value::Text(list)]).await?;
                self.add_links(&rows, field, Link::Restricting(at))?;
            }
        }
        Ok(())
    }

    /// Adds the references of a field, from rows of a record's id and the id it references.
    fn add_links(&mut self, rows: &Rows, field: &Field<'_>, link: Link) -> Result<()> {
        for row in rows {
            let from = (field.collection.number, row.text(0)?.to_owned());
            let above = (field.target, row.text(1)?.to_owned());
            if let Some(place) = self.places.get(&from).copied() {
                self.link(place, &above, link);
            }
        }
        Ok(())
    }

    /// Returns the order in which all records except the root are deleted: each after the records that reference it. In
    /// a circle, the references of one record are set to null first.
    fn steps(&self) -> Vec<Step> {
        let mut below = vec![0_usize; self.nodes.len()];
        for (above, _) in self.nodes.iter().flat_map(|node| &node.above) {
            below[*above] += 1;
        }
        let free = (0..self.nodes.len()).filter(|place| below[*place] == 0).collect();
        let (is_done, is_cut) = (vec![false; self.nodes.len()], vec![false; self.nodes.len()]);
        let mut order = Order { graph: self, below, is_done, is_cut, free, next_cut: 0, steps: Vec::new() };
        loop {
            while !order.free.is_empty() {
                order.delete_free();
            }
            if !order.cut() {
                return order.steps;
            }
        }
    }

    fn delete(&self, places: impl Iterator<Item = usize>, is_cut: &[bool]) -> Vec<Step> {
        let mut by_number: BTreeMap<i64, Vec<Gone>> = BTreeMap::new();
        for place in places {
            let node = &self.nodes[place];
            let held = node.above.iter().filter_map(|(above, link)| match link {
                Link::Cascading(at) if !is_cut[place] => Some((*at, self.nodes[*above].id.clone())),
                _ => None,
            });
            let gone = Gone { seq: node.seq, id: node.id.clone(), held: held.collect() };
            by_number.entry(node.number).or_default().push(gone);
        }
        let mut steps = Vec::new();
        for (number, gone) in by_number {
            let mut left = gone.into_iter().peekable();
            while left.peek().is_some() {
                let gone = left.by_ref().take(limits::CASCADE_STATEMENTS_MAX).collect();
                steps.push(Step::Delete { number, gone });
            }
        }
        steps
    }
}

impl Step {
    fn push(&self, family: &Family<'_>, batch: &mut Batch) {
        match self {
            Step::Delete { number, gone } => {
                let Some(member) = family.members.get(number) else { return };
                match gone.as_slice() {
                    [one] => one.push(family, member, batch),
                    several => push_several(family, member, several, batch),
                }
            }
            Step::Unlink { gone, link, above } => {
                let field = match link {
                    Link::Cascading(at) => &family.cascading[*at],
                    Link::Restricting(at) => &family.restricting[*at],
                };
                let Collection { dialect, table, .. } = &**field.collection;
                let sql = dialect.unlink(table, field.name);
                let params = [Value::Integer(gone.seq), gone.id.as_str().into(), above.as_str().into()];
                batch.push_expecting(Expect::Exactly(1), &sql, &params);
            }
        }
    }
}

impl Gone {
    fn push(&self, family: &Family<'_>, member: &Collection, batch: &mut Batch) {
        let mut sql = format!("DELETE FROM {} WHERE seq=?1 AND id=?2", member.table);
        let mut params = vec![Value::Integer(self.seq), self.id.as_str().into()];
        for (at, above) in &self.held {
            params.push(above.as_str().into());
            let column = member.dialect.column(family.cascading[*at].name);
            sql.push_str(&format!(" AND {column}=?{}", params.len()));
        }
        batch.push_expecting(Expect::Exactly(1), &sql, &params);
    }
}

/// Adds one statement for several records: a list of seq, id, and an id or null for each cascading field.
fn push_several(family: &Family<'_>, member: &Collection, gone: &[Gone], batch: &mut Batch) {
    let fields = family.cascading.iter().enumerate();
    let fields: Vec<(usize, String)> = fields
        .filter(|(_, field)| field.collection.number == member.number)
        .map(|(at, field)| (at, member.dialect.column(field.name)))
        .collect();
    let row = |gone: &Gone| {
        let above = |at: usize| gone.held.iter().find(|(of, _)| *of == at).map(|(_, id)| id.as_str());
        let mut row = vec![json!(gone.seq), json!(gone.id)];
        row.extend(fields.iter().map(|(at, _)| json!(above(*at))));
        JsonValue::Array(row)
    };
    let list = JsonValue::Array(gone.iter().map(row).collect()).to_string();
    let columns: Vec<&str> = fields.iter().map(|(_, column)| column.as_str()).collect();
    let sql = member.dialect.delete_some(&member.table, &columns);
    batch.push_expecting(Expect::Exactly(gone.len() as u64), &sql, &[Value::Text(list)]);
}

fn too_many(error: Error) -> Error {
    if error.code() == "db_result_too_large" { too_large() } else { error }
}

fn too_large() -> Error {
    let message = format!(
        "more than {} references lead to records that would be deleted with this one: delete some of those first",
        limits::CASCADE_REFERENCES_MAX
    );
    Error::conflict("cascade_too_large", message)
}

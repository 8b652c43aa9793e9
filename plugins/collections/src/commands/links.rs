//! References between an import's records of the same collection, which may point to later records of the file: a
//! referenced record is stored before the records that reference it. This module stores nothing.

use std::collections::{HashMap, HashSet};

use tinybase_plugin_api::{
    Result,
    database::{ReadHint, Value},
};

use super::row::Row;
use crate::{catalog::Collection, error, plugin::Collections};

/// The records of an import, sorted by whether they can be stored.
#[derive(Default)]
pub(super) struct Sorted {
    /// Records that can be stored, each after those that it references.
    pub(super) ready: Vec<Row>,
    /// Records that reference records not read yet.
    pub(super) waiting: Vec<Row>,
    /// The lines of records with dangling references, and the reasons.
    pub(super) refused: Vec<(u64, String)>,
}

/// Returns the fields that reference records of the same collection.
pub(super) fn fields(collection: &Collection) -> Vec<String> {
    let own = collection.schema.fields().iter().filter(|field| {
        field.reference.as_ref().is_some_and(|reference| reference.collection == collection.name)
    });
    own.map(|field| field.name.clone()).collect()
}

/// Sorts records. `is_last` is set if no more records follow. With `stops`, no record after a refused one is ready,
/// except those that earlier records reference.
pub(super) async fn sort(
    plugin: &Collections,
    collection: &Collection,
    rows: Vec<Row>,
    is_last: bool,
    stops: bool,
) -> Result<Sorted> {
    if rows.iter().all(|row| row.refers.is_empty()) {
        return Ok(Sorted { ready: rows, ..Sorted::default() });
    }
    let graph = Graph::of(&rows);
    let stored = stored(plugin, collection, &graph.outside).await?;
    let lost = graph.lost(&rows, &stored);
    let mut groups = graph.groups(&lost);
    let is_refused = |at: usize| match &lost[at] {
        Some(lost) => is_last || (lost.is_own && rows[at].id.is_none()),
        None => false,
    };
    let refused: Vec<usize> = (0..rows.len()).filter(|at| is_refused(*at)).collect();
    if let Some(first) = refused.iter().map(|at| rows[*at].line).min().filter(|_| stops) {
        graph.keep_needed(&rows, &mut groups, first);
    }
    let mut sorted = Sorted::default();
    for at in &refused {
        let (field, id) = &rows[*at].refers[lost[*at].as_ref().map_or(0, |lost| lost.reference)];
        let problem = error::reference_missing(field, id, &collection.name).message().to_owned();
        sorted.refused.push((rows[*at].line, problem));
    }
    let waiting: Vec<usize> = (0..rows.len()).filter(|at| lost[*at].is_some() && !is_refused(*at)).collect();
    let mut left: Vec<Option<Row>> = rows.into_iter().map(Some).collect();
    sorted.waiting.extend(waiting.into_iter().filter_map(|at| left[at].take()));
    for (number, group) in groups.iter().enumerate() {
        let rows = group.iter().filter_map(|at| left[*at].take());
        let in_circle = group.len() > 1;
        sorted.ready.extend(rows.map(|row| Row { group: number, in_circle, ..row }));
    }
    Ok(sorted)
}

/// Returns which of these ids belong to stored records.
async fn stored(plugin: &Collections, collection: &Collection, ids: &[String]) -> Result<HashSet<String>> {
    const IDS_MAX: usize = 1_000;
    let sql = format!("SELECT id FROM {} WHERE {}", collection.table, collection.dialect.among_ids());
    let mut stored = HashSet::new();
    for ids in ids.chunks(IDS_MAX) {
        let list = serde_json::to_string(ids).expect("a list of texts is JSON");
        for row in &plugin.database.query(ReadHint::Scan, &sql, &[Value::Text(list)]).await? {
            stored.insert(row.text(0)?.to_owned());
        }
    }
    Ok(stored)
}

/// Why a record cannot be stored yet.
#[derive(Clone, Copy)]
struct Lost {
    /// The index of the reference.
    reference: usize,
    /// Whether the referenced record exists nowhere; otherwise the referenced record is itself lost.
    is_own: bool,
}

/// The references between records, by position.
struct Graph {
    /// For each record, the records it references, with the index of the reference.
    leads: Vec<Vec<(usize, usize)>>,
    /// References to records outside of the graph: the position of the record, and of the reference.
    out: Vec<(usize, usize)>,
    /// The ids of these outside records.
    outside: Vec<String>,
}

impl Graph {
    fn of(rows: &[Row]) -> Graph {
        let named = rows.iter().enumerate().filter_map(|(at, row)| Some((row.id.as_deref()?, at)));
        let places: HashMap<&str, usize> = named.collect();
        let mut graph = Graph { leads: vec![Vec::new(); rows.len()], out: Vec::new(), outside: Vec::new() };
        for (at, row) in rows.iter().enumerate() {
            for (reference, (_, id)) in row.refers.iter().enumerate() {
                match places.get(id.as_str()) {
                    // A reference to itself blocks nothing.
                    Some(to) if *to == at => {}
                    Some(to) => graph.leads[at].push((*to, reference)),
                    None => {
                        graph.out.push((at, reference));
                        graph.outside.push(id.clone());
                    }
                }
            }
        }
        graph.outside.sort_unstable();
        graph.outside.dedup();
        graph
    }

    /// Returns the records with dangling references, and those that reference them.
    fn lost(&self, rows: &[Row], stored: &HashSet<String>) -> Vec<Option<Lost>> {
        let mut lost = vec![None; rows.len()];
        let mut below: Vec<Vec<(usize, usize)>> = vec![Vec::new(); rows.len()];
        for (at, leads) in self.leads.iter().enumerate() {
            for (to, reference) in leads {
                below[*to].push((at, *reference));
            }
        }
        let mut found = Vec::new();
        for (at, reference) in self.out.iter().copied() {
            if lost[at].is_none() && !stored.contains(&rows[at].refers[reference].1) {
                lost[at] = Some(Lost { reference, is_own: true });
                found.push(at);
            }
        }
        while let Some(at) = found.pop() {
            for (other, reference) in below[at].iter().copied() {
                if lost[other].is_none() {
                    lost[other] = Some(Lost { reference, is_own: false });
                    found.push(other);
                }
            }
        }
        lost
    }

    /// Returns the other records, each after those that it references and otherwise in file order. A circle is one
    /// group; every other record is its own group.
    fn groups(&self, lost: &[Option<Lost>]) -> Vec<Vec<usize>> {
        let mut walk = Walk::new(self);
        for at in (0..lost.len()).filter(|at| lost[*at].is_none()) {
            walk.from(at);
        }
        walk.groups
    }

    /// Keeps the groups with a line before `first`, and the groups they reference.
    fn keep_needed(&self, rows: &[Row], groups: &mut Vec<Vec<usize>>, first: u64) {
        let mut is_needed = vec![false; rows.len()];
        for group in groups.iter().rev() {
            if group.iter().any(|at| is_needed[*at] || rows[*at].line < first) {
                for at in group {
                    is_needed[*at] = true;
                    self.leads[*at].iter().for_each(|(to, _)| is_needed[*to] = true);
                }
            }
        }
        groups.retain(|group| group.iter().all(|at| is_needed[*at]));
    }
}

/// Tarjan's algorithm for strongly connected components. A component is found after all components it references.
struct Walk<'g> {
    graph: &'g Graph,
    /// When each node was reached, from 1.
    reached: Vec<usize>,
    /// The earliest node that each node leads back to.
    low: Vec<usize>,
    open: Vec<usize>,
    is_open: Vec<bool>,
    count: usize,
    groups: Vec<Vec<usize>>,
}

impl<'g> Walk<'g> {
    fn new(graph: &'g Graph) -> Walk<'g> {
        let size = graph.leads.len();
        let (reached, low, is_open) = (vec![0; size], vec![0; size], vec![false; size]);
        Walk { graph, reached, low, open: Vec::new(), is_open, count: 0, groups: Vec::new() }
    }

    fn from(&mut self, start: usize) {
        if self.reached[start] > 0 {
            return;
        }
        self.reach(start);
        let mut path = vec![(start, 0)];
        while let Some((at, next)) = path.last_mut() {
            let at = *at;
            if let Some((to, _)) = self.graph.leads[at].get(*next).copied() {
                *next += 1;
                if self.reached[to] == 0 {
                    self.reach(to);
                    path.push((to, 0));
                } else if self.is_open[to] {
                    self.low[at] = self.low[at].min(self.reached[to]);
                }
                continue;
            }
            path.pop();
            if let Some((above, _)) = path.last() {
                self.low[*above] = self.low[*above].min(self.low[at]);
            }
            if self.low[at] == self.reached[at] {
                self.close(at);
            }
        }
    }

    fn reach(&mut self, at: usize) {
        self.count += 1;
        self.reached[at] = self.count;
        self.low[at] = self.count;
        self.open.push(at);
        self.is_open[at] = true;
    }

    /// Closes a group: all nodes reached since `at` that lead back to it.
    fn close(&mut self, at: usize) {
        let start = self.open.iter().rposition(|open| *open == at).unwrap_or(0);
        let mut group = self.open.split_off(start);
        group.iter().for_each(|at| self.is_open[*at] = false);
        group.sort_unstable();
        self.groups.push(group);
    }
}

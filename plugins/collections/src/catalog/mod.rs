//! The catalog of all collections: an immutable snapshot, rebuilt after every change. It reads no records.

mod collection;
mod options;
mod store;

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

pub use collection::{Collection, INSERTED_MAX, Meta};
pub use options::Options;
pub use store::CatalogStore;
pub(crate) use store::not_found;

use crate::schema::{OnDelete, Reference};

/// All collections at one moment.
#[derive(Debug, Default)]
pub struct Catalog {
    by_name: HashMap<String, Arc<Collection>>,
    in_order: Vec<Arc<Collection>>,
    deep: HashSet<String>,
}

/// A reference field that points to a collection.
#[derive(Debug, Clone, Copy)]
pub struct Referrer<'a> {
    /// The collection that has the field.
    pub collection: &'a Arc<Collection>,
    /// The field's name.
    pub field: &'a str,
    /// What happens when the referenced record is deleted.
    pub on_delete: OnDelete,
}

impl Catalog {
    /// Creates a snapshot of these collections, in the order of their creation.
    pub fn new(in_order: Vec<Arc<Collection>>) -> Catalog {
        let by_name =
            in_order.iter().map(|collection| (collection.name.clone(), Arc::clone(collection))).collect();
        let deep = deep(&in_order);
        Catalog { by_name, in_order, deep }
    }

    /// Returns whether deleting a record of this collection may delete a chain of other records of any length.
    pub fn is_deep(&self, name: &str) -> bool {
        self.deep.contains(name)
    }

    /// Returns the collection with this name.
    pub fn get(&self, name: &str) -> Option<&Arc<Collection>> {
        self.by_name.get(name)
    }

    /// Returns all collections in the order of their creation.
    pub fn all(&self) -> &[Arc<Collection>] {
        &self.in_order
    }

    /// Returns the fields of any collection that reference the collection `target` (or the users).
    pub fn referrers<'a>(&'a self, target: &'a str) -> impl Iterator<Item = Referrer<'a>> {
        self.in_order.iter().flat_map(move |collection| {
            collection.schema.fields().iter().filter_map(move |field| {
                let Reference { collection: to, on_delete } = field.reference.as_ref()?;
                (to == target).then_some(Referrer { collection, field: &field.name, on_delete: *on_delete })
            })
        })
    }
}

/// Returns the collections from which `cascade` references form a cycle, as in a tree of nodes.
fn deep(collections: &[Arc<Collection>]) -> HashSet<String> {
    let mut referrers: HashMap<&str, Vec<&str>> = HashMap::new();
    for collection in collections {
        for reference in collection.schema.fields().iter().filter_map(|field| field.reference.as_ref()) {
            if reference.on_delete == OnDelete::Cascade {
                referrers.entry(&reference.collection).or_default().push(&collection.name);
            }
        }
    }
    let of = |name: &str| referrers.get(name).map_or(&[][..], Vec::as_slice);
    let reached = |from: &str| {
        let (mut reached, mut left) = (HashSet::new(), of(from).to_vec());
        while let Some(name) = left.pop() {
            if reached.insert(name) {
                left.extend(of(name));
            }
        }
        reached
    };
    let circular: HashSet<&str> =
        referrers.keys().copied().filter(|name| reached(name).contains(name)).collect();
    if circular.is_empty() {
        return HashSet::new();
    }
    let leads_there = |name: &&&str| reached(name).iter().any(|reached| circular.contains(reached));
    referrers.keys().filter(leads_there).map(|name| (*name).to_owned()).collect()
}

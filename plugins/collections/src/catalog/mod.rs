//! What is known of all collections: an immutable picture, made anew after every change. It reads no records.

mod collection;
mod options;
mod store;

use std::{collections::HashMap, sync::Arc};

pub use collection::{Collection, Meta};
pub use options::Options;
pub use store::CatalogStore;

use crate::schema::{OnDelete, Reference};

/// All collections at one moment.
#[derive(Debug, Default)]
pub struct Catalog {
    by_name: HashMap<String, Arc<Collection>>,
    in_order: Vec<Arc<Collection>>,
}

/// A reference field that leads to a collection.
#[derive(Debug, Clone, Copy)]
pub struct Referrer<'a> {
    /// The collection with the field.
    pub collection: &'a Arc<Collection>,
    /// The field's name.
    pub field: &'a str,
    /// What happens when the record referred to is deleted.
    pub on_delete: OnDelete,
}

impl Catalog {
    /// A picture of these collections, in the order of their creation.
    pub fn new(in_order: Vec<Arc<Collection>>) -> Catalog {
        let by_name =
            in_order.iter().map(|collection| (collection.name.clone(), Arc::clone(collection))).collect();
        Catalog { by_name, in_order }
    }

    /// The collection of this name.
    pub fn get(&self, name: &str) -> Option<&Arc<Collection>> {
        self.by_name.get(name)
    }

    /// All of them, in the order of their creation.
    pub fn all(&self) -> &[Arc<Collection>] {
        &self.in_order
    }

    /// The names of all of them.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.in_order.iter().map(|collection| collection.name.as_str())
    }

    /// The fields of any collection that lead to the one named `target` (or to the users).
    pub fn referrers<'a>(&'a self, target: &'a str) -> impl Iterator<Item = Referrer<'a>> {
        self.in_order.iter().flat_map(move |collection| {
            collection.schema.fields().iter().filter_map(move |field| {
                let Reference { collection: to, on_delete } = field.reference.as_ref()?;
                (to == target).then_some(Referrer { collection, field: &field.name, on_delete: *on_delete })
            })
        })
    }
}

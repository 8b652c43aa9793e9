//! The collections extension: schemas, records, queries and access rules over the host's database.

//! The commands of the command line: `import` and `export`.

mod chunk;
mod delimited;
mod export;
mod import;
mod infer;
mod links;
mod order;
mod row;
mod source;
mod update;

pub use export::export;
pub use import::import;

//! The commands of the command line: `import` and `export`.

mod export;
mod import;
mod infer;
mod source;

pub use export::export;
pub use import::import;

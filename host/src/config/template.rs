//! The `tinybase.toml` that `init` writes: every key with its meaning and its default, commented out.

use std::fmt::Write;

use super::{Config, KEYS};

const HEAD: &str = "# What this instance decides when it starts. Every line that begins with \"# \" and a key shows a default;
# remove the \"# \" to change it. A TINYBASE_… variable wins over this file, and a flag over both.
";

/// Returns the text of a new `tinybase.toml`.
pub fn template() -> String {
    let defaults = Config::default();
    let mut text = HEAD.to_owned();
    let mut section = "";
    for key in KEYS {
        let (table, name) = key.name.split_once('.').expect("a key's name is section.key");
        if table != section {
            section = table;
            write!(text, "\n[{table}]\n").expect("writing to a string does not fail");
        }
        let default = (key.toml)(&defaults);
        let (meaning, allowed) = (key.meaning.trim(), key.allowed);
        writeln!(text, "## {meaning} ({allowed})\n# {name} = {default}")
            .expect("writing to a string does not fail");
    }
    text
}

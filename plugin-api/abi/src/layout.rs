//! The layout of all types and tables of the ABI, as text: a test compares it with `layout.txt`. It is only built
//! for tests.

use std::{fmt::Write, fs, path::Path};

use abi_stable::{
    StableAbi,
    std_types::utypeid::UTypeId,
    type_layout::{TLData, TLField, TypeLayout},
};

use async_ffi::{FfiContext, FfiPoll};

use crate::{
    ABI_MAJOR, ABI_MINOR,
    bytes::Slice,
    error::RawResult,
    future::RawFuture,
    interfaces::{
        Caller, Function, Outcome, Topic, audit, commands, console, database, events, hooks, http, identity,
        jobs, lifecycle, limits, log, offered, services, sessions, settings, storage, timers,
    },
    request::{RawRequest, RequestTable},
    response::RawResponse,
    root::{Created, Descriptor, HostRef, PluginRootRef},
};

/// Lists the fields of a struct with their offsets. Compilation fails if one is missing.
macro_rules! fields {
    ($kind:ident { $($field:ident),* $(,)? }) => {{
        #[allow(dead_code)]
        fn all(value: &$kind) {
            let $kind { $($field: _),* } = value;
        }
        &[$((stringify!($field), std::mem::offset_of!($kind, $field))),*]
    }};
}
pub(crate) use fields;

/// Collects every type that is reachable from a layout through fields, with its description.
fn collect(layout: &'static TypeLayout, types: &mut Vec<(UTypeId, String)>) {
    let id = layout.get_utypeid();
    if types.iter().any(|(known, _)| *known == id) {
        return;
    }
    types.push((id, String::new()));
    let place = types.len() - 1;
    let (fields, variants) = match layout.data() {
        TLData::Primitive(_) | TLData::Opaque => (Vec::new(), None),
        TLData::Struct { fields } | TLData::Union { fields } => (fields.to_vec(), None),
        TLData::Enum(kind) => {
            let names: Vec<_> = kind.variant_names_iter().map(|name| name.to_string()).collect();
            (kind.fields.to_vec(), Some(names.join(", ")))
        }
        TLData::PrefixType(prefix) => (prefix.fields.to_vec(), None),
    };
    if !fields.is_empty() {
        let (name, size, alignment) = (layout.full_type(), layout.size(), layout.alignment());
        let mut text = format!("{name}: {size} bytes, aligned to {alignment}, {:?}\n", layout.repr_attr());
        text.extend(variants.iter().map(|names| format!("        variants {names}\n")));
        let mut offset = variants.is_none().then_some(0);
        text.extend(fields.iter().map(|field| field_line(field, offset.as_mut())));
        types[place].1 = text;
    }
    for field in fields.iter().chain(&layout.phantom_fields().to_vec()) {
        collect(field.layout(), types);
    }
}

/// Describes a field: its offset, unless its variant defines it, its name, its type, and its functions.
fn field_line(field: &TLField, offset: Option<&mut usize>) -> String {
    let layout = field.layout();
    let place = offset.map_or(String::new(), |offset| {
        let place = offset.next_multiple_of(layout.alignment());
        *offset = place + layout.size();
        place.to_string()
    });
    let (name, kind) = (field.name(), field.full_type().to_string());
    let mut line = format!("    {place:>3} {name}: {}, {} bytes", kind.trim_end(), layout.size());
    for function in field.function_range().iter() {
        write!(line, " = {}", one_line(&function.to_string())).expect("a string takes every line");
    }
    line + "\n"
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn layout() -> String {
    let mut text = format!(
        "ABI {ABI_MAJOR}.{ABI_MINOR}\n\n# Types that hang off the root, checked when a library is opened\n\n"
    );
    let mut types = Vec::new();
    // Types that only occur in the root's functions are not reachable through fields.
    let layouts = [
        PluginRootRef::LAYOUT,
        HostRef::LAYOUT,
        Descriptor::LAYOUT,
        Slice::LAYOUT,
        RawRequest::LAYOUT,
        <RawResult<Created>>::LAYOUT,
        <RawFuture<RawResponse>>::LAYOUT,
        <RawResult<RawResponse>>::LAYOUT,
        RawResponse::LAYOUT,
        <RawFuture<()>>::LAYOUT,
        <FfiPoll<RawResult<()>>>::LAYOUT,
        FfiContext::LAYOUT,
        <RawResult<()>>::LAYOUT,
    ];
    for layout in layouts {
        collect(layout, &mut types);
    }
    let mut types: Vec<_> = types.into_iter().map(|(_, text)| text).collect();
    types.sort();
    text.extend(types);
    text.push_str("\n# Tables and structs that grow at their end\n");
    let outcome: &[(&str, usize)] = &[
        ("payload", std::mem::offset_of!(Outcome, payload)),
        ("statements", std::mem::offset_of!(Outcome, statements)),
    ];
    for (name, size, fields) in [
        ("Caller", size_of::<Caller>(), Caller::FIELDS),
        ("Outcome", size_of::<Outcome>(), outcome),
        ("RequestTable", size_of::<RequestTable>(), RequestTable::FIELDS),
        ("Topic", size_of::<Topic>(), Topic::FIELDS),
    ] {
        writeln!(text, "\n{name}: {size} bytes").expect("a string takes every line");
        for (field, offset) in fields {
            writeln!(text, "    {offset:>3} {field}").expect("a string takes every line");
        }
    }
    for (side, tables) in tables() {
        for (id, major, functions) in tables {
            writeln!(text, "\n{side}: {id}@{major}").expect("a string takes every line");
            for Function { offset, signature } in functions {
                writeln!(text, "    {offset:>3} {}", one_line(signature)).expect("a string takes every line");
            }
        }
    }
    text
}

type Table = (&'static str, u16, &'static [Function]);

fn tables() -> [(&'static str, Vec<Table>); 2] {
    macro_rules! of {
        ($($module:ident),*) => { vec![$(($module::ID, $module::MAJOR, $module::FUNCTIONS)),*] };
    }
    [
        (
            "host",
            of!(
                audit, console, database, events, http, identity, limits, log, services, sessions, settings,
                storage, timers
            ),
        ),
        ("plugin", of!(commands, hooks, jobs, lifecycle, offered)),
    ]
}

#[test]
fn the_layout_is_the_one_that_is_written_down() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("layout.txt");
    let layout = layout();
    if std::env::var_os("UPDATE_EXPECT").is_some() {
        fs::write(&path, &layout).unwrap();
    }
    let expected = fs::read_to_string(&path).unwrap_or_default();
    let differs = layout.lines().zip(expected.lines()).find(|(now, before)| now != before);
    assert!(
        layout == expected,
        "the boundary has changed, first in {differs:?}.\nA type that hangs off the root never changes within an ABI \
         major; a table grows at its end alone, with a new minor. Where that holds, or for a new major, run the test \
         again with UPDATE_EXPECT=1, and write the change down in the changelog."
    );
}

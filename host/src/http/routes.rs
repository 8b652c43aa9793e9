//! The route table of one generation: maps methods and paths to plugin routes. It is built once, then only read. It
//! never gives a path of the host to a plugin.

use std::{collections::HashMap, sync::Arc};

use http::{HeaderValue, Method};
use smallvec::SmallVec;
use tinybase_package::boundary;

use super::{
    openapi::DescribedRoute,
    plugin_route::{Found, PathParams, PluginRoute, RouteMatch},
};
use crate::metrics::stats::{self, RouteMetrics};

/// The maximum length of a route's pattern in bytes.
pub const PATTERN_BYTES_MAX: usize = 512;

/// Below these, a pattern's next segment must be literal, so that no plugin takes paths of another plugin or the host.
const SHARED_TREES: &[&str] = &["/", "/api/", "/api/admin/"];

/// Why a route was rejected.
#[derive(Debug, Clone, thiserror::Error, PartialEq, Eq)]
pub enum RouteError {
    /// The pattern is invalid.
    #[error("route pattern {pattern:?}: {reason}")]
    Pattern {
        /// The pattern as given.
        pattern: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The path belongs to the host.
    #[error("route {pattern:?} belongs to the host; serve below a name of your own")]
    Reserved {
        /// The pattern as given.
        pattern: String,
    },
    /// Another route already has this method and path.
    #[error("route {method} {pattern:?} conflicts with the registered {with:?}")]
    Conflict {
        /// The method.
        method: Method,
        /// The pattern as given.
        pattern: String,
        /// The pattern that was registered first.
        with: String,
    },
}

/// All plugin routes of one generation.
#[derive(Default)]
pub struct RouteTable {
    paths: matchit::Router<usize>,
    entries: Vec<PathEntry>,
    by_pattern: HashMap<String, usize>,
}

/// A method of a path: its route and its metrics.
type Entry = (Method, Arc<dyn PluginRoute>, &'static RouteMetrics);

struct PathEntry {
    pattern: String,
    methods: SmallVec<[Entry; 4]>,
    allow: HeaderValue,
}

impl RouteTable {
    /// Creates an empty table.
    pub fn new() -> RouteTable {
        RouteTable::default()
    }

    /// Adds a route. `pattern` begins with `/`; `{name}` matches one segment, `{*name}` at the end matches the rest.
    /// Patterns that differ only in parameter names are the same path.
    pub fn insert(
        &mut self,
        method: Method,
        pattern: &str,
        route: Arc<dyn PluginRoute>,
    ) -> Result<(), RouteError> {
        let (normal, names) = normalise(pattern)?;
        refuse_reserved(pattern)?;
        if names != route.spec().param_names {
            let reason =
                format!("its parameters are {names:?}, but its spec names {:?}", route.spec().param_names);
            return Err(RouteError::Pattern { pattern: pattern.to_owned(), reason });
        }
        let index = match self.by_pattern.get(&normal) {
            Some(&index) => index,
            None => self.add_path(&method, pattern, normal)?,
        };
        let entry = &mut self.entries[index];
        if entry.methods.iter().any(|(taken, ..)| *taken == method) {
            let with = entry.pattern.clone();
            return Err(RouteError::Conflict { method, pattern: pattern.to_owned(), with });
        }
        let metrics = stats::route(method.as_str(), pattern);
        entry.methods.push((method, route, metrics));
        entry.allow = allow_header(&entry.methods);
        Ok(())
    }

    fn add_path(&mut self, method: &Method, pattern: &str, normal: String) -> Result<usize, RouteError> {
        let index = self.entries.len();
        self.paths.insert(normal.as_str(), index).map_err(|error| match error {
            matchit::InsertError::Conflict { with } => RouteError::Conflict {
                method: method.clone(),
                pattern: pattern.to_owned(),
                with: self.by_pattern.get(&with).map_or(with.clone(), |&at| self.entries[at].pattern.clone()),
            },
            other => RouteError::Pattern { pattern: pattern.to_owned(), reason: other.to_string() },
        })?;
        self.entries.push(PathEntry {
            pattern: pattern.to_owned(),
            methods: SmallVec::new(),
            allow: HeaderValue::from_static(""),
        });
        self.by_pattern.insert(normal, index);
        Ok(index)
    }

    /// Finds the route for `method` on `path` (as sent). `HEAD` falls back to `GET`; one trailing slash is ignored.
    pub fn find(&self, method: &Method, path: &str) -> Found {
        match self.paths.at(path) {
            Ok(matched) => self.pick(method, path, &matched),
            Err(_) => match path.strip_suffix('/').map(|shorter| self.paths.at(shorter)) {
                Some(Ok(matched)) => self.pick(method, path, &matched),
                _ => Found::Missing,
            },
        }
    }

    fn pick(&self, method: &Method, path: &str, matched: &matchit::Match<'_, '_, &usize>) -> Found {
        let entry = &self.entries[*matched.value];
        let by_method = |wanted: &Method| entry.methods.iter().find(|(method, ..)| method == wanted);
        let found = by_method(method).or_else(|| by_method(&Method::GET).filter(|_| method == Method::HEAD));
        let Some((_, route, metrics)) = found else {
            return Found::WrongMethod { allow: entry.allow.clone() };
        };
        let mut params = PathParams::default();
        for (_, value) in matched.params.iter() {
            let start = value.as_ptr().addr() - path.as_ptr().addr();
            if params.push(start, value).is_none() {
                return Found::BadPath;
            }
        }
        Found::Route(RouteMatch { route: Arc::clone(route), params, metrics, hold: None })
    }

    /// Returns every route, in the order in which their paths were added: method, pattern, route.
    pub fn iter(&self) -> impl Iterator<Item = (&Method, &str, &Arc<dyn PluginRoute>)> {
        self.entries.iter().flat_map(|entry| {
            entry.methods.iter().map(|(method, route, _)| (method, entry.pattern.as_str(), route))
        })
    }

    /// Returns every route, for the OpenAPI document.
    pub fn described(&self) -> Vec<DescribedRoute> {
        let routes = self.iter().map(|(method, path, route)| DescribedRoute {
            method: method.clone(),
            path: path.to_owned(),
            access: route.spec().access.clone(),
            operation: route.spec().document.clone().unwrap_or_default(),
        });
        routes.collect()
    }
}

/// Returns the pattern with its parameters renamed to their positions, and their names.
fn normalise(pattern: &str) -> Result<(String, Vec<String>), RouteError> {
    let bad = |reason: &str| RouteError::Pattern { pattern: pattern.to_owned(), reason: reason.to_owned() };
    if !pattern.starts_with('/') || pattern.len() > PATTERN_BYTES_MAX {
        return Err(bad("it must begin with / and hold at most 512 bytes"));
    }
    if pattern.len() > 1 && pattern.ends_with('/') {
        return Err(bad("it must not end in /"));
    }
    let (mut normal, mut names) = (String::with_capacity(pattern.len()), Vec::new());
    let mut rest = pattern;
    while let Some((literal, after)) = rest.split_once('{') {
        let (name, tail) = after.split_once('}').ok_or_else(|| bad("a { has no }"))?;
        let (star, name) = name.strip_prefix('*').map_or(("", name), |name| ("*", name));
        let plain = |c: char| c.is_ascii_alphanumeric() || c == '_';
        if name.is_empty() || !name.chars().all(plain) || names.iter().any(|known| known == name) {
            return Err(bad("a parameter's name must be a word of its own: {name} or {*name}"));
        }
        normal.push_str(&format!("{literal}{{{star}p{}}}", names.len()));
        names.push(name.to_owned());
        rest = tail;
    }
    normal.push_str(rest);
    let is_stray = |c: char| matches!(c, '?' | '#' | '%' | '\\') || c.is_whitespace() || c.is_control();
    if rest.contains('}') || normal.contains(is_stray) || normal.contains("//") {
        return Err(bad("it may hold no stray }, ?, #, %, \\, blank, control character or empty segment"));
    }
    if normal.split('/').any(|segment| matches!(segment, "." | "..")) {
        return Err(bad("it may hold no segment . or .."));
    }
    Ok((normal, names))
}

/// Returns the part of a pattern before its first parameter, and whether it has one.
fn literal_part(pattern: &str) -> (&str, bool) {
    match pattern.split_once('{') {
        Some((literal, _)) => (literal.rsplit_once('/').map_or("", |(before, _)| before), true),
        None => (pattern, false),
    }
}

/// Returns whether a pattern matches paths at or below `prefix`.
pub(crate) fn takes_paths_below(pattern: &str, prefix: &str) -> bool {
    let (literal, has_params) = literal_part(pattern);
    let is_above = literal.len() < prefix.len();
    boundary::overlaps(literal, prefix) && (has_params || !is_above)
}

/// Checks whether a plugin may have a route with this pattern, regardless of other routes.
///
/// # Errors
/// [`RouteError::Pattern`] if the pattern is invalid, [`RouteError::Reserved`] if it belongs to the host.
pub fn check_pattern(pattern: &str) -> Result<(), RouteError> {
    normalise(pattern).map(drop)?;
    refuse_reserved(pattern)
}

fn refuse_reserved(pattern: &str) -> Result<(), RouteError> {
    let reserved = || Err(RouteError::Reserved { pattern: pattern.to_owned() });
    if boundary::HOST_TREES.iter().any(|tree| takes_paths_below(pattern, tree)) {
        return reserved();
    }
    let lower = pattern.to_ascii_lowercase();
    for tree in SHARED_TREES {
        if lower == tree.trim_end_matches('/') {
            return reserved();
        }
        let Some(below) = lower.strip_prefix(tree) else { continue };
        let segment = below.split('/').next().unwrap_or_default();
        if segment.is_empty() || segment.contains('{') {
            return reserved();
        }
    }
    Ok(())
}

fn allow_header(methods: &[Entry]) -> HeaderValue {
    let mut names: Vec<&str> = methods.iter().map(|(method, ..)| method.as_str()).collect();
    if names.contains(&"GET") && !names.contains(&"HEAD") {
        names.push("HEAD");
    }
    names.push("OPTIONS");
    names.sort_unstable();
    names.dedup();
    HeaderValue::from_str(&names.join(", ")).expect("method names are header-safe tokens")
}

#[cfg(test)]
mod tests;

//! The parts that extensions add to the document beyond their routes' own operations, such as each collection's paths
//! and schemas. A part that would break the document is left out and logged.

use std::{collections::BTreeMap, sync::Arc};

use http::Method;
use serde_json::{Map, Value as Json, json};

use super::DescribedRoute;
use crate::http::{Access, Found, PluginDispatch, RouteSpec, plugin_route::RouteMatch};

/// The topic on which extensions are asked for their parts. The payload is `{"known": {"<extension>": "<version>"},
/// "limit": n}`. An extension returns `{"version", "paths", "components": {"schemas"}}`, or `{"version", "unchanged":
/// true}` if `known` already contains its version. `limit` is the maximum number of items of its data that it describes
/// individually.
pub(super) const TOPIC: &str = "openapi.collect";

/// The maximum number of paths per extension.
const PATHS_MAX: usize = 10_000;

/// The prefix of references to schemas.
const SCHEMAS: &str = "#/components/schemas/";

/// The last part of one extension.
#[derive(Debug)]
pub(super) struct Part {
    pub(super) version: String,
    routes: Vec<DescribedRoute>,
    schemas: Map<String, Json>,
}

/// The parts by extension name.
pub(super) type Parts = BTreeMap<String, Arc<Part>>;

/// Builds the payload for the topic.
pub(super) fn question(known: &Parts, limit: usize) -> Json {
    let versions: Map<String, Json> =
        known.iter().map(|(plugin, part)| (plugin.clone(), part.version.clone().into())).collect();
    json!({"known": versions, "limit": limit})
}

/// Reads the extensions' results: new parts, and those of `known` that are unchanged.
pub(super) fn read(answers: Vec<(String, Json)>, known: &Parts, plugins: &dyn PluginDispatch) -> Parts {
    let mut parts = Parts::new();
    for (plugin, answer) in answers {
        match part(&answer, known.get(&plugin), plugins) {
            Ok(part) => {
                parts.insert(plugin, part);
            }
            Err(why) => tracing::warn!(plugin, "its part of the OpenAPI document is left out: {why}"),
        }
    }
    parts
}

fn part(answer: &Json, known: Option<&Arc<Part>>, plugins: &dyn PluginDispatch) -> Result<Arc<Part>, String> {
    let version = answer["version"].as_str().ok_or("it tells no version")?;
    if let Some(known) = known.filter(|known| known.version == version) {
        return Ok(Arc::clone(known));
    }
    if answer["unchanged"] == true {
        return Err("it is said to be unchanged, and is not known".to_owned());
    }
    let paths = answer["paths"].as_object().ok_or("paths must be an object")?;
    if paths.len() > PATHS_MAX {
        return Err(format!("it has more than {PATHS_MAX} paths"));
    }
    let mut routes = Vec::new();
    for (path, item) in paths {
        for (method, operation) in item.as_object().ok_or_else(|| format!("{path} must be an object"))? {
            routes.push(route(path, method, operation, plugins)?);
        }
    }
    let schemas = answer["components"]["schemas"].as_object().cloned().unwrap_or_default();
    let is_known = |name: &str| name == "Error" || schemas.contains_key(name);
    check_references(&Json::Object(paths.clone()), &is_known)?;
    schemas.values().try_for_each(|schema| check_references(schema, &is_known))?;
    Ok(Arc::new(Part { version: version.to_owned(), routes, schemas }))
}

/// Describes an operation. It must belong to a mounted route, which also defines the access.
fn route(
    path: &str,
    method: &str,
    operation: &Json,
    plugins: &dyn PluginDispatch,
) -> Result<DescribedRoute, String> {
    let method = Method::from_bytes(method.to_ascii_uppercase().as_bytes())
        .map_err(|_| format!("{path}: {method} is no method"))?;
    let Found::Route(found) = plugins.find(&method, path) else {
        return Err(format!("no route is mounted at {method} {path}"));
    };
    let access = access(path, &found);
    Ok(DescribedRoute { method, path: path.to_owned(), access, operation: operation.clone() })
}

/// Returns the route's access, with the values from the path in place of its scope's parameters. A parameter in the
/// path stays a parameter.
fn access(path: &str, found: &RouteMatch) -> Access {
    let RouteSpec { access, param_names, .. } = found.route.spec();
    let mut scope = access.scope.to_string();
    for name in param_names {
        if let Some(value) = found.route.spec().param(name, &found.params, path) {
            scope = scope.replace(&format!("{{{name}}}"), value);
        }
    }
    Access { auth: access.auth, scope: scope.into() }
}

fn check_references(value: &Json, is_known: &impl Fn(&str) -> bool) -> Result<(), String> {
    match value {
        Json::Array(items) => items.iter().try_for_each(|item| check_references(item, is_known)),
        Json::Object(members) => members.iter().try_for_each(|(name, member)| match member {
            Json::String(reference) if name == "$ref" => {
                let leads = reference.strip_prefix(SCHEMAS).is_some_and(is_known);
                if leads { Ok(()) } else { Err(format!("{reference} leads nowhere")) }
            }
            member => check_references(member, is_known),
        }),
        _ => Ok(()),
    }
}

/// Returns whether these are the identical parts.
pub(super) fn are_same(some: &Parts, others: &Parts) -> bool {
    let mut pairs = some.iter().zip(others);
    some.len() == others.len()
        && pairs.all(|((name, part), (other_name, other))| name == other_name && Arc::ptr_eq(part, other))
}

/// Returns the routes that the parts describe, and their schemas. If two parts have a schema of the same name, the
/// later part is left out.
pub(super) fn together(parts: &Parts) -> (Vec<DescribedRoute>, Map<String, Json>) {
    let (mut routes, mut schemas) = (Vec::new(), Map::new());
    for (plugin, part) in parts {
        if let Some(name) = part.schemas.keys().find(|name| schemas.contains_key(*name) || *name == "Error") {
            tracing::warn!(
                plugin,
                "its part of the OpenAPI document is left out: the schema {name} is another's"
            );
            continue;
        }
        routes.extend(part.routes.iter().cloned());
        schemas.extend(part.schemas.clone());
    }
    (routes, schemas)
}

#[cfg(test)]
mod tests {
    use futures_util::future::BoxFuture;

    use super::*;
    use crate::{
        error::ApiError,
        http::{PluginRequest, PluginResponse, PluginRoute, RouteTable},
    };

    struct Silent(RouteSpec);

    impl PluginRoute for Silent {
        fn spec(&self) -> &RouteSpec {
            &self.0
        }

        fn call(&self, _request: PluginRequest) -> BoxFuture<'static, Result<PluginResponse, ApiError>> {
            Box::pin(async { Err(ApiError::not_found("not_found", "nothing")) })
        }
    }

    struct Mounted(RouteTable);

    impl PluginDispatch for Mounted {
        fn find(&self, method: &Method, path: &str) -> Found {
            self.0.find(method, path)
        }

        fn described(&self) -> Vec<DescribedRoute> {
            self.0.described()
        }

        fn generation(&self) -> u64 {
            1
        }

        fn collect<'a>(&'a self, _topic: &'a str, _payload: Json) -> BoxFuture<'a, Vec<(String, Json)>> {
            Box::pin(async { Vec::new() })
        }
    }

    /// Returns a dispatch with `GET /api/things/{name}/parts/{id}`, for tokens with `things:read:{name}`.
    fn mounted() -> Mounted {
        let spec = RouteSpec {
            access: Access::user("things:read:{name}"),
            param_names: vec!["name".to_owned(), "id".to_owned()],
            ..RouteSpec::default()
        };
        let mut table = RouteTable::default();
        table.insert(Method::GET, "/api/things/{name}/parts/{id}", Arc::new(Silent(spec))).unwrap();
        Mounted(table)
    }

    fn told(answer: Json, known: &Parts) -> Parts {
        read(vec![("things".to_owned(), answer)], known, &mounted())
    }

    fn answer(path: &str, reference: &str) -> Json {
        let schema = json!({"$ref": format!("#/components/schemas/{reference}")});
        let responses =
            json!({"200": {"description": "", "content": {"application/json": {"schema": schema}}}});
        json!({
            "version": "1",
            "paths": {path: {"get": {"operationId": "getChair", "responses": responses}}},
            "components": {"schemas": {"Chair": {"type": "object"}}},
        })
    }

    #[test]
    fn an_operation_has_the_access_of_the_route_that_its_path_leads_to() {
        let parts = told(answer("/api/things/chairs/parts/{id}", "Chair"), &Parts::new());
        let (routes, schemas) = together(&parts);
        assert_eq!(routes[0].access, Access::user("things:read:chairs"));
        assert_eq!(routes[0].path, "/api/things/chairs/parts/{id}");
        assert!(schemas.contains_key("Chair"));
    }

    #[test]
    fn a_part_that_would_break_the_document_is_left_out() {
        let nothing = Parts::new();
        for (broken, why) in [
            (answer("/api/elsewhere", "Chair"), "no route"),
            (answer("/api/things/chairs/parts/{id}", "Table"), "no schema"),
            (json!({"paths": {}}), "no version"),
            (json!({"version": "1", "unchanged": true}), "not known"),
            (json!({"version": "1", "paths": []}), "no paths"),
            (json!({"version": "1", "paths": {"/api/things/chairs/parts/{id}": 7}}), "no operations"),
            (json!(null), "nothing"),
        ] {
            assert!(told(broken, &nothing).is_empty(), "{why}");
        }
    }

    #[test]
    fn a_part_that_did_not_change_stays_the_same() {
        let first = told(answer("/api/things/chairs/parts/{id}", "Chair"), &Parts::new());
        assert_eq!(question(&first, 7), json!({"known": {"things": "1"}, "limit": 7}));
        let second = told(json!({"version": "1", "unchanged": true}), &first);
        assert!(are_same(&first, &second));
        let mut changed = answer("/api/things/chairs/parts/{id}", "Chair");
        changed["version"] = "2".into();
        assert!(!are_same(&first, &told(changed, &second)));
        assert!(!are_same(&first, &Parts::new()));
    }

    #[test]
    fn a_schema_of_another_is_not_replaced() {
        let answers = ["a", "b"].map(|name| (name.to_owned(), answer("/api/things/x/parts/{id}", "Chair")));
        let parts = read(answers.into(), &Parts::new(), &mounted());
        let (routes, schemas) = together(&parts);
        assert_eq!((parts.len(), routes.len(), schemas.len()), (2, 1, 1));
    }
}

//! The HTTP server: connections, limits, routing, answers. It never holds business logic of accounts or plugins.

pub mod extract;
mod path;
pub mod plugin_route;
mod request_id;
mod routes;

pub use path::decode_path_part;
pub use plugin_route::{
    BodyMode, BoxError, ByteStream, Found, PathParams, PluginDispatch, PluginRequest, PluginResponse,
    PluginRoute, RequestBody, ResponseBody, RouteAuth, RouteMatch, RouteSpec,
};
pub use request_id::{REQUEST_ID, REQUEST_ID_BYTES_MAX, RequestId};
pub use routes::{PATTERN_BYTES_MAX, RouteError, RouteTable};

/// Who sends a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// The user's id.
    pub id: String,
    /// Whether it is an administrator.
    pub is_admin: bool,
}

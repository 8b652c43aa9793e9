//! The HTTP server: connections, limits, routing, responses. It never contains business logic of accounts or plugins.

mod app;
mod auth;
mod body;
mod client_address;
mod compress;
mod connection;
mod cookies;
mod cors;
mod deadline;
mod docs;
pub mod etag;
pub mod extract;
mod files;
mod h2_streams;
mod host_header;
mod host_route;
mod limits;
mod linger;
mod loopback;
mod networks;
mod openapi;
pub mod operation;
mod pace;
mod path;
mod plugin_call;
pub mod plugin_route;
pub mod query;
mod rate_limit;
mod request_id;
mod request_trace;
mod response_body;
mod routes;
mod security_headers;
mod server;
mod static_files;
mod system;
mod unread;

pub use app::{App, RequestInfo};
pub(crate) use auth::token_missing;
pub use auth::{Access, Authenticate, RouteAuth};
pub use body::BodyError;
pub(crate) use files::Files;
pub use host_route::{HostRoute, HostRoutes, MaybeSignedIn, RoutesOf, SignedIn};
pub use limits::Limits;
pub(crate) use loopback::is_made_here;
pub use networks::Networks;
pub(crate) use networks::is_list_of_networks;
pub use openapi::DescribedRoute;
pub use path::decode_path_part;
pub use plugin_route::{
    BodyMode, BoxError, ByteStream, Found, PathParams, PluginBody, PluginDispatch, PluginRequest,
    PluginResponse, PluginRoute, RequestBody, RouteMatch, RouteSpec,
};
pub use rate_limit::Sweeping;
pub use request_id::{REQUEST_ID, REQUEST_ID_BYTES_MAX, RequestId};
pub(crate) use routes::takes_paths_below;
pub use routes::{PATTERN_BYTES_MAX, RouteError, RouteTable, check_pattern};
pub(crate) use security_headers::is_content_security_policy;
pub use server::{Drained, serve};

pub use crate::accounts::Caller;

#[cfg(test)]
mod tests;

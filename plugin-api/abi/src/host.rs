//! Both sides of the handle to the host: how a host exports it, and how a plugin opens it.

use std::ffi::c_void;

use crate::{
    bytes::Slice,
    interfaces::{
        audit, console, database, events, http, identity, limits, log, services, sessions, settings, storage,
        timers,
    },
    root::HostRef,
};

/// All services of a host, in safe Rust. [`export`] makes them callable across the ABI.
pub trait HostServices:
    audit::Server
    + console::Server
    + database::Server
    + events::Server
    + http::Server
    + identity::Server
    + limits::Server
    + log::Server
    + services::Server
    + sessions::Server
    + settings::Server
    + storage::Server
    + timers::Server
{
    /// Returns whether the plugin may use this interface: its manifest declares the capability, or all plugins may
    /// use it.
    fn grants(&self, interface: &str) -> bool;
}

/// Exports `host`, which must live as long as the process, since a library is never unloaded.
pub fn export<H: HostServices>(host: &'static H) -> HostRef {
    HostRef { state: std::ptr::from_ref(host).cast(), get_interface: get_interface::<H> }
}

/// Opens an exported `host` directly, for a plugin in the host's own binary, such as in a test.
pub fn clients<H: HostServices>(host: &'static H) -> HostClients {
    // SAFETY: `export` made the handle.
    unsafe { HostClients::open(export(host)) }
}

unsafe extern "C" fn get_interface<H: HostServices>(
    state: *const c_void,
    id: Slice<'_>,
    major: u16,
) -> *const c_void {
    // SAFETY: `export` put an `&'static H` there.
    let host = unsafe { &*state.cast::<H>() };
    let id = id.text().unwrap_or_default();
    if !host.grants(id) {
        return std::ptr::null();
    }
    match (id, major) {
        (audit::ID, audit::MAJOR) => audit::table::<H>(),
        (console::ID, console::MAJOR) => console::table::<H>(),
        (database::ID, database::MAJOR) => database::table::<H>(),
        (events::ID, events::MAJOR) => events::table::<H>(),
        (http::ID, http::MAJOR) => http::table::<H>(),
        (identity::ID, identity::MAJOR) => identity::table::<H>(),
        (limits::ID, limits::MAJOR) => limits::table::<H>(),
        (log::ID, log::MAJOR) => log::table::<H>(),
        (services::ID, services::MAJOR) => services::table::<H>(),
        (sessions::ID, sessions::MAJOR) => sessions::table::<H>(),
        (settings::ID, settings::MAJOR) => settings::table::<H>(),
        (storage::ID, storage::MAJOR) => storage::table::<H>(),
        (timers::ID, timers::MAJOR) => timers::table::<H>(),
        _ => std::ptr::null(),
    }
}

macro_rules! clients {
    ($($module:ident),*) => {
        /// The host's interfaces, as seen by a plugin: `None` if the host has none or the manifest does not declare
        /// the capability.
        #[derive(Clone, Copy)]
        pub struct HostClients {
            $(
                #[doc = concat!("The interface `", stringify!($module), "`.")]
                pub $module: Option<$module::Client>,
            )*
        }

        impl HostClients {
            /// Opens the handle.
            ///
            /// # Safety
            /// `host` must be the value that [`export`] returned on the other side.
            pub unsafe fn open(host: HostRef) -> HostClients {
                HostClients {
                    $($module: {
                        // SAFETY: `get_interface` belongs to `state`.
                        let table = unsafe { (host.get_interface)(host.state, $module::ID.into(), $module::MAJOR) };
                        // SAFETY: the table is the one for this state and this interface.
                        unsafe { $module::Client::new(host.state, table) }
                    },)*
                }
            }
        }
    };
}
clients!(
    audit, console, database, events, http, identity, limits, log, services, sessions, settings, storage,
    timers
);

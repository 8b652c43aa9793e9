//! The door to the host, both sides of it: how a host opens one, and how a plugin walks through.

use std::ffi::c_void;

use crate::{
    bytes::Slice,
    interfaces::{
        audit, console, database, events, http, identity, limits, log, services, sessions, settings, storage,
        timers,
    },
    root::HostRef,
};

/// Everything that a host offers, in safe Rust. [`export`] makes it callable across the boundary.
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
    /// Whether the plugin may have this interface: its manifest declares the capability, or all may have it.
    fn grants(&self, interface: &str) -> bool;
}

/// Opens a door to `host`, which lives as long as the process since a library is never unloaded.
pub fn export<H: HostServices>(host: &'static H) -> HostRef {
    HostRef { state: std::ptr::from_ref(host).cast(), get_interface: get_interface::<H> }
}

/// The same door, walked through at once: for a plugin that lives in the host's own binary, as in a test.
pub fn clients<H: HostServices>(host: &'static H) -> HostClients {
    // SAFETY: `export` made the door.
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
        /// The host's interfaces as a plugin sees them: `None` where the host has none or the manifest does not
        /// declare the capability.
        #[derive(Clone, Copy)]
        pub struct HostClients {
            $(
                #[doc = concat!("The interface `", stringify!($module), "`.")]
                pub $module: Option<$module::Client>,
            )*
        }

        impl HostClients {
            /// Walks through the door.
            ///
            /// # Safety
            /// `host` must be what [`export`] answered on the other side.
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

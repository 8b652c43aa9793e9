//! The plugin's side of the root: turns a safe implementation of [`PluginExport`] into the exported functions. It
//! is written once here, so that an extension's crate needs no `unsafe`.

use std::ffi::c_void;

use crate::{
    bytes::Slice,
    error::{RawError, RawResult},
    future::{self, RawFuture},
    host::HostClients,
    interfaces::{commands, hooks, jobs, lifecycle, offered},
    request::{RawRequest, Request},
    response::RawResponse,
    root::{Created, Descriptor, HostRef, PluginRoot, PluginRootRef},
};

/// A plugin instance, implemented by the SDK.
pub trait PluginExport:
    commands::Server + hooks::Server + jobs::Server + lifecycle::Server + offered::Server + Sized
{
    /// Creates the instance. Also returns its registration, as JSON.
    fn create(host: HostClients) -> Result<(Self, Vec<u8>), RawError>;
    /// Handles a request to the route registered at this position.
    fn handle(&self, route: u32, request: Request) -> RawFuture<RawResponse>;
    /// Shuts the plugin down. The instance is dropped afterwards.
    fn shut_down(&self) -> impl Future<Output = Result<(), RawError>> + Send;
}

/// Returns the root of a library that exports `P`.
pub fn root<P: PluginExport>(descriptor: extern "C" fn() -> Descriptor) -> PluginRootRef {
    use crate::abi_stable::prefix_type::PrefixTypeTrait;
    PluginRoot {
        descriptor,
        create: create::<P>,
        handle: handle::<P>,
        get_interface: get_interface::<P>,
        shut_down: shut_down::<P>,
    }
    .leak_into_prefix()
}

unsafe extern "C" fn create<P: PluginExport>(host: HostRef) -> RawResult<Created> {
    // SAFETY: the host passes what `host::export` returned.
    let clients = unsafe { HostClients::open(host) };
    future::catch(|| {
        let (plugin, registration) = P::create(clients)?;
        Ok(Created { instance: Box::into_raw(Box::new(plugin)).cast(), registration: registration.into() })
    })
    .into()
}

unsafe extern "C" fn handle<P: PluginExport>(
    instance: *const c_void,
    route: u32,
    request: RawRequest,
) -> RawFuture<RawResponse> {
    // SAFETY: the host passes the instance of `create`, before `shut_down`.
    let plugin = unsafe { &*instance.cast::<P>() };
    // SAFETY: the host keeps the guarantees of `RawRequest`.
    let request = unsafe { Request::from_raw(request) };
    match future::catch(|| Ok(plugin.handle(route, request))) {
        Ok(answer) => answer,
        Err(error) => future::ready(Err(error)),
    }
}

unsafe extern "C" fn get_interface<P: PluginExport>(id: Slice<'_>, major: u16) -> *const c_void {
    match (id.text().unwrap_or_default(), major) {
        (commands::ID, commands::MAJOR) => commands::table::<P>(),
        (hooks::ID, hooks::MAJOR) => hooks::table::<P>(),
        (jobs::ID, jobs::MAJOR) => jobs::table::<P>(),
        (lifecycle::ID, lifecycle::MAJOR) => lifecycle::table::<P>(),
        (offered::ID, offered::MAJOR) => offered::table::<P>(),
        _ => std::ptr::null(),
    }
}

unsafe extern "C" fn shut_down<P: PluginExport>(instance: *mut c_void) -> RawFuture<()> {
    // SAFETY: made by `Box::into_raw` in `create`; the host calls this once and nothing after it.
    let instance = unsafe { Box::from_raw(instance.cast::<P>()) };
    future::guard(async move {
        let outcome = instance.shut_down().await;
        drop(instance);
        outcome
    })
}

/// Exports a plugin from a library: its root under the name that `abi_stable` looks up.
#[macro_export]
macro_rules! export_plugin {
    ($plugin:ty, $manifest:expr, $sha256:expr, $sdk_version:expr) => {
        const _: () = {
            use $crate::abi_stable::library::{CheckTypeLayout, LibHeader, RootModuleResult};

            extern "C" fn descriptor() -> $crate::root::Descriptor {
                $crate::root::Descriptor {
                    abi_major: $crate::ABI_MAJOR,
                    abi_minor: $crate::ABI_MINOR,
                    panics_unwind: cfg!(panic = "unwind") as u8,
                    manifest: $crate::abi_stable::std_types::RStr::from_str($manifest),
                    manifest_sha256: $sha256,
                    sdk_version: $crate::abi_stable::std_types::RStr::from_str($sdk_version),
                }
            }

            fn root() -> $crate::root::PluginRootRef {
                $crate::export::root::<$plugin>(descriptor)
            }

            extern "C" fn load() -> RootModuleResult {
                $crate::abi_stable::library::__call_root_module_loader(root)
            }

            #[unsafe(export_name = "_1as_0lib_1header_0root_bmodule_bloader")]
            static HEADER: LibHeader =
                // SAFETY: `load` returns a `PluginRootRef`, the type the header is made for.
                unsafe {
                    LibHeader::from_constructor::<$crate::root::PluginRootRef>(load, CheckTypeLayout::Yes)
                };
        };
    };
}

/// Returns the error for a call that the plugin never registered for.
pub fn not_registered<T: Send + 'static>(what: &str) -> RawFuture<T> {
    future::ready(Err(RawError::new(500, "not_registered", format!("the plugin registered no such {what}"))))
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_exported_name_is_the_one_that_abi_stable_looks_for() {
        assert_eq!(abi_stable::library::ROOT_MODULE_LOADER_NAME, "_1as_0lib_1header_0root_bmodule_bloader");
    }
}

//! The root of a plugin's library, which `abi_stable` checks when it opens the library. Frozen within an ABI major:
//! no type reachable from here changes; new functions go through `get_interface`.

use std::ffi::c_void;

use abi_stable::{StableAbi, library::RootModule, sabi_types::VersionStrings, std_types::RStr};

use crate::{
    bytes::{Bytes, Slice},
    error::RawResult,
    future::RawFuture,
    request::RawRequest,
    response::RawResponse,
};

/// The description of a library, available before any of its other code runs.
#[repr(C)]
#[derive(Clone, Copy, StableAbi)]
pub struct Descriptor {
    /// The ABI major it was built for.
    pub abi_major: u16,
    /// The ABI minor it was built for.
    pub abi_minor: u16,
    /// 1 if panics unwind. A library built to abort on panics is rejected.
    pub panics_unwind: u8,
    /// The extension's manifest, as it was when the library was built.
    pub manifest: RStr<'static>,
    /// The manifest's SHA-256.
    pub manifest_sha256: [u8; 32],
    /// The SDK's version.
    pub sdk_version: RStr<'static>,
}

/// The plugin's handle to the host, which gives access to its interfaces.
#[repr(C)]
#[derive(Clone, Copy, StableAbi)]
pub struct HostRef {
    /// The host's state for this plugin; lives as long as the process.
    pub state: *const c_void,
    /// Returns a table by its id and major, or null if this host has none or the manifest does not declare it.
    pub get_interface: unsafe extern "C" fn(state: *const c_void, id: Slice<'_>, major: u16) -> *const c_void,
}

// SAFETY: the host's state is shared between threads by contract.
unsafe impl Send for HostRef {}
// SAFETY: as above.
unsafe impl Sync for HostRef {}

/// A created plugin.
#[repr(C)]
#[derive(StableAbi)]
pub struct Created {
    /// The instance, passed to `shut_down` once.
    pub instance: *mut c_void,
    /// The plugin's registration, as JSON.
    pub registration: Bytes,
}

// SAFETY: an instance may be used from any thread by contract.
unsafe impl Send for Created {}

/// The functions that every plugin's library exports.
#[repr(C)]
#[derive(StableAbi)]
#[sabi(kind(Prefix(prefix_ref = PluginRootRef, prefix_fields = PluginRootPrefix)))]
pub struct PluginRoot {
    /// Returns the description of the library.
    pub descriptor: extern "C" fn() -> Descriptor,
    /// Creates the plugin. Called at most once per generation, outside the async threads.
    pub create: unsafe extern "C" fn(host: HostRef) -> RawResult<Created>,
    /// Handles a request to the route that was registered at this position.
    pub handle: unsafe extern "C" fn(
        instance: *const c_void,
        route: u32,
        request: RawRequest,
    ) -> RawFuture<RawResponse>,
    /// Returns a table of the plugin by its id and major, or null.
    pub get_interface: unsafe extern "C" fn(id: Slice<'_>, major: u16) -> *const c_void,
    /// Shuts the plugin down. Nothing else is called during or after it.
    #[sabi(last_prefix_field)]
    pub shut_down: unsafe extern "C" fn(instance: *mut c_void) -> RawFuture<()>,
}

impl RootModule for PluginRootRef {
    abi_stable::declare_root_module_statics! {PluginRootRef}
    const BASE_NAME: &'static str = "tinybase_plugin";
    const NAME: &'static str = "tinybase_plugin";
    const VERSION_STRINGS: VersionStrings = ROOT_VERSION;
}

/// The root's version as `abi_stable` compares it: the ABI's, not the crate's.
const ROOT_VERSION: VersionStrings = VersionStrings::new("1.0.0");

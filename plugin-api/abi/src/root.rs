//! The root of a plugin's library: what `abi_stable` checks when it opens one. Frozen within an ABI major: no type
//! reachable from here changes; growth goes through `get_interface`.

use std::ffi::c_void;

use abi_stable::{StableAbi, library::RootModule, sabi_types::VersionStrings, std_types::RStr};

use crate::{
    bytes::{Bytes, Slice},
    error::RawResult,
    future::RawFuture,
    request::RawRequest,
    response::RawResponse,
};

/// What a library says of itself before anything of it runs.
#[repr(C)]
#[derive(Clone, Copy, StableAbi)]
pub struct Descriptor {
    /// The ABI major that it was built for.
    pub abi_major: u16,
    /// The ABI minor that it was built for.
    pub abi_minor: u16,
    /// 1 where panics unwind; a library built to abort is refused.
    pub panics_unwind: u8,
    /// The extension's manifest, as it was when the library was built.
    pub manifest: RStr<'static>,
    /// The manifest's SHA-256.
    pub manifest_sha256: [u8; 32],
    /// The SDK's version.
    pub sdk_version: RStr<'static>,
}

/// The host as a plugin first meets it: a door to its interfaces.
#[repr(C)]
#[derive(Clone, Copy, StableAbi)]
pub struct HostRef {
    /// The host's state for this plugin; lives as long as the process.
    pub state: *const c_void,
    /// A table by its id and major, or null where this host has none or the manifest does not declare it.
    pub get_interface: unsafe extern "C" fn(state: *const c_void, id: Slice<'_>, major: u16) -> *const c_void,
}

// SAFETY: the host's state is shared between threads by contract.
unsafe impl Send for HostRef {}
// SAFETY: as above.
unsafe impl Sync for HostRef {}

/// A plugin that was created.
#[repr(C)]
#[derive(StableAbi)]
pub struct Created {
    /// Its instance; given back to `shut_down` once.
    pub instance: *mut c_void,
    /// What it registers, as JSON.
    pub registration: Bytes,
}

// SAFETY: an instance may be used from any thread by contract.
unsafe impl Send for Created {}

/// What every plugin's library exports.
#[repr(C)]
#[derive(StableAbi)]
#[sabi(kind(Prefix(prefix_ref = PluginRootRef, prefix_fields = PluginRootPrefix)))]
pub struct PluginRoot {
    /// Says what the library is.
    pub descriptor: extern "C" fn() -> Descriptor,
    /// Makes the plugin. Called at most once a generation, off the async threads.
    pub create: unsafe extern "C" fn(host: HostRef) -> RawResult<Created>,
    /// Answers a request to the route that was registered at this position.
    pub handle: unsafe extern "C" fn(
        instance: *const c_void,
        route: u32,
        request: RawRequest,
    ) -> RawFuture<RawResponse>,
    /// A table of the plugin by its id and major, or null.
    pub get_interface: unsafe extern "C" fn(id: Slice<'_>, major: u16) -> *const c_void,
    /// Ends the plugin. Nothing else is called during or after it.
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

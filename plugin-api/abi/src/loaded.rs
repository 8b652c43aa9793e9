//! The host's side of the root: opens a plugin's library and calls it. It never closes a library, and decides nothing
//! about manifests or about what a plugin may register.

use std::{ffi::c_void, mem::ManuallyDrop, path::Path};

use abi_stable::library::{LibHeader, LibraryError, RawLibrary, lib_header_from_raw_library};

use crate::{
    ABI_MAJOR, ABI_MAJOR_OLDEST,
    bytes::Bytes,
    error::RawError,
    future::RawFuture,
    host::{self, HostServices},
    interfaces::{commands, hooks, jobs, lifecycle, offered},
    request::{self, BoxedRequest, HostRequest},
    response::RawResponse,
    root::PluginRootRef,
};

/// The reason why a library was not opened as a plugin. Each message states in one line the problem and what to do.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The system's loader rejected it.
    #[error("it is not a library that this machine can load ({0}): install the build for this target")]
    NotALibrary(String),
    /// It exports no root.
    #[error(
        "it is a library, but not a TinyBase extension: its crate has no `#[tinybase_plugin_api::export]`"
    )]
    NoRoot,
    /// It was built with another major of the library that the ABI is based on.
    #[error("it was built with an incompatible abi_stable ({0}): build it again with this host's SDK")]
    Header(String),
    /// This host does not accept its ABI major.
    #[error(
        "it was built for ABI {found}, and this host accepts {ABI_MAJOR_OLDEST} to {ABI_MAJOR}: {}",
        if *found > ABI_MAJOR.into() { "update TinyBase" } else { "update the extension" }
    )]
    AbiMajor {
        /// The library's ABI major.
        found: u32,
    },
    /// A type of the ABI has a different layout on its side.
    #[error("it was built against another layout of the boundary: build it again with the SDK that it names")]
    Layout {
        /// Which types differ and how; many lines.
        detail: String,
    },
    /// It was built to abort on a panic, which would end the host.
    #[error(
        "it was built with `panic = \"abort\"`, which would end the server: build it with `panic = \"unwind\"`"
    )]
    PanicAborts,
    /// Its root could not be created.
    #[error("it failed while its root was made: {0}")]
    Root(String),
}

impl OpenError {
    /// Returns a stable snake_case code for the error.
    pub fn code(&self) -> &'static str {
        match self {
            OpenError::NotALibrary(_) => "not_a_library",
            OpenError::NoRoot => "not_an_extension",
            OpenError::Header(_) => "abi_header_incompatible",
            OpenError::AbiMajor { .. } => "abi_major_unsupported",
            OpenError::Layout { .. } => "abi_layout_differs",
            OpenError::PanicAborts => "panic_aborts",
            OpenError::Root(_) => "root_failed",
        }
    }
}

/// Opens the library at `path`. It stays open as long as the process lives.
///
/// # Errors
/// See [`OpenError`].
///
/// # Safety
/// Opening runs the library's own code. The caller must have verified the bytes at `path`, and nothing may change them
/// while the process lives.
pub unsafe fn open(path: &Path) -> Result<LoadedRoot, OpenError> {
    // Never dropped, which would close it: its code may already have threads and thread-locals.
    let library = ManuallyDrop::new(RawLibrary::load_at(path).map_err(refused)?);
    // SAFETY: the library is never closed.
    let header = unsafe { lib_header_from_raw_library(&library) }.map_err(refused)?;
    let root = root_of(header)?;
    let root = LoadedRoot { root };
    let descriptor = root.descriptor();
    if !(ABI_MAJOR_OLDEST..=ABI_MAJOR).contains(&descriptor.abi_major) {
        return Err(OpenError::AbiMajor { found: descriptor.abi_major.into() });
    }
    if !descriptor.panics_unwind {
        return Err(OpenError::PanicAborts);
    }
    Ok(root)
}

fn root_of(header: &'static LibHeader) -> Result<PluginRootRef, OpenError> {
    if header.layout().is_none() {
        return Err(OpenError::Layout { detail: "the library carries no layout to compare".to_owned() });
    }
    header.init_root_module::<PluginRootRef>().map_err(refused)
}

/// Converts an error of `abi_stable`.
fn refused(error: LibraryError) -> OpenError {
    match error {
        LibraryError::OpenError { err, .. } => OpenError::NotALibrary(one_line(&err.to_string())),
        LibraryError::GetSymbolError { .. } => OpenError::NoRoot,
        LibraryError::InvalidAbiHeader(found) => {
            OpenError::Header(format!("{}.{}", found.abi_major, found.abi_minor))
        }
        LibraryError::IncompatibleVersionNumber { actual_version, .. } => {
            OpenError::AbiMajor { found: actual_version.major }
        }
        LibraryError::AbiInstability(detail) => OpenError::Layout { detail: detail.to_string() },
        LibraryError::InvalidCAbi { .. } => OpenError::Layout { detail: error.to_string() },
        LibraryError::RootModule { err, .. } => OpenError::Root(one_line(&err.to_string())),
        other => OpenError::Root(one_line(&other.to_string())),
    }
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The parsed description of a library.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Description {
    /// The ABI major it was built for.
    pub abi_major: u16,
    /// The ABI minor it was built for.
    pub abi_minor: u16,
    /// Whether panics unwind in it.
    pub panics_unwind: bool,
    /// The extension's manifest, as it was when the library was built. Invalid UTF-8 is replaced.
    pub manifest: String,
    /// The manifest's SHA-256, as stated by the library.
    pub manifest_sha256: [u8; 32],
    /// The SDK's version.
    pub sdk_version: String,
}

/// The root of an opened library.
#[derive(Clone, Copy)]
pub struct LoadedRoot {
    root: PluginRootRef,
}

impl LoadedRoot {
    /// Returns the description of the library.
    pub fn descriptor(&self) -> Description {
        let raw = (self.root.descriptor())();
        Description {
            abi_major: raw.abi_major,
            abi_minor: raw.abi_minor,
            panics_unwind: raw.panics_unwind != 0,
            manifest: String::from_utf8_lossy(raw.manifest.as_bytes()).into_owned(),
            manifest_sha256: raw.manifest_sha256,
            sdk_version: String::from_utf8_lossy(raw.sdk_version.as_bytes()).into_owned(),
        }
    }

    /// Creates an instance of the plugin. May block for any time: call it outside the async threads.
    ///
    /// # Errors
    /// The plugin's error, or `plugin_panicked`.
    pub fn create<H: HostServices>(&self, host: &'static H) -> Result<LoadedInstance, RawError> {
        // SAFETY: the handle was made by `export` for a host that lives as long as the process.
        let created = unsafe { (self.root.create())(host::export(host)) }.into_result()?;
        Ok(LoadedInstance { root: self.root, instance: created.instance, registration: created.registration })
    }
}

/// A created plugin. If it is dropped without [`LoadedInstance::shut_down`], the plugin stays alive.
pub struct LoadedInstance {
    root: PluginRootRef,
    instance: *mut c_void,
    registration: Bytes,
}

// SAFETY: an instance may be used from any thread by contract.
unsafe impl Send for LoadedInstance {}
// SAFETY: as above.
unsafe impl Sync for LoadedInstance {}

macro_rules! plugin_interfaces {
    ($($module:ident;)*) => {
        impl LoadedInstance {$(
            #[doc = concat!("The plugin's interface `", stringify!($module), "`; `None` where it has none.")]
            pub fn $module(&self) -> Option<$module::Client> {
                // SAFETY: the id is only borrowed for the call.
                let table = unsafe { (self.root.get_interface())($module::ID.into(), $module::MAJOR) };
                // SAFETY: the table is this interface's for instances of this library, and `shut_down` requires
                // that no client is used after it.
                unsafe { $module::Client::new(self.instance, table) }
            }
        )*}
    };
}
plugin_interfaces! {
    lifecycle;
    hooks;
    jobs;
    commands;
    offered;
}

impl LoadedInstance {
    /// Returns the plugin's registration, as JSON that is not validated yet.
    pub fn registration(&self) -> &[u8] {
        &self.registration
    }

    /// Passes a request to the route that was registered at this position. The request is dropped when the plugin
    /// is done with it.
    pub fn handle<R: HostRequest>(&self, route: u32, request: BoxedRequest<R>) -> RawFuture<RawResponse> {
        // SAFETY: the instance is alive, since `shut_down` takes `self`.
        unsafe { (self.root.handle())(self.instance, route, request::into_raw(request)) }
    }

    /// Shuts the plugin down.
    ///
    /// # Safety
    /// Nothing else of this instance may be called or polled during or after it: no future it returned may be left,
    /// and none of the clients of its interfaces may be used again.
    pub unsafe fn shut_down(self) -> RawFuture<()> {
        // SAFETY: guaranteed by this function's contract; the instance is passed back once, since `self` is taken.
        unsafe { (self.root.shut_down())(self.instance) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open_error(path: &Path) -> OpenError {
        // SAFETY: no library at these paths has code of its own.
        match unsafe { open(path) } {
            Ok(_) => panic!("{} was opened", path.display()),
            Err(error) => error,
        }
    }

    #[test]
    fn what_is_no_library_is_refused_in_one_line() {
        for path in
            [Path::new("no/such/file.so"), Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml"))]
        {
            let error = open_error(path);
            assert_eq!(error.code(), "not_a_library");
            assert!(!error.to_string().contains('\n'), "{error}");
        }
    }

    #[test]
    fn the_error_of_another_major_says_who_must_be_updated() {
        let newer = OpenError::AbiMajor { found: u32::from(ABI_MAJOR) + 1 }.to_string();
        let older = OpenError::AbiMajor { found: 0 }.to_string();
        assert!(newer.ends_with("update TinyBase"), "{newer}");
        assert!(older.ends_with("update the extension"), "{older}");
    }
}

//! A plugin whose descriptor declares a future ABI.

use tinybase_abi::{
    abi_stable::{
        library::{CheckTypeLayout, LibHeader, RootModuleResult},
        std_types::RStr,
    },
    export,
    root::{Descriptor, PluginRootRef},
};
use tinybase_plugin_api::{prelude::*, private::Instance};

struct Future;

impl Plugin for Future {
    fn create(_host: Host) -> Result<Future> {
        Ok(Future)
    }

    fn register(_registry: &mut Registry<Future>) {}
}

extern "C" fn descriptor() -> Descriptor {
    Descriptor {
        abi_major: 99,
        abi_minor: 0,
        panics_unwind: 1,
        manifest: RStr::from_str(""),
        manifest_sha256: [0; 32],
        sdk_version: RStr::from_str("99.0.0"),
    }
}

fn root() -> PluginRootRef {
    export::root::<Instance<Future>>(descriptor)
}

extern "C" fn load() -> RootModuleResult {
    tinybase_abi::abi_stable::library::__call_root_module_loader(root)
}

#[unsafe(export_name = "_1as_0lib_1header_0root_bmodule_bloader")]
static HEADER: LibHeader =
    // SAFETY: `load` returns a `PluginRootRef`.
    unsafe { LibHeader::from_constructor::<PluginRootRef>(load, CheckTypeLayout::Yes) };

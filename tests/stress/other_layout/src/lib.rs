//! A library whose root has the right version and a different layout.

use tinybase_abi::abi_stable::{
    self, StableAbi,
    library::{CheckTypeLayout, LibHeader, RootModule, RootModuleResult},
    prefix_type::PrefixTypeTrait,
    sabi_types::VersionStrings,
};

#[repr(C)]
#[derive(StableAbi)]
#[sabi(kind(Prefix(prefix_ref = PluginRootRef, prefix_fields = PluginRootPrefix)))]
pub struct PluginRoot {
    #[sabi(last_prefix_field)]
    pub descriptor: extern "C" fn() -> u64,
}

impl RootModule for PluginRootRef {
    abi_stable::declare_root_module_statics! {PluginRootRef}
    const BASE_NAME: &'static str = "tinybase_plugin";
    const NAME: &'static str = "tinybase_plugin";
    const VERSION_STRINGS: VersionStrings = VersionStrings::new("1.0.0");
}

extern "C" fn descriptor() -> u64 {
    7
}

fn root() -> PluginRootRef {
    PluginRoot { descriptor }.leak_into_prefix()
}

extern "C" fn load() -> RootModuleResult {
    abi_stable::library::__call_root_module_loader(root)
}

#[unsafe(export_name = "_1as_0lib_1header_0root_bmodule_bloader")]
static HEADER: LibHeader =
    // SAFETY: `load` returns a `PluginRootRef`.
    unsafe { LibHeader::from_constructor::<PluginRootRef>(load, CheckTypeLayout::Yes) };

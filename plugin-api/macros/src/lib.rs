//! The attribute that exports a plugin from its library and embeds the extension's manifest. It generates only the
//! export call.

use proc_macro::TokenStream;
use proc_macro2::Span;
use quote::quote;
use sha2::{Digest, Sha256};
use syn::{Error, ItemImpl, LitByteStr, LitStr, parse_macro_input};

/// The marks before and after the manifest in the library. A tool finds the manifest by them in a library of any
/// target, without loading it. `package/src/library.rs` searches for them.
const MANIFEST_BEGIN: &str = "\0tinybase-manifest-begin\0";
const MANIFEST_END: &str = "\0tinybase-manifest-end\0";

/// Exports the annotated implementation of `Plugin` from this library.
///
/// The manifest is `extension.toml` in the crate's folder, or the file named in the attribute:
/// `#[export(manifest = "path/from/the/crate")]`.
#[proc_macro_attribute]
pub fn export(arguments: TokenStream, item: TokenStream) -> TokenStream {
    let item = parse_macro_input!(item as ItemImpl);
    expand(arguments.into(), &item).unwrap_or_else(Error::into_compile_error).into()
}

fn expand(arguments: proc_macro2::TokenStream, item: &ItemImpl) -> Result<proc_macro2::TokenStream, Error> {
    let manifest_name = manifest_name(arguments)?;
    let folder = std::env::var("CARGO_MANIFEST_DIR")
        .map_err(|_| Error::new(Span::call_site(), "CARGO_MANIFEST_DIR is not set: build with cargo"))?;
    let path = std::path::Path::new(&folder).join(&manifest_name);
    let path_text = path.display().to_string();
    let manifest = std::fs::read(&path).map_err(|error| {
        let message = format!("cannot read the extension's manifest {path_text}: {error}");
        Error::new(Span::call_site(), message)
    })?;
    let digest = LitByteStr::new(&Sha256::digest(&manifest), Span::call_site());
    let plugin = &item.self_ty;
    let (begin, end) = (MANIFEST_BEGIN.len(), MANIFEST_END.len());
    // `include_str!` makes cargo rebuild the library when the manifest changes.
    Ok(quote! {
        #item
        ::tinybase_plugin_api::private::export_plugin!(
            ::tinybase_plugin_api::private::Instance<#plugin>,
            {
                const CARRIED: &str = concat!(#MANIFEST_BEGIN, include_str!(#path_text), #MANIFEST_END);
                // A slice of the embedded text, so that the marks stay in the library together with it.
                const MANIFEST: &str = {
                    let (_, rest) = CARRIED.as_bytes().split_at(#begin);
                    let (manifest, _) = rest.split_at(rest.len() - #end);
                    match ::core::str::from_utf8(manifest) {
                        Ok(manifest) => manifest,
                        Err(_) => panic!("a manifest is UTF-8"),
                    }
                };
                MANIFEST
            },
            *#digest,
            ::tinybase_plugin_api::private::VERSION
        );
    })
}

fn manifest_name(arguments: proc_macro2::TokenStream) -> Result<String, Error> {
    if arguments.is_empty() {
        return Ok("extension.toml".to_owned());
    }
    let pair: syn::MetaNameValue = syn::parse2(arguments)?;
    if !pair.path.is_ident("manifest") {
        return Err(Error::new_spanned(pair.path, "the only argument is `manifest = \"file\"`"));
    }
    let syn::Expr::Lit(syn::ExprLit { lit: syn::Lit::Str(name), .. }) = &pair.value else {
        return Err(Error::new_spanned(pair.value, "the manifest is a path in quotes"));
    };
    Ok(LitStr::value(name))
}

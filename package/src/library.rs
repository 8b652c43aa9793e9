//! Checks whether a library was built with the manifest next to it. It reads the library's bytes, for any target, and
//! never loads it.

use std::fs;

use memchr::memmem;

use crate::{
    manifest::FILE_NAME,
    unpacked::{Package, PackageError, file_error},
};

/// The mark before the manifest in a library, written by the SDK, so that no part of another manifest matches.
const MANIFEST_BEGIN: &[u8] = b"\0tinybase-manifest-begin\0";
/// The mark after the manifest.
const MANIFEST_END: &[u8] = b"\0tinybase-manifest-end\0";

/// Checks that the library of a package contains exactly the manifest of that package.
///
/// # Errors
/// [`PackageError::LibraryDiffers`] if it contains another one or none; [`PackageError::File`].
pub fn check_library(package: &Package) -> Result<(), PackageError> {
    let read = |path: std::path::PathBuf| fs::read(&path).map_err(file_error(&path));
    let (library, manifest) = (read(package.library())?, read(package.folder.join(FILE_NAME))?);
    if carries(&library, &manifest) {
        return Ok(());
    }
    Err(PackageError::LibraryDiffers { library: package.manifest.library_file() })
}

fn carries(library: &[u8], manifest: &[u8]) -> bool {
    let is_marked = memmem::find(library, MANIFEST_BEGIN).is_some();
    // Libraries built with the first SDKs contain the manifest without the marks.
    let wanted =
        if is_marked { [MANIFEST_BEGIN, manifest, MANIFEST_END].concat() } else { manifest.to_owned() };
    memmem::find(library, &wanted).is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_library_carries_one_manifest() {
        let marked =
            |manifest: &[u8]| [b"\x7fELF code", MANIFEST_BEGIN, manifest, MANIFEST_END, b"more"].concat();
        let unmarked = |manifest: &[u8]| [b"\x7fELF code", manifest, b"more"].concat();
        let long: &[u8] = b"name = \"a\"\nversion = \"0.1.0\"\n";
        assert!(carries(&marked(long), long) && carries(&unmarked(long), long));
        for other in [&long[..10], &long[11..], b"name = \"b\"\nversion = \"0.1.0\"\n"] {
            assert!(!carries(&marked(long), other), "{other:?}");
        }
        assert!(!carries(&unmarked(long), b"name = \"b\"\n"));
        assert!(!carries(b"", long));
    }
}

//! The kinds of errors of an archive, each with a code that never changes. The messages are written where the errors
//! occur.

macro_rules! faults {
    ($($(#[$doc:meta])* $name:ident = $code:literal,)*) => {
        /// The kind of error of an archive.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Fault {
            $($(#[$doc])* $name,)*
        }

        impl Fault {
            /// All kinds.
            pub const ALL: &'static [Fault] = &[$(Fault::$name,)*];

            /// Returns the stable code.
            pub fn code(self) -> &'static str {
                match self {
                    $(Fault::$name => $code,)*
                }
            }
        }
    };
}

faults! {
    /// Reading or writing failed.
    Io = "archive_io",
    /// The target folder exists already.
    FolderExists = "archive_folder_exists",
    /// The folder to pack, or the unpacked folder, is not a valid extension.
    Package = "archive_package_invalid",
    /// It is not zstd.
    NotZstd = "archive_not_zstd",
    /// It cannot be decompressed: bytes were changed, or its window is larger than allowed.
    Damaged = "archive_damaged",
    /// It ends too early.
    Truncated = "archive_truncated",
    /// There are bytes after its end.
    TrailingBytes = "archive_trailing_bytes",
    /// The content is not a tar.
    NotTar = "archive_not_tar",
    /// A header or the padding of an entry differs from what the packer writes.
    HeaderOdd = "archive_header_odd",
    /// It does not begin with the list of its files.
    IndexMissing = "archive_index_missing",
    /// The list is malformed.
    IndexInvalid = "archive_index_invalid",
    /// Its format is unknown to this version.
    Format = "archive_format_unknown",
    /// A path leads outside the folder.
    PathTraversal = "archive_path_traversal",
    /// A path is absolute.
    PathAbsolute = "archive_path_absolute",
    /// A path contains characters that are not allowed in an extension.
    PathOdd = "archive_path_odd",
    /// An entry is a link.
    Link = "archive_entry_link",
    /// An entry is a device.
    Device = "archive_entry_device",
    /// An entry is a pipe.
    Fifo = "archive_entry_fifo",
    /// An entry is a folder.
    Folder = "archive_entry_folder",
    /// An entry is not a regular file.
    Kind = "archive_entry_kind",
    /// Two files have the same name, names that differ only in case, or one is a parent folder of the other.
    Duplicate = "archive_duplicate",
    /// A file is not in the list.
    Unlisted = "archive_file_unlisted",
    /// A file in the list is missing.
    Missing = "archive_file_missing",
    /// A file does not belong to an extension.
    Foreign = "archive_file_foreign",
    /// A file's length differs from the list.
    Length = "archive_length_differs",
    /// A file's hash differs from the list.
    Hash = "archive_hash_differs",
    /// All files together are larger than allowed.
    TooLarge = "archive_too_large",
    /// A file is larger than allowed.
    FileTooLarge = "archive_file_too_large",
    /// There are more files than allowed.
    TooManyFiles = "archive_too_many_files",
    /// The ratio of unpacked to packed size is too large.
    Ratio = "archive_ratio",
    /// The manifest's name or version differs from the list.
    Manifest = "archive_manifest_differs",
    /// It was built for another target.
    Target = "archive_target_differs",
}

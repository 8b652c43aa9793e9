//! The kinds of faults of an archive, each with a code that never changes. The words are said where the fault is found.

macro_rules! faults {
    ($($(#[$doc:meta])* $name:ident = $code:literal,)*) => {
        /// What is wrong with an archive.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Fault {
            $($(#[$doc])* $name,)*
        }

        impl Fault {
            /// All of them.
            pub const ALL: &'static [Fault] = &[$(Fault::$name,)*];

            /// A stable code.
            pub fn code(self) -> &'static str {
                match self {
                    $(Fault::$name => $code,)*
                }
            }
        }
    };
}

faults! {
    /// The disk refused to read or write.
    Io = "archive_io",
    /// The folder that it is unpacked into is there already.
    FolderExists = "archive_folder_exists",
    /// The folder that it is packed from is no extension, or the unpacked files are none.
    Package = "archive_package_invalid",
    /// It is no zstd.
    NotZstd = "archive_not_zstd",
    /// It cannot be decompressed: bytes changed, or its window is larger than allowed.
    Damaged = "archive_damaged",
    /// It ends too early.
    Truncated = "archive_truncated",
    /// There is more behind its end.
    TrailingBytes = "archive_trailing_bytes",
    /// What is in it is no tar.
    NotTar = "archive_not_tar",
    /// A header or the padding of an entry is not as the packer writes it.
    HeaderOdd = "archive_header_odd",
    /// It does not begin with the list of its files.
    IndexMissing = "archive_index_missing",
    /// The list is malformed.
    IndexInvalid = "archive_index_invalid",
    /// It is of a form that this version does not know.
    Format = "archive_format_unknown",
    /// A path leads out of the folder.
    PathTraversal = "archive_path_traversal",
    /// A path is absolute.
    PathAbsolute = "archive_path_absolute",
    /// A path has characters that no file of an extension has.
    PathOdd = "archive_path_odd",
    /// An entry is a link.
    Link = "archive_entry_link",
    /// An entry is a device.
    Device = "archive_entry_device",
    /// An entry is a pipe.
    Fifo = "archive_entry_fifo",
    /// An entry is a folder.
    Folder = "archive_entry_folder",
    /// An entry is of another kind than a plain file.
    Kind = "archive_entry_kind",
    /// Two files have one name, or names that differ by case alone, or one is a folder of the other.
    Duplicate = "archive_duplicate",
    /// A file is not in the list.
    Unlisted = "archive_file_unlisted",
    /// A file of the list is missing.
    Missing = "archive_file_missing",
    /// A file belongs to no extension.
    Foreign = "archive_file_foreign",
    /// A file's length is not what the list says.
    Length = "archive_length_differs",
    /// A file's hash is not what the list says.
    Hash = "archive_hash_differs",
    /// All files together are larger than allowed.
    TooLarge = "archive_too_large",
    /// A file is larger than allowed.
    FileTooLarge = "archive_file_too_large",
    /// There are more files than allowed.
    TooManyFiles = "archive_too_many_files",
    /// It would grow by more than allowed.
    Ratio = "archive_ratio",
    /// The manifest names another extension or version than the list.
    Manifest = "archive_manifest_differs",
    /// It is for another target.
    Target = "archive_target_differs",
}

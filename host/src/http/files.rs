//! Serves the files of one folder and nothing outside it. The kernel resolves each path beneath the folder. No link can
//! therefore lead out of it, not even one that is created between a check and the opening. It never decides which paths
//! may be requested.

use std::{
    ffi::OsStr,
    fs::File,
    io::{self, ErrorKind, SeekFrom},
    os::{fd::AsFd, unix::ffi::OsStrExt},
    path::{Component, Path, PathBuf},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use axum::{body::Body, extract::Request, response::Response};
use futures_util::future::BoxFuture;
use rustix::fs::{Mode, OFlags};
use tokio::io::{AsyncRead, AsyncSeek, ReadBuf};
use tower::ServiceExt;
use tower_http::services::fs::{Backend, File as ServedFile, ServeDir};

/// The flags for a file; with `NONBLOCK`, a pipe in its place does not block.
const READ: OFlags = OFlags::RDONLY.union(OFlags::CLOEXEC).union(OFlags::NONBLOCK);

/// The flags for a folder on the way to it.
const FOLDER: OFlags = OFlags::RDONLY.union(OFlags::CLOEXEC).union(OFlags::DIRECTORY);

/// Marks a response, as an extension, whose body is read from a file while it is sent: it occupies no memory.
#[derive(Debug, Clone, Copy)]
pub(crate) struct FromFile;

/// A folder whose files are served.
#[derive(Debug, Clone)]
pub(crate) struct Files {
    folder: Arc<Path>,
}

impl Files {
    pub(crate) fn new(folder: &Path) -> Files {
        Files { folder: folder.into() }
    }

    /// Returns the file at the request's path, a range of it, or an error response. For a folder it is its
    /// `index.html`.
    pub(crate) async fn serve(&self, request: Request) -> Response {
        let (mut parts, _) = request.into_parts();
        // A redirect contains only a path, never a host from the client.
        if let Some(path) = parts.uri.path_and_query().cloned() {
            parts.uri = path.into();
        }
        let dir = ServeDir::with_backend("", self.clone());
        let served = dir.oneshot(Request::from_parts(parts, Body::empty())).await;
        let mut response = served.unwrap_or_else(|never| match never {}).map(Body::new);
        response.extensions_mut().insert(FromFile);
        response
    }

    fn open_file(&self, path: &Path) -> io::Result<File> {
        let parts = path.components().filter_map(|part| match part {
            Component::CurDir => None,
            Component::Normal(name) => Some(Ok(name)),
            _ => Some(Err(ErrorKind::NotFound.into())),
        });
        let parts = parts.collect::<io::Result<Vec<&OsStr>>>()?;
        let folder = File::from(rustix::fs::open(&*self.folder, FOLDER, Mode::empty())?);
        beneath(&folder, &parts)
    }
}

/// Opens the file at this path beneath the folder. Links are followed as long as they stay inside.
#[cfg(any(target_os = "linux", target_os = "android"))]
fn beneath(folder: &File, parts: &[&OsStr]) -> io::Result<File> {
    use rustix::{fs::ResolveFlags, io::Errno};
    /// A concurrent rename anywhere on the machine may make an attempt inconclusive.
    const TRIES_MAX: usize = 8;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
    let mut path = parts.iter().collect::<PathBuf>();
    if path.as_os_str().is_empty() {
        path.push(".");
    }
    for _ in 0..TRIES_MAX {
        match rustix::fs::openat2(folder, &path, READ, Mode::empty(), resolve) {
            Ok(file) => return shown(folder, File::from(file), parts),
            Err(Errno::AGAIN) => {}
            // An older kernel, or one that filters the system call.
            Err(Errno::NOSYS | Errno::PERM | Errno::INVAL) => return step_by_step(folder, parts),
            Err(Errno::XDEV | Errno::LOOP) => break,
            Err(error) => return Err(error.into()),
        }
    }
    Err(ErrorKind::NotFound.into())
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
fn beneath(folder: &File, parts: &[&OsStr]) -> io::Result<File> {
    step_by_step(folder, parts)
}

/// Refuses a file that a link within the folder reached below a hidden name. Names that begin with two dots are not
/// hidden: Kubernetes updates volumes through them.
#[cfg(any(target_os = "linux", target_os = "android"))]
fn shown(folder: &File, file: File, parts: &[&OsStr]) -> io::Result<File> {
    use std::os::fd::AsRawFd;
    let place = |file: &File| std::fs::read_link(format!("/proc/self/fd/{}", file.as_raw_fd()));
    let (Ok(top), Ok(place)) = (place(folder), place(&file)) else { return step_by_step(folder, parts) };
    let below = place.strip_prefix(top).map_err(|_| ErrorKind::NotFound)?;
    let is_hidden = |name: &OsStr| name.as_bytes().starts_with(b".") && !name.as_bytes().starts_with(b"..");
    match below.iter().any(is_hidden) {
        true => Err(ErrorKind::NotFound.into()),
        false => Ok(file),
    }
}

/// Opens each part of the path relative to the one before it; none may be a link.
fn step_by_step(folder: &File, parts: &[&OsStr]) -> io::Result<File> {
    let open = |at: &dyn AsFd, name: &OsStr, flags: OFlags| {
        let opened = rustix::fs::openat(at.as_fd(), name, flags | OFlags::NOFOLLOW, Mode::empty());
        opened.map(File::from).map_err(|_| io::Error::from(ErrorKind::NotFound))
    };
    let Some((last, before)) = parts.split_last() else { return open(folder, OsStr::new("."), FOLDER) };
    let mut at = open(folder, OsStr::new("."), FOLDER)?;
    for part in before {
        at = open(&at, part, FOLDER)?;
    }
    open(&at, last, READ)
}

impl Backend for Files {
    type File = OpenFile;
    type Metadata = std::fs::Metadata;
    type OpenFuture = BoxFuture<'static, io::Result<OpenFile>>;
    type MetadataFuture = BoxFuture<'static, io::Result<std::fs::Metadata>>;

    fn open(&self, path: PathBuf) -> Self::OpenFuture {
        let files = self.clone();
        let open = move || {
            let file = files.open_file(&path)?;
            match file.metadata()?.is_file() {
                true => Ok(OpenFile(tokio::fs::File::from_std(file))),
                false => Err(ErrorKind::NotFound.into()),
            }
        };
        Box::pin(async { tokio::task::spawn_blocking(open).await? })
    }

    fn metadata(&self, path: PathBuf) -> Self::MetadataFuture {
        let files = self.clone();
        Box::pin(
            async move { tokio::task::spawn_blocking(move || files.open_file(&path)?.metadata()).await? },
        )
    }
}

/// A file that is being sent.
pub(crate) struct OpenFile(tokio::fs::File);

impl AsyncRead for OpenFile {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(context, buf)
    }
}

impl AsyncSeek for OpenFile {
    fn start_seek(mut self: Pin<&mut Self>, position: SeekFrom) -> io::Result<()> {
        Pin::new(&mut self.0).start_seek(position)
    }

    fn poll_complete(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<u64>> {
        Pin::new(&mut self.0).poll_complete(context)
    }
}

impl ServedFile for OpenFile {
    type Metadata = std::fs::Metadata;
    type MetadataFuture<'a> = BoxFuture<'a, io::Result<std::fs::Metadata>>;

    fn metadata(&self) -> Self::MetadataFuture<'_> {
        Box::pin(self.0.metadata())
    }
}

#[cfg(test)]
mod tests {
    use std::{
        io::Read,
        os::unix::fs::symlink,
        sync::atomic::{AtomicBool, Ordering},
    };

    use super::*;

    /// Creates a folder `pages` next to a secret, with links of every kind.
    fn folder() -> (tempfile::TempDir, PathBuf) {
        let outer = tempfile::tempdir().unwrap();
        let pages = outer.path().join("pages");
        std::fs::create_dir_all(pages.join("sub")).unwrap();
        std::fs::create_dir_all(pages.join("..2026_01")).unwrap();
        std::fs::create_dir(outer.path().join("private")).unwrap();
        for (name, content) in [
            ("../secret", "secret"),
            ("../private/key", "secret"),
            (".env", "secret"),
            ("sub/page", "page"),
            ("..2026_01/page", "page"),
        ] {
            std::fs::write(pages.join(name), content).unwrap();
        }
        let secret = outer.path().join("secret");
        for (target, link) in [
            (secret.as_path(), "absolute"),
            (Path::new("../secret"), "relative"),
            (Path::new("../private"), "folder"),
            (Path::new("/proc/self/root"), "magic"),
            (Path::new(".env"), "hidden"),
            (Path::new("link"), "link"),
            (Path::new("sub/page"), "inner"),
            (Path::new("..2026_01"), "..data"),
            (Path::new("..data/page"), "mounted"),
        ] {
            symlink(target, pages.join(link)).unwrap();
        }
        (outer, pages)
    }

    fn read(file: io::Result<File>) -> Option<String> {
        let mut content = String::new();
        file.ok()?.read_to_string(&mut content).ok()?;
        Some(content)
    }

    #[test]
    fn no_link_leads_out_of_the_folder() {
        let (_outer, pages) = folder();
        let files = Files::new(&pages);
        for (path, expected) in [
            ("sub/page", true),
            ("./sub/page", true),
            ("inner", cfg!(target_os = "linux")),
            ("mounted", cfg!(target_os = "linux")),
            ("absolute", false),
            ("relative", false),
            ("folder/key", false),
            ("magic/etc/hostname", false),
            ("hidden", false),
            ("link", false),
            ("../secret", false),
            ("sub/../../secret", false),
            ("missing", false),
        ] {
            let content = read(files.open_file(Path::new(path)));
            assert_eq!(content.as_deref(), expected.then_some("page"), "{path}");
        }
        assert!(files.open_file(Path::new("")).unwrap().metadata().unwrap().is_dir());
    }

    #[test]
    fn the_way_of_older_systems_follows_no_link_at_all() {
        let (_outer, pages) = folder();
        let top = File::open(&pages).unwrap();
        for (path, expected) in
            [("sub/page", true), ("inner", false), ("absolute", false), ("folder/key", false)]
        {
            let parts = Path::new(path).iter().collect::<Vec<_>>();
            let content = read(step_by_step(&top, &parts));
            assert_eq!(content.as_deref(), expected.then_some("page"), "{path}");
        }
    }

    #[test]
    fn a_pipe_in_the_place_of_a_file_blocks_nobody() {
        let (_outer, pages) = folder();
        let pipe = pages.join("pipe");
        rustix::fs::mkfifoat(rustix::fs::CWD, &pipe, Mode::RUSR | Mode::WUSR).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        assert!(runtime.block_on(Files::new(&pages).open("pipe".into())).is_err());
    }

    /// A folder is continuously swapped with a link; code that checks first and then opens would follow it.
    #[test]
    fn a_link_that_is_put_there_meanwhile_is_not_followed() {
        let (outer, pages) = folder();
        std::fs::write(outer.path().join("private/page"), "secret").unwrap();
        let (real, link) = (pages.join("real"), pages.join("link_to_private"));
        std::fs::create_dir(&real).unwrap();
        std::fs::write(real.join("page"), "page").unwrap();
        symlink("../private", &link).unwrap();
        let ended = AtomicBool::new(false);
        let exchange = || {
            use rustix::fs::{CWD, RenameFlags, renameat_with};
            while !ended.load(Ordering::Relaxed) {
                renameat_with(CWD, &real, CWD, &link, RenameFlags::EXCHANGE).unwrap();
            }
        };
        std::thread::scope(|scope| {
            scope.spawn(exchange);
            let files = Files::new(&pages);
            for _ in 0..5_000 {
                let content = read(files.open_file(Path::new("real/page")));
                assert!(content.as_deref() != Some("secret"), "it was followed");
            }
            ended.store(true, Ordering::Relaxed);
        });
    }
}

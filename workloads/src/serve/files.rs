//! Files of the store, and never one outside: the second door, which the kernel keeps.

use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{OFlag, OpenHow, ResolveFlag, openat2};

/// The store's folder, held open.
#[derive(Debug)]
pub(super) struct Folder(File);

impl Folder {
    pub(super) fn open(root: &Path) -> io::Result<Self> {
        Ok(Self(File::open(root)?))
    }

    /// Opens a regular file below. The kernel resolves the path and refuses each step outside: by `..`, by an
    /// absolute path, by a link, whoever changes the folder meanwhile.
    ///
    /// # Errors
    /// When there is no such file inside, or it is none that has an end.
    pub(super) fn file(&self, path: &Path) -> io::Result<File> {
        let how = OpenHow::new()
            // A pipe that nobody writes to must not hold us.
            .flags(OFlag::O_RDONLY | OFlag::O_CLOEXEC | OFlag::O_NONBLOCK | OFlag::O_NOCTTY)
            .resolve(ResolveFlag::RESOLVE_BENEATH | ResolveFlag::RESOLVE_NO_MAGICLINKS);
        let opened = openat2(self.0.as_fd(), path, how).map_err(|errno| match errno {
            Errno::EXDEV | Errno::ELOOP | Errno::ENOTDIR | Errno::ENXIO => io::ErrorKind::NotFound.into(),
            other => io::Error::from(other),
        })?;
        let file = File::from(opened);
        if file.metadata()?.is_file() {
            Ok(file)
        } else {
            Err(io::ErrorKind::NotFound.into())
        }
    }
}

/// What a file is, by its name. Only our own report is a page: what a store wrote is text or bytes to a browser.
pub(super) fn content_type(path: &Path) -> &'static str {
    let name = path
        .file_name()
        .and_then(|name| name.to_str())
        .unwrap_or_default();
    if is_report(path) {
        return "text/html; charset=utf-8";
    }
    match name.rsplit_once('.').map(|(_, end)| end) {
        Some("json") => "application/json",
        Some("jsonl" | "ndjson") => "application/x-ndjson",
        Some("xml") => "application/xml",
        Some("svg") => "image/svg+xml",
        Some("png") => "image/png",
        Some("toml" | "md" | "log" | "txt" | "html" | "edn" | "conf" | "cfg" | "yaml" | "yml") => {
            "text/plain; charset=utf-8"
        }
        _ => "application/octet-stream",
    }
}

/// Whether a file is the report of a run: such lie two folders deep at least.
pub(super) fn is_report(path: &Path) -> bool {
    path.ends_with("report.html")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;
    use std::os::unix::fs::symlink;

    #[test]
    fn no_path_leads_outside() {
        let dir = tempfile::tempdir().expect("a folder");
        let root = dir.path().join("store");
        std::fs::create_dir_all(root.join("t/1")).expect("made");
        std::fs::write(root.join("t/1/a"), "inside").expect("written");
        std::fs::write(dir.path().join("secret"), "outside").expect("written");
        symlink("t/1", root.join("latest")).expect("linked");
        symlink("../secret", root.join("up")).expect("linked");
        symlink(dir.path().join("secret"), root.join("absolute")).expect("linked");
        symlink("..", root.join("folder")).expect("linked");
        symlink("loop", root.join("loop")).expect("linked");
        nix::unistd::mkfifo(&root.join("pipe"), nix::sys::stat::Mode::S_IRWXU).expect("made");
        let folder = Folder::open(&root).expect("opened");
        for path in ["t/1/a", "latest/a", "t/../t/1/a"] {
            let mut text = String::new();
            folder
                .file(Path::new(path))
                .and_then(|mut file| file.read_to_string(&mut text))
                .expect("inside");
            assert_eq!(text, "inside", "{path}");
        }
        let secret = dir.path().join("secret");
        let absolute = secret.to_str().expect("text");
        for path in [
            "up",
            "absolute",
            "folder/secret",
            "../secret",
            "t/../../secret",
            absolute,
            "loop",
            "pipe",
            "t",
            "nothing",
            "t/1/a/b",
            "/proc/self/root/etc/passwd",
        ] {
            let refused = folder.file(Path::new(path)).expect_err(path);
            assert_eq!(refused.kind(), io::ErrorKind::NotFound, "{path}: {refused}");
        }
    }

    #[test]
    fn what_a_store_wrote_is_no_page() {
        for (path, expected) in [
            ("t/1/report.html", "text/html; charset=utf-8"),
            ("t/1/n1/data/evil.html", "text/plain; charset=utf-8"),
            ("t/1/history.jsonl", "application/x-ndjson"),
            ("t/1/results.json", "application/json"),
            ("t/1/junit.xml", "application/xml"),
            ("t/1/n1/node.log", "text/plain; charset=utf-8"),
            ("t/1/n1/data/db", "application/octet-stream"),
        ] {
            assert_eq!(content_type(Path::new(path)), expected, "{path}");
        }
    }
}

//! The program as a user starts it, with a store of the test's own.

use std::path::Path;
use std::process::{Command, Output, Stdio};

/// A folder that goes with the test.
pub(crate) fn folder() -> tempfile::TempDir {
    tempfile::tempdir().expect("a folder")
}

/// The program at the root of the repository, with its store in `dir/store`.
pub(crate) fn workloads(dir: &Path) -> Command {
    // Whoever starts the tests in the background may have Ctrl-C ignored, and children inherit that.
    let mut command = Command::new("env");
    command
        .args(["--default-signal=INT,QUIT,HUP", env!("CARGO_BIN_EXE_workloads")])
        .env("ORDEAL_STORE", dir.join("store"))
        .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
        .stdin(Stdio::null());
    command
}

/// Exit code, standard output and standard error of what has ended.
pub(crate) fn said(output: &Output) -> (Option<i32>, String, String) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

//! The owner's end of the control socket.

use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use parking_lot::Mutex;

use crate::cluster_file::SOCKET_NAME;
use crate::control::{Answer, Question, short_path};
use crate::nemesis::{Nemesis, NemesisError};

/// Longest question: a partition of all names there can be is far shorter.
const LONGEST: u64 = 1 << 20;

/// Serves the control socket until dropped; then the socket is removed.
#[derive(Debug)]
pub struct Server {
    path: PathBuf,
    folder: PathBuf,
    stop: Arc<AtomicBool>,
    callers: Arc<AtomicUsize>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    /// Serves `nemesis` on `control.sock` in `folder`. Faults asked for with a
    /// time of their own are undone by the [`Keeper`](crate::Keeper), so have one.
    ///
    /// # Errors
    /// If another owner serves there already, or the socket cannot be made.
    pub fn start(folder: &Path, nemesis: Arc<Mutex<Nemesis>>) -> std::io::Result<Server> {
        let (_open, path) = short_path(folder, SOCKET_NAME)?;
        let listener = match UnixListener::bind(&path) {
            Err(error) if error.kind() == ErrorKind::AddrInUse => {
                if UnixStream::connect(&path).is_ok() {
                    let message = format!(
                        "{} is served by another process",
                        folder.join(SOCKET_NAME).display()
                    );
                    return Err(std::io::Error::new(ErrorKind::AddrInUse, message));
                }
                // Left by an owner that was killed.
                std::fs::remove_file(&path)?;
                UnixListener::bind(&path)?
            }
            other => other?,
        };
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600))?;
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let callers = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&callers);
        let thread = std::thread::Builder::new()
            .name("nemesis-control".into())
            .spawn(move || accept(&listener, &nemesis, &stopped, &counted))?;
        let path = folder.join(SOCKET_NAME);
        Ok(Server {
            path,
            folder: folder.to_owned(),
            stop,
            callers,
            thread: Some(thread),
        })
    }

    /// True while someone is connected.
    pub fn is_busy(&self) -> bool {
        self.callers.load(Ordering::Acquire) > 0
    }

    /// Where the socket is.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        // Wakes the thread, which waits for the next caller.
        let _ = short_path(&self.folder, SOCKET_NAME).and_then(|(_open, path)| UnixStream::connect(path));
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
        let _ = std::fs::remove_file(&self.path);
    }
}

fn accept(
    listener: &UnixListener,
    nemesis: &Arc<Mutex<Nemesis>>,
    stop: &AtomicBool,
    callers: &Arc<AtomicUsize>,
) {
    for caller in listener.incoming() {
        if stop.load(Ordering::Acquire) {
            return;
        }
        let nemesis = Arc::clone(nemesis);
        let callers = Arc::clone(callers);
        let served = caller.and_then(|caller| {
            std::thread::Builder::new()
                .name("nemesis-caller".into())
                .spawn(move || {
                    callers.fetch_add(1, Ordering::AcqRel);
                    serve(&caller, &nemesis);
                    callers.fetch_sub(1, Ordering::AcqRel);
                })
        });
        if let Err(error) = served {
            tracing::warn!(%error, "a caller of the control socket was refused");
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

fn serve(caller: &UnixStream, nemesis: &Mutex<Nemesis>) {
    let mut reader = BufReader::new(caller);
    loop {
        let mut line = String::new();
        match (&mut reader).take(LONGEST).read_line(&mut line) {
            Ok(0) | Err(_) => return,
            Ok(_) => {}
        }
        let answer = match serde_json::from_str(&line) {
            Ok(question) => answer(&question, &mut nemesis.lock()),
            Err(error) => Answer::Refused {
                message: format!("not understood: {error}"),
                bad_input: true,
            },
        };
        let mut text = serde_json::to_vec(&answer).expect("answers are plain data");
        text.push(b'\n');
        let mut writer = caller;
        if writer.write_all(&text).is_err() {
            return;
        }
    }
}

/// Does what is asked.
pub(super) fn answer(question: &Question, nemesis: &mut Nemesis) -> Answer {
    let answer = match question {
        Question::Status => nemesis.status().map(Answer::Status),
        Question::Apply { fault, lasting: None } => nemesis.apply(fault).map(Answer::Applied),
        Question::Apply {
            fault,
            lasting: Some(lasting),
        } => nemesis.apply_for(fault, lasting.0).map(Answer::Applied),
        Question::Preview { fault } => nemesis
            .preview(fault)
            .map(|(effect, sentence)| Answer::Preview { effect, sentence }),
        Question::Check { plan } => nemesis.check(plan).map(|()| Answer::Able),
        Question::Undo { id } => nemesis.undo(*id).map(Answer::Undone),
        Question::Resume { target } => nemesis.resume(target).map(|seen| Answer::Resumed { seen }),
        Question::Heal => nemesis.heal().map(Answer::Healed),
    };
    answer.unwrap_or_else(|error| {
        let bad_input = matches!(
            error,
            NemesisError::Shape(_)
                | NemesisError::Unsupported { .. }
                | NemesisError::Plan(_)
                | NemesisError::NotInForce(_)
        );
        Answer::Refused {
            message: error.to_string(),
            bad_input,
        }
    })
}

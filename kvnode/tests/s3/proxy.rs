//! A way to a server that breaks after so many bytes, and can be mended.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// Bytes that pass at once.
const PIECE: usize = 64 << 10;

/// The proxy; its threads end with the program.
pub(crate) struct Proxy {
    address: SocketAddr,
    state: Arc<State>,
}

struct State {
    to: SocketAddr,
    after: u64,
    cut: AtomicBool,
    /// Whether it breaks by itself at all.
    breaks: AtomicBool,
    passed: AtomicU64,
    broke: AtomicBool,
}

impl Proxy {
    /// One that breaks after so many bytes have gone to the server.
    #[expect(clippy::disallowed_methods, reason = "the tests are the outside world")]
    pub(crate) fn to(to: SocketAddr, after: u64) -> Proxy {
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a port");
        let address = listener.local_addr().expect("an address");
        let state = Arc::new(State {
            to,
            after,
            cut: AtomicBool::new(false),
            breaks: AtomicBool::new(true),
            passed: AtomicU64::new(0),
            broke: AtomicBool::new(false),
        });
        let shared = state.clone();
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                if shared.cut.load(Ordering::SeqCst) {
                    continue; // Dropped, which closes it.
                }
                let state = shared.clone();
                std::thread::spawn(move || state.carry(&client));
            }
        });
        Proxy { address, state }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Nothing passes from now on.
    pub(crate) fn cut(&self) {
        self.state.cut.store(true, Ordering::SeqCst);
    }

    /// Everything passes, until so many bytes have.
    pub(crate) fn heal(&self) {
        self.state.passed.store(0, Ordering::SeqCst);
        self.state.cut.store(false, Ordering::SeqCst);
    }

    /// Everything passes.
    pub(crate) fn heal_for_good(&self) {
        self.state.breaks.store(false, Ordering::SeqCst);
        self.state.cut.store(false, Ordering::SeqCst);
    }

    /// Whether it broke by itself.
    pub(crate) fn broke(&self) -> bool {
        self.state.broke.load(Ordering::SeqCst)
    }
}

impl State {
    #[expect(clippy::disallowed_methods, reason = "the tests are the outside world")]
    fn carry(&self, client: &TcpStream) {
        let Ok(server) = TcpStream::connect(self.to) else {
            return;
        };
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let _ = std::io::copy(&mut &server, &mut &*client);
                let _ = client.shutdown(Shutdown::Both);
            });
            let mut piece = vec![0; PIECE];
            while let Ok(count @ 1..) = (&mut &*client).read(&mut piece) {
                let passed = self.passed.fetch_add(count as u64, Ordering::SeqCst) + count as u64;
                if self.breaks.load(Ordering::SeqCst) && passed > self.after {
                    self.cut.store(true, Ordering::SeqCst);
                    self.broke.store(true, Ordering::SeqCst);
                }
                if self.cut.load(Ordering::SeqCst) || (&mut &server).write_all(&piece[..count]).is_err() {
                    break;
                }
            }
            let _ = client.shutdown(Shutdown::Both);
            let _ = server.shutdown(Shutdown::Both);
        });
    }
}

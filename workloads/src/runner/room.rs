//! Room for the clients' connections: most systems let a program open 1,024 files unless it asks for more.

use anyhow::{Context, Result, bail};
use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// Files that are open besides the clients' connections: logs, the lab's devices, the history, libraries.
const BESIDES: u64 = 512;

/// Asks for as many open files as so many clients may need.
///
/// # Errors
/// When the system does not allow so many: a client without a connection would say that of the store.
pub(super) fn make_room(clients: usize) -> Result<()> {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).context("the limit of open files")?;
    if let Some(limit) = enough(clients as u64, soft, hard)? {
        setrlimit(Resource::RLIMIT_NOFILE, limit, hard).context("the limit of open files")?;
    }
    Ok(())
}

/// The limit to be asked for; none where the present one will do.
fn enough(clients: u64, soft: u64, hard: u64) -> Result<Option<u64>> {
    // One that is in use, and one to another node that waits for the next turn.
    let wanted = 2 * clients + BESIDES;
    if wanted > hard {
        bail!(
            "{clients} clients need {wanted} open files and the system allows {hard}: raise it (ulimit -Hn), or give \
             --concurrency less"
        );
    }
    Ok((wanted > soft).then_some(wanted))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thousands_of_clients_get_room_or_a_word_about_it() {
        assert_eq!(enough(30, 1024, 4096).expect("room"), None);
        assert_eq!(enough(4000, 1024, 1 << 20).expect("room"), Some(8512));
        let refused = enough(4000, 1024, 4096).expect_err("no room").to_string();
        assert!(
            refused.contains("8512") && refused.contains("--concurrency"),
            "{refused}"
        );
    }
}

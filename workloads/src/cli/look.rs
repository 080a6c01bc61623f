//! The commands that look at runs that are there.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::Args;

/// Flags of `serve`.
#[derive(Debug, Clone, Args)]
pub struct ServeArgs {
    /// Where to listen; port 0 for any that is free. Others than loopback can be reached by everybody near
    #[arg(long, default_value = "127.0.0.1:8080", value_name = "ADDRESS:PORT")]
    pub listen: SocketAddr,
    /// Another name that browsers may call this server by, beside addresses and localhost
    #[arg(long, value_name = "NAME")]
    pub allow_host: Vec<String>,
    /// Folder that keeps the runs
    #[arg(long, default_value = "store", env = "ORDEAL_STORE", value_name = "DIR")]
    pub store: PathBuf,
}

/// Flags of `export`.
#[derive(Debug, Clone, Args)]
pub struct ExportArgs {
    /// The folder of a run
    #[arg(default_value = "store/latest")]
    pub run: PathBuf,
    /// Where to write; the run's own folder where none is given
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
}

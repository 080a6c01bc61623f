//! Sockets.
#![allow(clippy::disallowed_types, clippy::disallowed_methods)]

use std::io;

pub use tokio::net::{TcpListener, TcpStream};

/// Listens on `address` (`host:port`; port 0 takes any free one).
///
/// # Errors
/// Whatever the resolver or the kernel says, with the address added.
pub async fn listen(address: &str) -> io::Result<TcpListener> {
    TcpListener::bind(address)
        .await
        .map_err(|error| io::Error::new(error.kind(), format!("cannot listen on {address}: {error}")))
}

/// Connects to `address` (`host:port`, resolved anew each time: a restarted
/// container may have moved) without Nagle's delay.
///
/// # Errors
/// Whatever the resolver or the kernel says.
pub async fn connect(address: &str) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// Whether `port` of the loopback is free (0: any), by taking and releasing it.
///
/// # Errors
/// Whatever the kernel says when it is taken.
pub fn free_port(port: u16) -> io::Result<u16> {
    Ok(std::net::TcpListener::bind(("127.0.0.1", port))?
        .local_addr()?
        .port())
}

//! `kvnode health`: for a container that has no curl.

use std::io;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::env::clock;
use crate::secure::access::{Access, address};

/// How long the node may take to answer.
const LIMIT: Duration = Duration::from_secs(2);

/// Whether the node at `url` (`http://host:port` or `https://host:port`) says that it is
/// alive.
pub async fn alive(access: &Access, url: &str) -> bool {
    matches!(clock::timeout(LIMIT, ask(access, url)).await, Ok(Ok(true)))
}

async fn ask(access: &Access, url: &str) -> io::Result<bool> {
    let mut stream = access.connect(url).await?;
    let address = address(url);
    let request = format!("GET /health HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    stream.flush().await?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await?;
    Ok(answer.starts_with(b"HTTP/1.1 200"))
}

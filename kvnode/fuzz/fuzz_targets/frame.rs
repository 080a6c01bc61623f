//! Peers' frames: whatever arrives is read, or refused with an error, and takes no more
//! memory than it has bytes.
#![no_main]

use kvnode::peer::frame;
use kvnode::peer::message::{Hello, Reply, Request, Welcome};
use libfuzzer_sys::fuzz_target;
use serde::de::DeserializeOwned;

/// Reads frames until the end or the first that does not read.
fn read_all<T: DeserializeOwned>(runtime: &tokio::runtime::Runtime, mut bytes: &[u8], limit: usize) {
    runtime.block_on(async {
        while let Ok(Some(_)) = frame::read_within::<T>(&mut bytes, limit).await {}
    });
}

fuzz_target!(|bytes: &[u8]| {
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    read_all::<Hello>(&runtime, bytes, frame::MAX_GREETING_BYTES);
    read_all::<Welcome>(&runtime, bytes, frame::MAX_GREETING_BYTES);
    read_all::<(u64, Request)>(&runtime, bytes, frame::MAX_FRAME_BYTES);
    read_all::<(u64, Reply)>(&runtime, bytes, frame::MAX_FRAME_BYTES);
    // The same with the checksum put right, or the decoder would hardly ever be reached.
    let body = &bytes[..bytes.len().min(frame::MAX_FRAME_BYTES)];
    let framed = frame::around(body);
    read_all::<Hello>(&runtime, &framed, frame::MAX_GREETING_BYTES);
    read_all::<(u64, Request)>(&runtime, &framed, frame::MAX_FRAME_BYTES);
    read_all::<(u64, Reply)>(&runtime, &framed, frame::MAX_FRAME_BYTES);
});

//! Any bytes as a history of a register, judged by the engines and by trying every order.

#![no_main]

#[path = "../src/engines.rs"]
mod judged;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    judged::judged(bytes);
});

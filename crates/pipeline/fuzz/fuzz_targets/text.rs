//! Any text is filled in, or refused, within its bounds.
#![no_main]

#[path = "../properties.rs"]
mod properties;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| properties::text(bytes));

//! Any expression over any values yields the same, within its bounds.
#![no_main]

#[path = "../properties.rs"]
mod properties;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| properties::expr(bytes));

//! The program that `cargo xtask fuzz` builds and starts: one reader of bytes under libFuzzer.

#![no_main]

libfuzzer_sys::fuzz_target!(init: fuzz::guided::begin(), |bytes: &[u8]| fuzz::guided::show(bytes));

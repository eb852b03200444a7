//! Headers of the PROXY protocol.
//!
//! Gets: any bytes. Gives: a crash when a promise of `ftps_proto::fuzzing::proxy` is broken.
//! Never: holds checks of its own; `cargo test -p ftps-proto` runs the same function over the corpus.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| ftps_proto::fuzzing::proxy(data));

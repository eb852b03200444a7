//! Responses of OCSP responders.
//!
//! Gets: any bytes. Gives: a crash when a promise of `ftps_proto::fuzzing::ocsp` is broken.
//! Never: holds checks of its own; `cargo test -p ftps-proto` runs the same function over the corpus.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| ftps_proto::fuzzing::ocsp(data));

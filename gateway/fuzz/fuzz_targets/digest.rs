//! Arguments of XCRC, HASH and RANG: quoted names and ranges.
//!
//! Gets: any bytes. Gives: a crash when a promise of `ftps_proto::fuzzing::digest` is broken.
//! Never: holds checks of its own; `cargo test -p ftps-proto` runs the same function over the corpus.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| ftps_proto::fuzzing::digest(data));

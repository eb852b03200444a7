//! The ClientHello reader beside rustls.
//!
//! Gets: any bytes. Gives: a crash when rustls reads a hello that we do not, or reads another server name, or a promise of our own is broken.
//! Never: asks the reverse: rustls also refuses hellos that are well-formed but not for it, and its word is the one that counts.
#![no_main]

use ftps_proto::fuzzing;
use ftps_proto::hello::{HelloFault, Progress};
use rustls::server::Acceptor;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let (ours, consumed) = fuzzing::hello(data);
    // What follows a hello is not rustls' to judge here.
    let hello = if matches!(ours, Progress::Done(_)) { &data[..consumed] } else { data };
    let mut acceptor = Acceptor::default();
    let mut rest = hello;
    while !rest.is_empty() {
        if !acceptor.read_tls(&mut rest).is_ok_and(|taken| taken > 0) {
            return;
        }
        match acceptor.accept() {
            Ok(Some(accepted)) => return compare(&ours, accepted.client_hello().server_name()),
            Ok(None) => {}
            Err(_) => return,
        }
    }
    assert!(!matches!(ours, Progress::Done(_)), "rustls wants more after {consumed} bytes");
});

fn compare(ours: &Progress, server_name: Option<&str>) {
    match ours {
        Progress::Done(hello) => assert_eq!(hello.server_name.as_deref(), server_name),
        // Our cap is lower.
        Progress::Fault(HelloFault::TooLong) => {}
        Progress::More | Progress::Fault(_) => panic!("rustls reads a hello, we say {ours:?}"),
    }
}

//! The place of a certificate for its staple: what it takes, keeps, drops and shows.
//!
//! Never: a responder; `tests/cluster` has real ones.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
use std::sync::Arc;
use std::time::Instant;

use rcgen::CustomExtension;
use rustls::pki_types::PrivateKeyDer;
use rustls::sign::CertifiedKey;

use super::super::ocsp::Fault;
use super::super::tests::ocsp::{Authority, DAY, NOW, Words, good, revoked};
use super::holder::{Holder, Offered};
use crate::observe::staples::{StapleResult, StapleSource, StapleStatus};

const URL: &[u8] = b"http://ocsp.example.org/";

/// The extensions of a certificate that names a responder, and of one that promises a staple.
fn names_responder() -> CustomExtension {
    use ftps_proto::der::{OBJECT_ID, SEQUENCE, write};
    let method = write(OBJECT_ID, &[&[0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x30, 0x01]]);
    let description = |url: &[u8]| write(SEQUENCE, &[&method, &write(0x86, &[url])]);
    let all = write(SEQUENCE, &[&description(b"https://ocsp.example.org/"), &description(URL)]);
    CustomExtension::from_oid_content(&[1, 3, 6, 1, 5, 5, 7, 1, 1], all)
}

fn promises() -> CustomExtension {
    CustomExtension::from_oid_content(&[1, 3, 6, 1, 5, 5, 7, 1, 24], vec![0x30, 3, 2, 1, 5])
}

fn holder(authority: &Authority, extensions: &[CustomExtension], chain: usize) -> Arc<Holder> {
    let (mut certificates, key) = authority.chain(7, extensions);
    certificates.truncate(chain);
    let key = PrivateKeyDer::Pkcs8(key.serialize_der().into());
    let certified = CertifiedKey::from_der(certificates, key, &super::super::crypto_provider()).unwrap();
    Arc::new(Holder::new(certified, &["ftp.example.org".to_owned()]))
}

fn takes(holder: &Holder, bytes: &[u8], now: i64) -> bool {
    matches!(holder.offer(bytes, StapleSource::Peer, now, 0).unwrap(), Offered::Taken(_))
}

#[test]
fn a_response_is_shown_until_its_end_and_a_failure_changes_nothing() {
    let authority = Authority::new("authority");
    let holder = holder(&authority, &[names_responder()], 2);
    assert_eq!(holder.responder().as_deref(), Some("http://ocsp.example.org/"), "the one that can be asked");
    assert_eq!((holder.status(NOW), holder.result()), (Some(StapleStatus::Missing), Some(StapleResult::Missing)));
    let response = authority.says(&good());
    assert!(takes(&holder, &response, NOW));
    assert_eq!(holder.shown().ocsp.as_deref(), Some(&response[..]));
    assert_eq!((holder.status(NOW), holder.result()), (Some(StapleStatus::Good), Some(StapleResult::Stapled)));
    holder.failed("nobody is there".to_owned(), 0);
    let end = NOW + 6 * DAY;
    assert!(!holder.expire(end - 1) && holder.response(end - 1).is_some() && holder.shown().ocsp.is_some());
    assert!(!holder.schedule().is_due(Instant::now()), "after a failure there is a pause");
    assert!(holder.expire(end) && !holder.expire(end), "it ends once");
    assert!(holder.schedule().is_due(Instant::now()), "whatever was planned");
    assert_eq!((holder.response(end), holder.shown().ocsp.clone()), (None, None));
    assert_eq!((holder.status(end), holder.result()), (Some(StapleStatus::Expired), Some(StapleResult::Expired)));
    assert!(holder.info(end).problem.unwrap().contains("nobody is there"));
}

#[test]
fn what_does_not_verify_is_not_shown_wherever_it_comes_from() {
    let (authority, other) = (Authority::new("authority"), Authority::new("authority"));
    let holder = holder(&authority, &[names_responder()], 2);
    for (bytes, fault) in [
        (b"garbage".to_vec(), Fault::Malformed),
        (other.says(&good()), Fault::OtherCertificate),
        (authority.says(&Words { next_update: Some(NOW), ..good() }), Fault::Stale),
        (authority.says(&Words { status: vec![0x82, 0], ..good() }), Fault::Unknown),
    ] {
        for source in [StapleSource::Responder, StapleSource::Store, StapleSource::Peer] {
            assert_eq!(holder.offer(&bytes, source, NOW, 0), Err(fault));
        }
    }
    assert!(holder.shown().ocsp.is_none() && holder.response(NOW).is_none());
}

#[test]
fn good_never_follows_a_later_revoked() {
    let authority = Authority::new("authority");
    let holder = holder(&authority, &[names_responder()], 2);
    let older = authority.says(&Words { this_update: NOW - 2 * DAY, next_update: Some(NOW + 20 * DAY), ..good() });
    assert!(takes(&holder, &older, NOW));
    let bad = authority.says(&revoked(NOW - 1));
    assert!(takes(&holder, &bad, NOW), "it is said at once");
    assert_eq!((holder.shown().ocsp.as_deref(), holder.status(NOW)), (Some(&bad[..]), Some(StapleStatus::Revoked)));
    assert!(holder.trouble(NOW).unwrap().contains("is revoked"));
    assert!(!takes(&holder, &older, NOW));
    let late = NOW + 7 * DAY;
    holder.expire(late);
    assert!(!takes(&holder, &older, late) && holder.shown().ocsp.is_none(), "not even when that has ended");
    assert!(takes(&holder, &authority.says(&Words { this_update: late, next_update: Some(late + DAY), ..good() }), late), "a hold may be lifted");
}

#[test]
fn a_certificate_that_promises_a_staple_says_what_is_missing() {
    let authority = Authority::new("authority");
    let told = |extensions: &[CustomExtension], chain| {
        let holder = holder(&authority, extensions, chain);
        (holder.trouble(NOW), holder)
    };
    assert_eq!(told(&[names_responder()], 2).0, None, "it promises nothing");
    let (before, both) = told(&[names_responder(), promises()], 2);
    assert!(before.is_none() && both.breaks_promise(), "nothing was tried yet");
    both.failed("connection refused".to_owned(), 0);
    let words = both.trouble(NOW).unwrap();
    assert!(words.contains("Must-Staple") && words.contains("http://ocsp.example.org/: connection refused"), "{words}");
    assert!(takes(&both, &authority.says(&good()), NOW) && both.trouble(NOW).is_none() && !both.breaks_promise());
    both.set(false, None);
    assert!(both.trouble(NOW).unwrap().contains("tls.stapling.enabled is false") && both.shown().ocsp.is_none());
    let (alone, _) = told(&[names_responder(), promises()], 1);
    assert!(alone.unwrap().contains("put it behind the certificate"));
    let (nameless, holder) = told(&[promises()], 2);
    assert!(nameless.unwrap().contains("tls.stapling.responder") && holder.responder().is_none());
    holder.set(true, Some("http://127.0.0.1:1/"));
    assert_eq!((holder.responder().as_deref(), holder.trouble(NOW)), (Some("http://127.0.0.1:1/"), None));
}

#[test]
fn a_certificate_that_is_loaded_again_keeps_its_staple() {
    let authority = Authority::new("authority");
    let (chain, key) = authority.chain(7, &[names_responder()]);
    let load = |chain: &[_]| {
        let key = PrivateKeyDer::Pkcs8(key.serialize_der().into());
        Holder::new(CertifiedKey::from_der(chain.to_vec(), key, &super::super::crypto_provider()).unwrap(), &[])
    };
    let (first, again, alone) = (load(&chain), load(&chain), load(&chain[..1]));
    assert!(takes(&first, &authority.says(&good()), NOW));
    again.inherit(&first);
    assert_eq!((again.shown().ocsp.clone(), again.response(NOW)), (first.shown().ocsp.clone(), first.response(NOW)));
    assert!(!again.schedule().is_due(Instant::now()));
    alone.inherit(&first);
    assert!(alone.shown().ocsp.is_none(), "it has nothing to verify it by");
    again.forget();
    assert!(again.shown().ocsp.is_none() && again.schedule().is_due(Instant::now()) && !again.schedule().takes_others());
}

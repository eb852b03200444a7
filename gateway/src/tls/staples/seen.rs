//! A staple from outside: what a client sees of one.
//!
//! Gets: a chain and a staple, as a server showed them. Gives: whether it should be there, and what it says.
//! Never: keeps anything.

use rustls::pki_types::CertificateDer;

use super::super::der;
use super::super::ocsp::{Fault, Question, Said};

/// What a client sees.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StapleSeen {
    /// The certificate promises a staple.
    pub promised: bool,
    /// The certificate names a responder.
    pub has_responder: bool,
    /// What the staple says, or what is wrong with it; `None`: there is none, or the chain lacks the issuer to verify it by.
    pub said: Option<Result<Said, Fault>>,
}

/// Looks at a staple (empty: none) at `now`, in Unix seconds; `None` when there is no certificate.
pub fn staple_seen(chain: &[CertificateDer<'static>], staple: &[u8], now: i64) -> Option<StapleSeen> {
    let revocation = der::revocation(chain.first()?)?;
    let said = Question::of(chain).filter(|_| !staple.is_empty()).map(|question| question.verify(staple, now).map(|(said, _)| said));
    Some(StapleSeen { promised: revocation.must_staple, has_responder: !revocation.responders.is_empty(), said })
}

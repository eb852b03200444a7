//! Asks responders (RFC 6960, over HTTP by RFC 6960 §A.1), for all nodes.
//!
//! Gets: certificates that are due. Gives: a verified response, stapled here and passed on. The URL is the certificate's own or the operator's, `http` alone, and no
//! redirect is followed: a responder can send this node nowhere else.
//! Never: takes longer than `tls.stapling.timeout`, reads more than 64 KiB, passes on a failure.

use std::sync::Arc;
use std::time::Instant;

use ftps_proto::ocsp::MAX_RESPONSE;

use super::super::ocsp::Fault;
use super::holder::{Holder, Offered};
use super::{Staples, random};
use crate::net::http::{self, Ask, Body, Error};
use crate::observe::StapleEvent;
use crate::observe::staples::{FetchResult, StapleSource};

/// What a refresh of all certificates came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Refreshed {
    /// Other nodes that were told.
    pub told: Vec<String>,
    /// Other nodes that did not answer.
    pub silent: Vec<String>,
    /// What went wrong, in words.
    pub failed: Vec<String>,
}

/// Why there is no response.
struct NoResponse {
    result: FetchResult,
    words: String,
}

impl Staples {
    /// Certificates of this node whose responders can be asked.
    pub fn askable(&self) -> usize {
        self.holders().iter().filter(|holder| holder.responder().is_some()).count()
    }

    /// Asks the responders of all certificates of this node now, and passes on what comes. The old responses stay where nothing comes.
    pub async fn refresh(&self) -> Refreshed {
        let asked = self.holders().into_iter().filter(|holder| holder.responder().is_some());
        let fetches: Vec<_> = asked.map(|holder| async move { self.fetch(&holder).await }).collect();
        let mut all = Refreshed::default();
        for one in futures_util::future::join_all(fetches).await {
            match one {
                Ok((told, silent)) => {
                    all.told.extend(told);
                    all.silent.extend(silent);
                }
                Err(words) => all.failed.push(words),
            }
        }
        for names in [&mut all.told, &mut all.silent] {
            names.sort();
            names.dedup();
        }
        all
    }

    /// Asks the responder of one certificate. Says which nodes were told of what came, and which were silent; or what went wrong.
    pub(super) async fn fetch(&self, holder: &Arc<Holder>) -> Result<(Vec<String>, Vec<String>), String> {
        let since = Instant::now();
        let answer = self.ask(holder).await.and_then(|bytes| match self.offer(holder, &bytes, StapleSource::Responder) {
            Ok(offered) => Ok(offered),
            Err(fault) => Err(NoResponse { result: result_of(fault), words: fault.to_string() }),
        });
        let (took, names) = (since.elapsed(), holder.names());
        match answer {
            Ok(Offered::Taken(said) | Offered::Known(said)) => {
                let result = if said.revoked.is_some() { FetchResult::Revoked } else { FetchResult::Good };
                self.say(&StapleEvent::Fetched { names, result, took, detail: "" });
                Ok(self.publish(holder).await)
            }
            Err(NoResponse { result, words }) => {
                self.say(&StapleEvent::Fetched { names, result, took, detail: &words });
                holder.failed(words.clone(), random());
                Err(format!("{names}: {words}"))
            }
        }
    }

    async fn ask(&self, holder: &Holder) -> Result<Vec<u8>, NoResponse> {
        let nobody = || NoResponse { result: FetchResult::Unreachable, words: "there is nobody to ask".to_owned() };
        let (url, question) = holder.responder().zip(holder.question()).ok_or_else(nobody)?;
        let body = Some(Body { media: "application/ocsp-request", bytes: question.request() });
        let ask = Ask { method: "POST", url: &url, body, longest: Some(MAX_RESPONSE), ..Ask::default() };
        match http::send(&ask, self.0.settings.load().timeout).await {
            Ok((200, bytes)) => Ok(bytes),
            Ok((status, _)) => Err(NoResponse { result: FetchResult::Http, words: format!("the responder answers with status {status} of HTTP") }),
            Err(error) => {
                let result = match error {
                    Error::Timeout(_) => FetchResult::Timeout,
                    Error::Body => FetchResult::Invalid,
                    Error::Url(_) | Error::Connect { .. } | Error::Protocol(_) => FetchResult::Unreachable,
                };
                Err(NoResponse { result, words: error.to_string() })
            }
        }
    }
}

fn result_of(fault: Fault) -> FetchResult {
    match fault {
        Fault::Declined(_) => FetchResult::Declined,
        Fault::Unknown => FetchResult::Unknown,
        Fault::Malformed
        | Fault::Critical
        | Fault::OtherCertificate
        | Fault::Signer
        | Fault::Delegate
        | Fault::Signature
        | Fault::Endless
        | Fault::Stale
        | Fault::Future => FetchResult::Invalid,
    }
}

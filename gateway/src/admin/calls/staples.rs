//! OCSP responses that the nodes staple to their certificates.
//!
//! Gets: questions, an order to fetch. Gives: what each node staples, why it staples nothing, when a responder is asked again.
//! Never: a response itself: whoever wants one is shown it in a handshake.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::super::access::Scope;
use super::super::call::{Answer, Asked, Call};
use super::super::everywhere::{Item, Question};
use super::super::problems::{Problem, Refusal};
use super::super::shape::{Shape, shape};
use super::super::shapes::{Done, List};
use super::super::{Api, time};
use super::{CURSOR, DRY, LIMIT, Row};
use crate::observe::Label;
use crate::observe::sidecar::{Group, Method};
use crate::tls::{OcspSigner, StapleInfo};

const STAPLES: Row = Row {
    path: "/staples",
    id: "listStaples",
    group: Group::Staples,
    scope: Scope::Read,
    about: "The OCSP responses that the nodes staple to their certificates, and why there is none where there is none.",
};

pub(super) const CALLS: &[Call] = &[
    STAPLES.get(List::<Staple>::schema, |asked| Box::pin(list(asked))).with(&[LIMIT, CURSOR]),
    Row {
        path: "/staples/refresh",
        id: "refreshStaples",
        scope: Scope::Operate,
        about: "Asks the OCSP responders now, from this node, and gives what comes to all nodes. Where nothing comes, the response of before stays.",
        ..STAPLES
    }
    .change(Method::Post, Done::schema, |asked| Box::pin(refresh(asked)))
    .with(&[DRY])
    .or(&[Problem::Conflict]),
];

shape! {
    /// What a node staples to one of its certificates.
    Staple {
        /// The node.
        node: String,
        /// The DNS names of the certificate.
        names: Vec<String>,
        /// SHA-256 of its DER form.
        fingerprint: String,
        /// `good`, `revoked`, `missing` or `expired`; `none`: nothing is to be stapled.
        status: String,
        /// From when on that is known; null without a response.
        this_update: Option<String>,
        /// Until when the response may be shown.
        next_update: Option<String>,
        /// When the certificate was revoked.
        revoked_at: Option<String>,
        /// Where the response came from: `responder`, `store` or `peer`.
        source: Option<String>,
        /// Who signed it: `issuer`, `delegate`, or `delegate_unchecked`: one whose certificate lacks id-pkix-ocsp-nocheck; whether it is revoked was not asked.
        signer: Option<String>,
        /// The certificate promises a staple (Must-Staple).
        must_staple: bool,
        /// Who is asked.
        responder: Option<String>,
        /// Until somebody is asked again.
        refresh_in_seconds: Option<f64>,
        /// Why there is no response, or no newer one, and what to do.
        problem: Option<String>,
    }
}

impl Item for Staple {
    fn key(&self) -> String {
        format!("{}/{}", self.node, self.fingerprint)
    }
}

/// What do you staple?
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(in super::super) struct Staples {}

impl Question for Staples {
    const PATH: &'static str = "admin/v1/staples";
    type Answer = Vec<Staple>;

    async fn answer(self, api: Arc<Api>) -> Self::Answer {
        api.house.staples.infos().into_iter().map(|info| shown(&api.node.name, info)).collect()
    }
}

fn shown(node: &str, info: StapleInfo) -> Staple {
    let said = info.said;
    Staple {
        node: node.to_owned(),
        names: info.names,
        fingerprint: info.fingerprint,
        status: info.status.map_or("none", Label::label).to_owned(),
        this_update: said.map(|said| time::unix(said.this_update)),
        next_update: said.map(|said| time::unix(said.next_update)),
        revoked_at: said.and_then(|said| said.revoked).map(time::unix),
        source: info.source.map(|source| source.label().to_owned()),
        signer: said.map(|said| signer(said.signer).to_owned()),
        must_staple: info.must_staple,
        responder: info.responder,
        refresh_in_seconds: info.refresh_in.map(|left| left.as_secs_f64()),
        problem: info.problem,
    }
}

fn signer(signer: OcspSigner) -> &'static str {
    match signer {
        OcspSigner::Issuer => "issuer",
        OcspSigner::Delegate => "delegate",
        OcspSigner::DelegateUnchecked => "delegate_unchecked",
    }
}

async fn list(asked: Asked) -> Result<Answer, Refusal> {
    Answer::json(&asked.page().list(asked.api.everywhere(Staples {}).await))
}

/// One question to each responder, whoever is asked for it: the others are told.
async fn refresh(asked: Asked) -> Result<Answer, Refusal> {
    let (me, staples, dry) = (asked.api.node.name.clone(), &asked.api.house.staples, asked.flag("dry_run"));
    if staples.askable() == 0 {
        return Err(Refusal::because(Problem::Conflict, "no certificate of this node has an OCSP responder to ask: GET /staples says why"));
    }
    if dry {
        return Ok(Answer::json(&Done { nodes: vec![me], failed: BTreeMap::new(), silent: Vec::new() })?.dry(true));
    }
    let refreshed = staples.refresh().await;
    let mut done = Done { nodes: refreshed.told, failed: BTreeMap::new(), silent: refreshed.silent };
    if refreshed.failed.is_empty() {
        done.nodes.insert(0, me);
    } else {
        done.failed.insert(me, refreshed.failed.join("; "));
    }
    Answer::json(&done)
}

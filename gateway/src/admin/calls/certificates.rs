//! Certificates that the nodes serve, and ticket keys.
//!
//! Gets: questions. Gives: names and ends of certificates; a new ticket key. Never: key material.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::super::access::Scope;
use super::super::call::{Answer, Asked, Call};
use super::super::everywhere::{Answers, Question};
use super::super::problems::{Problem, Refusal};
use super::super::shape::Shape;
use super::super::shapes::{Certificate, Done, List};
use super::super::{Api, time};
use super::{CURSOR, DRY, LIMIT, Row, config};
use crate::observe::sidecar::{Group, Method};

pub(super) const CALLS: &[Call] = &[
    Row { path: "/certificates", id: "listCertificates", group: Group::Certificates, scope: Scope::Read, about: "The certificates that the nodes serve." }
        .get(List::<Certificate>::schema, |asked| Box::pin(list(asked)))
        .with(&[LIMIT, CURSOR]),
    Row {
        path: "/certificates/reload",
        id: "reloadCertificates",
        group: Group::Certificates,
        scope: Scope::Operate,
        about: "Reads certificates again, on all nodes, with everything else: a reload is all or nothing.",
    }
    .change(Method::Post, Done::schema, |asked| Box::pin(config::reload(asked)))
    .with(&[DRY])
    .or(&[Problem::Conflict]),
    Row {
        path: "/tickets/rotate",
        id: "rotateTickets",
        group: Group::Tickets,
        scope: Scope::Operate,
        about: "Seals TLS tickets with a new key, on this node and within seconds on all that share its store. No living session is hurt.",
    }
    .change(Method::Post, Done::schema, |asked| Box::pin(rotate(asked)))
    .with(&[DRY])
    .or(&[Problem::Conflict]),
];

/// Which certificates do you serve?
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(in super::super) struct Certificates {}

impl Question for Certificates {
    const PATH: &'static str = "admin/v1/certificates";
    type Answer = Vec<Certificate>;

    async fn answer(self, api: Arc<Api>) -> Self::Answer {
        let infos = api.house.tls.certificates().infos().into_iter();
        let shown = infos.map(|info| Certificate {
            node: api.node.name.clone(),
            names: info.names,
            fingerprint: info.fingerprint,
            not_after: time::unix(info.not_after),
            self_signed: info.self_signed,
        });
        shown.collect()
    }
}

async fn list(asked: Asked) -> Result<Answer, Refusal> {
    Answer::json(&asked.page().list(asked.api.everywhere(Certificates {}).await))
}

/// The key goes through the store to all nodes that share it.
async fn rotate(asked: Asked) -> Result<Answer, Refusal> {
    let (api, dry) = (&asked.api, asked.flag("dry_run"));
    let refused = |why: String| Refusal::because(Problem::Conflict, format!("the old key goes on sealing: {why}"));
    if !dry {
        api.house.tls.rotate_tickets().await.map_err(|error| refused(error.to_string()))?;
    } else if api.house.tls.has_lost_its_store() {
        return Err(refused("the store is away".to_owned()));
    }
    Ok(Answer::json(&Done { nodes: vec![api.node.name.clone()], failed: BTreeMap::new(), silent: Vec::new() })?.dry(dry))
}

/// Which nodes have done it, and which not.
pub(super) fn done(answers: Answers<(String, Result<(), String>)>) -> Done {
    let mut done = Done { nodes: Vec::new(), failed: BTreeMap::new(), silent: answers.silent };
    for (node, result) in answers.given {
        match result {
            Ok(()) => done.nodes.push(node),
            Err(why) => drop(done.failed.insert(node, why)),
        }
    }
    done
}

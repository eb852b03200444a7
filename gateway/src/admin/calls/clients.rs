//! Clients: what each has shown of itself, and what that lets an operator do.
//!
//! Gets: questions. Gives: the clients of all nodes, one client of several nodes as one. Never: enforces anything.

use std::net::IpAddr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::super::access::Scope;
use super::super::call::{Answer, Asked, Call, Kind};
use super::super::everywhere::{Page, Question};
use super::super::problems::{Problem, Refusal};
use super::super::shape::Shape;
use super::super::shapes::{Client, Forgotten, List};
use super::super::{Api, time};
use super::{CURSOR, LIMIT, Row, query};
use crate::observe::history::ClientRecord;
use crate::observe::sidecar::{Group, Method};

pub(super) const CALLS: &[Call] = &[
    Row {
        path: "/clients",
        id: "listClients",
        group: Group::Clients,
        scope: Scope::Read,
        about: "What each client (a user from one address) has shown of itself.",
    }
    .get(List::<Client>::schema, |asked| Box::pin(list(asked)))
    .with(&[query("user", Kind::Text, "Of this user."), query("ip", Kind::Ip, "From this address."), LIMIT, CURSOR]),
    Row { path: "/clients/{id}", id: "forgetClient", group: Group::Clients, scope: Scope::Sessions, about: "Forgets what a client has shown." }
        .change(Method::Delete, Forgotten::schema, |asked| Box::pin(forget(asked)))
        .or(&[Problem::NotFound]),
];

/// Whom do you know?
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(in super::super) struct Clients {
    user: Option<String>,
    ip: Option<IpAddr>,
    page: Page,
}

impl Question for Clients {
    const PATH: &'static str = "admin/v1/clients";
    type Answer = Vec<Client>;

    async fn answer(self, api: Arc<Api>) -> Self::Answer {
        let wanted = |user: &str, ip: IpAddr| self.user.as_deref().is_none_or(|wanted| wanted == user) && self.ip.is_none_or(|wanted| wanted == ip);
        self.page.share(api.history.clients(wanted).iter().map(|(user, ip, record)| client(user, *ip, record)).collect())
    }
}

/// Forget this one.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(in super::super) struct Forget {
    id: String,
}

impl Question for Forget {
    const PATH: &'static str = "admin/v1/clients/forget";
    type Answer = u64;

    async fn answer(self, api: Arc<Api>) -> Self::Answer {
        api.history.forget(|user, ip| id(user, ip) == self.id) as u64
    }
}

async fn list(asked: Asked) -> Result<Answer, Refusal> {
    let page = asked.page();
    let answers = asked.api.everywhere(Clients { user: asked.text("user"), ip: asked.ip("ip"), page: page.clone() }).await;
    let mut list = page.list(answers);
    // Only now is it known what a client has shown on all nodes.
    for client in &mut list.items {
        client.hints = hints(client);
    }
    Answer::json(&list)
}

async fn forget(asked: Asked) -> Result<Answer, Refusal> {
    let answers = asked.api.everywhere(Forget { id: asked.part("id").to_owned() }).await;
    let forgotten = Forgotten { removed: answers.given.iter().sum(), silent: answers.silent };
    if forgotten.removed == 0 && forgotten.silent.is_empty() {
        return Err(Refusal::because(Problem::NotFound, "no client has this id"));
    }
    Answer::json(&forgotten)
}

/// The same on every node.
fn id(user: &str, ip: IpAddr) -> String {
    let digest = Sha256::new().chain_update(user).chain_update([0]).chain_update(ip.to_string()).finalize();
    format!("c_{}", digest[..12].iter().map(|byte| format!("{byte:02x}")).collect::<String>())
}

fn client(user: &str, ip: IpAddr, record: &ClientRecord) -> Client {
    Client {
        id: id(user, ip),
        user: user.to_owned(),
        address: ip.to_string(),
        first_seen: time::shown(record.first),
        last_seen: time::shown(record.last),
        sessions: record.sessions,
        tls12: record.tls12,
        tls13: record.tls13,
        resumed: record.resumed,
        proven: record.proven,
        unproven: record.unproven,
        clean_ends: record.clean,
        unclean_ends: record.unclean,
        passive: record.passive,
        active: record.active,
        hints: Vec::new(),
    }
}

fn hints(client: &Client) -> Vec<String> {
    let mut hints = Vec::new();
    if client.proven >= ENOUGH && client.unproven == 0 {
        hints.push("every data connection proved its TLS session: tls_reuse: require costs this client nothing".to_owned());
    }
    if client.unproven > 0 {
        hints.push("some data connections came without proof: tls_reuse: require would refuse them".to_owned());
    }
    if client.clean_ends >= ENOUGH && client.unclean_ends == 0 {
        hints.push("every upload ended with close_notify: upload_end: strict costs this client nothing".to_owned());
    }
    if client.unclean_ends > 0 {
        hints.push("some uploads ended without close_notify: upload_end: strict would refuse them".to_owned());
    }
    if client.tls12 > 0 && client.tls13 == 0 {
        hints.push("it never spoke TLS 1.3: tls.min_version: \"1.3\" would lock it out".to_owned());
    }
    hints
}

/// Transfers from which something is concluded.
const ENOUGH: u64 = 5;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hints_follow_from_what_was_shown() {
        let client = |proven, unproven, tls13| Client { proven, unproven, tls12: 1, tls13, ..Client::default() };
        assert!(hints(&client(ENOUGH, 0, 1))[0].contains("tls_reuse: require costs"));
        assert!(hints(&client(ENOUGH - 1, 0, 1)).is_empty(), "too little to say");
        let both = hints(&client(100, 1, 0));
        assert!(both[0].contains("would refuse") && both[1].contains("lock it out"), "{both:?}");
    }

    #[test]
    fn an_id_is_of_user_and_address() {
        let ip: IpAddr = [192, 0, 2, 1].into();
        assert_eq!(id("a", ip), id("a", ip));
        assert_ne!(id("a", ip), id("b", ip));
    }
}

//! Everything the API answers and takes, as JSON.
//!
//! Gets: nothing. Gives: the shapes, each with its schema. Times are RFC 3339 in UTC, durations seconds, sizes bytes.
//! Never: a secret.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::shape::{Schemas, Shape, question, shape};

shape! {
    /// A node of the cluster.
    Node {
        /// `node.name`.
        name: String,
        /// This start of it.
        incarnation: String,
        /// The version of its program.
        version: String,
        /// Where other nodes reach it; null for a cluster of one.
        address: Option<String>,
        /// When it started.
        started_at: String,
        /// `starting`, `ready` or `draining`.
        state: String,
        /// What works less well than it should.
        degraded: Vec<Degraded>,
        /// Sessions on it.
        sessions: u64,
        /// `limits.sessions`.
        sessions_limit: u64,
        /// Transfers that run on it.
        transfers: u64,
        /// Bytes to come of those whose size is known: downloads, and uploads that announced theirs.
        bytes_left: u64,
        /// Transfers of which only the client knows when they end.
        open_ended: u64,
        /// Seconds until the last of those of known size has ended, if each goes on as fast as it was; null while one of them has not moved yet.
        estimate_seconds: Option<u64>,
        /// Data connections that it carries to sessions of other nodes now.
        relaying: u64,
        /// The widest difference between its clock and that of another node.
        clock_skew_seconds: f64,
        /// Counts since it started.
        counters: Counters,
    }
}

shape! {
    /// Something that works less well than it should.
    Degraded {
        /// Which part.
        what: String,
        /// In which way.
        detail: String,
    }
}

shape! {
    /// Counts since the start of a node.
    Counters {
        /// Bytes of uploads.
        bytes_in: u64,
        /// Bytes of downloads and listings.
        bytes_out: u64,
        /// Logins.
        logins_ok: u64,
        /// Refused logins.
        logins_failed: u64,
        /// Full handshakes of control connections.
        handshakes_full: u64,
        /// Resumed ones.
        handshakes_resumed: u64,
        /// Resumed ones of a session that another node began.
        handshakes_elsewhere: u64,
        /// Data connections that it carried to sessions of other nodes.
        relayed: u64,
        /// Questions to the cluster's TLS sessions and digests that found something.
        cache_hits: u64,
        /// Those that found nothing.
        cache_misses: u64,
    }
}

shape! {
    /// A session: one control connection.
    Session {
        /// Its id.
        id: String,
        /// The node that serves it.
        node: String,
        /// The user; null before the login.
        user: Option<String>,
        /// The user's class.
        class: Option<String>,
        /// The client's true address.
        address: String,
        /// When it began.
        since: String,
        /// `greeting` (before the login), `idle` or `transfer`.
        state: String,
        /// `1.2` or `1.3`; null before the handshake.
        tls: Option<String>,
        /// Whether the control connection resumed a TLS session.
        resumed: Option<bool>,
        /// The client's certificate, as `cn:NAME` or `sha256:HEX`.
        certificate: Option<String>,
        /// Bytes of its transfers that have ended.
        bytes: u64,
    }
}

shape! {
    /// What a client, a user from one address, has shown of itself: never enforced, since one account runs many scripts.
    Client {
        /// Its id.
        id: String,
        /// The user.
        user: String,
        /// The address.
        address: String,
        /// When it was first here, as far as this is remembered.
        first_seen: String,
        /// When it last did something.
        last_seen: String,
        /// Logins.
        sessions: u64,
        /// Of those, by TLS 1.2.
        tls12: u64,
        /// By TLS 1.3.
        tls13: u64,
        /// Control connections that resumed a TLS session.
        resumed: u64,
        /// Transfers whose data connection proved its session.
        proven: u64,
        /// Transfers that went without.
        unproven: u64,
        /// Uploads that ended with close_notify.
        clean_ends: u64,
        /// Uploads that ended without it.
        unclean_ends: u64,
        /// PASV and EPSV.
        passive: u64,
        /// PORT and EPRT.
        active: u64,
        /// What this lets you do.
        hints: Vec<String>,
    }
}

shape! {
    /// A transfer that has ended.
    Transfer {
        /// Its id.
        id: String,
        /// The node that served it.
        node: String,
        /// Its session.
        session: Option<String>,
        /// The user.
        user: String,
        /// The client's true address.
        address: Option<String>,
        /// `upload`, `download` or `list`.
        direction: String,
        /// The path as the client sees it.
        path: String,
        /// Bytes on the data connection.
        bytes: u64,
        /// When 150 was said.
        started_at: String,
        /// From then to the end.
        took_seconds: f64,
        /// `complete`, `failed`, `no_connection`, `broken`, `stalled` or `aborted`.
        result: String,
        /// Whether the data connection proved its TLS session.
        proven: bool,
        /// How the client ended an upload: `close_notify`, `fin` or `open`.
        end: String,
        /// Of the whole file, if it was computed while it moved.
        digest: Option<Digest>,
    }
}

shape! {
    /// A digest of a file.
    Digest {
        /// Its algorithm.
        algorithm: String,
        /// Its value.
        hex: String,
    }
}

shape! {
    /// A certificate that a node serves.
    Certificate {
        /// The node.
        node: String,
        /// Its DNS names.
        names: Vec<String>,
        /// SHA-256 of its DER form.
        fingerprint: String,
        /// When it ends.
        not_after: String,
        /// Made by the node, because none is configured.
        self_signed: bool,
    }
}

shape! {
    /// Who did what.
    Audit {
        /// The id of the record.
        id: String,
        /// When.
        time: String,
        /// The node that was asked.
        node: String,
        /// The name of the token or certificate; null when it was not known.
        actor: Option<String>,
        /// The address of the caller.
        source: String,
        /// The method.
        method: String,
        /// The path, with the names of its parameters.
        path: String,
        /// What it was done to.
        target: Option<String>,
        /// `done`, `refused` or `failed`.
        result: String,
        /// The status of the answer.
        status: u64,
        /// The id of the request.
        request_id: String,
    }
}

shape! {
    /// The program.
    Version {
        /// Its version.
        version: String,
        /// What it was built from.
        revision: String,
        /// What it was built with.
        rustc: String,
    }
}

shape! {
    /// Who the caller is.
    Token {
        /// The name of the token or certificate.
        name: String,
        /// What it may do.
        scopes: Vec<String>,
        /// When it ends; null: never.
        expires_at: Option<String>,
    }
}

shape! {
    /// Sessions that were told to end.
    Ended {
        /// How many; with `dry_run` how many it would be.
        ended: u64,
        /// Nodes that did not answer: their sessions go on.
        silent: Vec<String>,
    }
}

shape! {
    /// What was forgotten.
    Forgotten {
        /// How many.
        removed: u64,
        /// Nodes that did not answer.
        silent: Vec<String>,
    }
}

shape! {
    /// The nodes that have done it.
    Done {
        /// Their names.
        nodes: Vec<String>,
        /// Nodes that could not, and why.
        failed: BTreeMap<String, String>,
        /// Nodes that did not answer.
        silent: Vec<String>,
    }
}

shape! {
    /// A node and its state after the call.
    NodeState {
        /// Its name.
        name: String,
        /// `starting`, `ready` or `draining`.
        state: String,
    }
}

shape! {
    /// Whether a configuration would be taken.
    Verdict {
        /// Whether it is without fault.
        valid: bool,
        /// Every fault.
        problems: Vec<ConfigProblem>,
    }
}

shape! {
    /// One fault of a configuration.
    ConfigProblem {
        /// The file.
        file: String,
        /// The line, from 1.
        line: Option<u64>,
        /// The key.
        key: String,
        /// What is wrong and what to write.
        message: String,
    }
}

/// One key of the configuration in force.
#[derive(Clone, Debug, Default, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Setting {
    /// Its name.
    pub key: String,
    /// Its value as it is written, before expansions; passwords in URLs are hidden.
    pub value: Value,
    /// Whether it is written, or the default.
    pub written: bool,
}

impl Shape for Setting {
    fn schema(all: &mut Schemas) -> Value {
        let schema = json!({
            "type": "object", "description": "One key of the configuration in force.", "required": ["key", "value", "written"],
            "properties": {
                "key": { "type": "string", "description": "Its name." },
                "value": { "description": "As it is written, before expansions; passwords in URLs are hidden." },
                "written": { "type": "boolean", "description": "Whether it is written, or the default." },
            },
        });
        all.0.insert("Setting", schema);
        json!({ "$ref": "#/components/schemas/Setting" })
    }
}

question! {
    /// Log levels: a default, and by room.
    Levels {
        /// `off`, `error`, `warn`, `info`, `debug` or `trace`; for rooms that are not named.
        default: String,
        /// By room: `tls`, `data`, `storage`, …
        rooms: Option<BTreeMap<String, String>>,
    }
}

question! {
    /// A configuration to look at; without one, the file of the node.
    Draft {
        /// YAML. Relative paths and expansions are those of the node's own file.
        yaml: Option<String>,
    }
}

/// A page of a list.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub(super) struct List<T> {
    /// The items.
    pub(super) items: Vec<T>,
    /// The cursor of the next page, if there is one.
    pub(super) next: Option<String>,
    /// Nodes that did not answer.
    pub(super) silent: Vec<String>,
}

impl<T: Shape> Shape for List<T> {
    fn schema(all: &mut Schemas) -> Value {
        json!({
            "type": "object", "required": ["items", "next", "silent"],
            "properties": {
                "items": { "type": "array", "items": T::schema(all) },
                "next": { "type": ["string", "null"], "description": "The cursor of the next page." },
                "silent": { "type": "array", "items": { "type": "string" }, "description": "Nodes that did not answer." },
            },
        })
    }
}

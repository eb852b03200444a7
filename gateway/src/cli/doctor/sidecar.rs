//! What the node says of itself, when its sidecar can be reached: whether it is ready, and what works less well than it should.
//!
//! Gets: the URL of a sidecar. Gives: findings. Never: needs a token; probes give nothing away.

use std::time::Duration;

use super::finding::Finding;
use crate::net::http;

/// Asks `/readyz?verbose`.
pub(super) async fn look(url: &str) -> Vec<Finding> {
    let url = format!("{}/readyz?verbose", url.trim_end_matches('/'));
    match http::get(&url, DEADLINE).await {
        Ok((status, body)) => said(status, &String::from_utf8_lossy(&body)),
        Err(error) => vec![Finding::bad(SUBJECT, format!("{url}: {error}"), "check --url; it is the address of listen.metrics, else of listen.admin")],
    }
}

fn said(status: u16, text: &str) -> Vec<Finding> {
    let word = text.lines().last().unwrap_or_default();
    let mut findings = match status {
        200 => vec![Finding::well(SUBJECT, "ready")],
        503 if word == "draining" => vec![Finding::note(SUBJECT, "it drains: the balancer must not send it new clients", "wait, or `ctl nodes undrain`")],
        503 => vec![Finding::bad(SUBJECT, format!("not ready: {}", missing(text)), "look at the node's log")],
        other => vec![Finding::bad(SUBJECT, format!("answers {other} to a probe"), "check --url; it is the address of listen.metrics, else of listen.admin")],
    };
    for line in text.lines().filter_map(|line| line.strip_prefix("[!] ")) {
        findings.push(Finding::note("degraded", line, "the node's log says since when, and its metrics how much"));
    }
    findings
}

fn missing(text: &str) -> String {
    let shut: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix("[-] ")).collect();
    if shut.is_empty() { "it gives no reason".into() } else { shut.join(", ") }
}

const SUBJECT: &str = "node";
const DEADLINE: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_probe_is_put_into_words() {
        assert_eq!(said(200, "[+] listeners\nok\n"), [Finding::well("node", "ready")]);
        let degraded = said(200, "[+] listeners\n[!] store: away for 3 s\nok\n");
        assert_eq!(degraded[1].seen, "store: away for 3 s");
        assert!(said(503, "[-] bans\nstarting\n")[0].seen.contains("bans"));
        assert!(said(503, "draining\n")[0].seen.contains("drains"));
    }
}

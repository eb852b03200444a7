//! What the node says of itself, when its sidecar can be reached: whether it is ready, what works less well than it should, its store, its neighbours.
//!
//! Gets: the URL of a sidecar. Gives: findings. Never: needs a token; probes and metrics give nothing away.

use std::path::Path;
use std::time::Duration;

use super::finding::Finding;
use crate::net::http::{self, Ask};
use crate::observe::scrape::Scrape;

/// Asks `/readyz?verbose`.
pub(super) async fn look(url: &str, ca: Option<&Path>) -> Vec<Finding> {
    let url = format!("{}/readyz?verbose", url.trim_end_matches('/'));
    // What is wrong with the file has been said already: FTP is held to it too.
    let tls = url.starts_with("https://").then(|| http::trust(ca, None).ok()).flatten();
    let ask = |url| Ask { url, tls: tls.clone(), ..Ask::default() };
    match http::send(&ask(&url), DEADLINE).await {
        Ok((status, body)) => {
            let mut findings = said(status, &String::from_utf8_lossy(&body));
            if let Ok((200, body)) = http::send(&ask(&url.replace("/readyz?verbose", "/metrics")), DEADLINE).await {
                findings.extend(measured(&String::from_utf8_lossy(&body)));
            }
            findings
        }
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

/// What the metrics tell: the store's latency, members that are silent, clocks that differ.
fn measured(text: &str) -> Vec<Finding> {
    let scrape = Scrape(text);
    let away = scrape.stores_away();
    let (seconds, count) = (scrape.sum("shared_store_op_duration_seconds_sum", ""), scrape.sum("shared_store_op_duration_seconds_count", ""));
    let average = seconds * 1000.0 / count.max(1.0);
    let store = match away.as_slice() {
        [] if count < 1.0 => Finding::unseen(STORE, "nothing was asked of it yet"),
        [] if average > SLOW => {
            Finding::bad(STORE, format!("{average:.0} ms for an operation on average"), "move the store of store.url nearer to the nodes, or give it more CPU")
        }
        [] => Finding::well(STORE, format!("{average:.1} ms for an operation on average, of {count} since the node started")),
        away => Finding::bad(
            STORE,
            format!("away, for {}", away.join(", ")),
            "look at the store of store.url, and whether this node may reach it; the node's log says what it answers",
        ),
    };
    let (live, silent) = (scrape.sum("cluster_nodes", "live"), scrape.sum("cluster_nodes", "unreachable"));
    let members = if silent > 0.0 {
        Finding::bad(
            MEMBERS,
            format!("{silent} of {} do not answer this node", live + silent),
            "let the nodes reach one another on listen.peer, under cluster.advertise",
        )
    } else {
        Finding::well(MEMBERS, format!("{live} in the cluster, this one included"))
    };
    let skew = scrape.sum("cluster_clock_skew_seconds", "");
    let clocks = if skew > CLOCKS {
        Finding::bad("clocks of nodes", format!("{skew:.1} s apart"), "set the clocks of all nodes by NTP; tickets, bans and certificates are judged by them")
    } else {
        Finding::well("clocks of nodes", format!("{:.0} ms apart at most", skew * 1000.0))
    };
    vec![store, members, clocks]
}

fn missing(text: &str) -> String {
    let shut: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix("[-] ")).collect();
    if shut.is_empty() { "it gives no reason".into() } else { shut.join(", ") }
}

const SUBJECT: &str = "node";
const STORE: &str = "store";
const MEMBERS: &str = "nodes";
/// Milliseconds of an operation; `store.timeout` is 200.
const SLOW: f64 = 50.0;
/// Seconds that the clocks of nodes may differ.
const CLOCKS: f64 = 2.0;
const DEADLINE: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metrics_are_put_into_words() {
        let well = "ftps_gateway_shared_store_up{function=\"bans\"} 1\nftps_gateway_shared_store_op_duration_seconds_sum{store=\"redis\"} 0.5\n\
            ftps_gateway_shared_store_op_duration_seconds_count{store=\"redis\"} 250\nftps_gateway_cluster_nodes{state=\"live\"} 3\nftps_gateway_cluster_clock_skew_seconds 0.004\n";
        let seen: Vec<String> = measured(well).into_iter().map(|finding| finding.seen).collect();
        assert_eq!(seen, ["2.0 ms for an operation on average, of 250 since the node started", "3 in the cluster, this one included", "4 ms apart at most"]);
        let bad = well
            .replace("bans\"} 1", "bans\"} 0")
            .replace("skew_seconds 0.004", "skew_seconds 30")
            .replace("live\"} 3", "live\"} 2\nftps_gateway_cluster_nodes{state=\"unreachable\"} 1");
        let bad = measured(&bad);
        assert!(bad.iter().all(|finding| finding.change.is_some()), "{bad:?}");
        assert!(bad[0].seen.contains("away, for bans") && bad[1].seen.contains("1 of 3") && bad[2].seen.contains("30.0 s"), "{bad:?}");
        let slow = measured(&well.replace("} 0.5", "} 50"));
        assert!(slow[0].seen.starts_with("200 ms"), "{slow:?}");
    }

    #[test]
    fn a_probe_is_put_into_words() {
        assert_eq!(said(200, "[+] listeners\nok\n"), [Finding::well("node", "ready")]);
        let degraded = said(200, "[+] listeners\n[!] store: away for 3 s\nok\n");
        assert_eq!(degraded[1].seen, "store: away for 3 s");
        assert!(said(503, "[-] bans\nstarting\n")[0].seen.contains("bans"));
        assert!(said(503, "draining\n")[0].seen.contains("drains"));
    }
}

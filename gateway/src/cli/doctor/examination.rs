//! The examination, in the order in which a client meets the gateway: connection, TLS, login, sessions, data, files, clocks.
//!
//! Gets: a patient. Gives: findings; it stops where nothing further can be seen.
//! Never: leaves its file behind when the connection still lives.

use std::collections::BTreeMap;
use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use ftps_proto::machine::io::fold;
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, ProtocolVersion};
use zeroize::Zeroizing;

use super::connection::{Broken, Control, Target};
use super::data::{self, Probe};
use super::finding::Finding;
use super::trust::Trust;

/// Whom to examine, and how.
pub(super) struct Patient {
    pub(super) target: Target,
    pub(super) trust: Arc<Trust>,
    pub(super) user: String,
    pub(super) password: Zeroizing<Vec<u8>>,
    /// Log in although the certificate does not verify.
    pub(super) insecure: bool,
    /// Control connections, and data connections, to look at.
    pub(super) connections: usize,
    /// Where the file of its own goes.
    pub(super) directory: String,
}

/// Looks at everything.
pub(super) fn run(patient: &Patient) -> Vec<Finding> {
    let mut findings = Vec::new();
    let config = match patient.trust.config(&[&TLS13, &TLS12]) {
        Ok(config) => config,
        Err(error) => return vec![Finding::unseen("TLS", error.to_string())],
    };
    let Some(mut first) = enter(patient, &config, &mut findings) else { return findings };
    let mut others = sessions(patient, &config, &mut findings);
    source(&mut first, &mut findings);
    let probe = data::address(&mut first, &mut findings).and_then(|way| {
        let probe = data::upload(&mut first, way, &patient.directory, &mut findings);
        data::connections(&mut first, way, probe.as_ref(), patient.connections, &mut findings);
        probe
    });
    if let Some(probe) = probe {
        clock(&mut first, &probe, &mut findings);
        visible(&mut others, &probe, &mut findings);
        let _ = first.command(&format!("DELE {}", probe.path), &[250]);
    }
    findings
}

/// The first connection: greeting, TLS, certificate, login.
fn enter(patient: &Patient, config: &Arc<ClientConfig>, findings: &mut Vec<Finding>) -> Option<Control> {
    let began = Instant::now();
    let mut control = match Control::open(&patient.target, config) {
        Ok(control) => control,
        Err(broken) => {
            findings.push(unreachable(&patient.target, &broken));
            return None;
        }
    };
    let version = if control.version == Some(ProtocolVersion::TLSv1_2) { "TLS 1.2" } else { "TLS 1.3" };
    findings.push(Finding::well("connection", format!("{} with {version}, {} ms to the end of the handshake", control.server, began.elapsed().as_millis())));
    let seen = patient.trust.seen()?;
    findings.push(seen.finding(&patient.target.host));
    findings.extend(seen.staple());
    if !seen.is_good() && !patient.insecure {
        findings.push(Finding::unseen("login", "the password was not sent, because the certificate does not verify; --insecure looks on all the same"));
        return None;
    }
    let began = Instant::now();
    match control.log_in(&patient.user, &patient.password) {
        Ok(()) => {
            findings.push(Finding::well("login", format!("{} after {} ms", patient.user, began.elapsed().as_millis())));
            Some(control)
        }
        Err(broken) => {
            findings.push(Finding::bad("login", broken.to_string(), login_advice(&broken)));
            None
        }
    }
}

fn unreachable(target: &Target, broken: &Broken) -> Finding {
    let (host, address) = (&target.host, target.address);
    match broken {
        Broken::Socket(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            Finding::bad("connection", format!("{address} refuses connections"), "start a node, or let the balancer send this port to the nodes")
        }
        Broken::Socket(error) if error.kind() == io::ErrorKind::TimedOut => {
            Finding::bad("connection", format!("{address} does not answer"), format!("open port {} of {host} in firewalls and in the balancer", address.port()))
        }
        Broken::Socket(error) if is_tls(error) => {
            let change = if target.implicit { LEAVE_IMPLICIT } else { "look at the node's log: the line of this handshake has the reason in words" };
            Finding::bad("TLS", error.to_string(), change)
        }
        Broken::Refused(reply) if reply.code == 421 || reply.code == 530 => Finding::bad(
            "connection",
            broken.to_string(),
            "ask `ctl bans` whether this address is banned, `ctl nodes` whether the node drains, and look at listen.allow_from, limits.sessions and limits.sessions_per_ip",
        ),
        Broken::Refused(_) => Finding::bad("TLS", broken.to_string(), "this server has no AUTH TLS; for an implicit port use --implicit"),
        Broken::Socket(_) | Broken::NotFtp => Finding::bad(
            "connection",
            format!("{address}: {broken}"),
            if target.implicit {
                LEAVE_IMPLICIT
            } else {
                "for a port that begins with TLS use --implicit; a balancer that expects PROXY headers from us is in the wrong place"
            },
        ),
    }
}

/// rustls' own errors come wrapped.
fn is_tls(error: &io::Error) -> bool {
    error.get_ref().is_some_and(|inner| inner.is::<rustls::Error>())
}

fn login_advice(broken: &Broken) -> &'static str {
    match broken {
        Broken::Refused(reply) if reply.code == 530 => {
            "check the name and the password; then the user's enabled, expires, from and client_certificates in the users file"
        }
        Broken::Refused(reply) if reply.code == 421 => {
            "a limit or a ban ended the session: `ctl bans check`, limits.logins_per_minute_per_ip, limits.sessions_per_user"
        }
        Broken::Refused(_) | Broken::Socket(_) | Broken::NotFtp => "look at the node's log: the lines of this session have the reason in words",
    }
}

/// More control connections: whether each resumes the session of an earlier one, wherever the balancer sends it.
fn sessions(patient: &Patient, config: &Arc<ClientConfig>, findings: &mut Vec<Finding>) -> Vec<Control> {
    let mut others = Vec::new();
    let (mut resumed, mut failed, mut strangers) = (0, None, BTreeMap::new());
    for _ in 0..patient.connections {
        // As a client that comes back would: not in the same millisecond.
        std::thread::sleep(PAUSE);
        match Control::open(&patient.target, config).and_then(|mut control| control.log_in(&patient.user, &patient.password).map(|()| control)) {
            Ok(mut control) => {
                resumed += usize::from(control.resumed);
                if !control.resumed {
                    *strangers.entry(control.node()).or_insert(0_usize) += 1;
                }
                others.push(control);
            }
            Err(broken) => failed = Some(broken),
        }
    }
    let all = others.len();
    if let Some(broken) = failed {
        let advice = "raise limits.sessions_per_ip and limits.sessions_per_user, or look why a node behind the balancer does not serve";
        findings.push(Finding::bad("more sessions", format!("{} of {} failed: {broken}", patient.connections - all, patient.connections), advice));
    }
    findings.push(match resumed {
        _ if all == 0 => Finding::unseen(RESUMPTION, "there was no second session"),
        _ if resumed == all => Finding::well(RESUMPTION, format!("{all} of {all} further sessions resumed the first one's TLS session")),
        0 => Finding::bad(
            RESUMPTION,
            format!("0 of {all} further sessions resumed{}", named(&strangers)),
            "look at tls.session_lifetime, and give all nodes the same cluster.secret_file",
        ),
        _ => Finding::bad(
            RESUMPTION,
            format!("{resumed} of {all} further sessions resumed: some nodes do not know the sessions of the others{}", named(&strangers)),
            "give all nodes behind the balancer the same cluster.secret_file and the same store.url",
        ),
    });
    others
}

/// The nodes that resumed nothing, as far as they say who they are.
fn named(strangers: &BTreeMap<Option<String>, usize>) -> String {
    let named: Vec<String> = strangers.iter().filter_map(|(node, times)| Some(format!("{} ({times})", node.as_ref()?))).collect();
    if named.is_empty() { String::new() } else { format!("; not on {}", named.join(", ")) }
}

/// Which address the gateway takes us for.
fn source(control: &mut Control, findings: &mut Vec<Finding>) {
    let own = fold(control.local).ip();
    let Ok(reply) = control.command("SITE WHO", &[200]) else {
        findings.push(Finding::unseen(SOURCE, "the server does not tell (SITE WHO)"));
        return;
    };
    let seen: Vec<IpAddr> = reply.text.split_whitespace().filter_map(|word| word.parse().ok()).collect();
    findings.push(match seen.first() {
        None => Finding::unseen(SOURCE, "the server does not tell (SITE WHO)"),
        Some(_) if seen.contains(&own) => Finding::well(SOURCE, format!("the gateway sees this machine as {own}, its own address")),
        Some(one) if data::is_private(*one) => Finding::note(
            SOURCE,
            format!("the gateway sees this machine, {own}, as {one}, a private address"),
            "unless a translating router stands between, let the balancer write PROXY headers and name it in listen.proxy_protocol_from; else bans and limits by address do not work",
        ),
        Some(one) => Finding::well(SOURCE, format!("the gateway sees this machine, {own}, as {one}: translated on the way")),
    });
}

/// The file system's clock, by the time of the file just written.
fn clock(control: &mut Control, probe: &Probe, findings: &mut Vec<Finding>) {
    let modified = control.command(&format!("MDTM {}", probe.path), &[213]).ok().and_then(|reply| data::unix_time(&reply.text));
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |age| i64::try_from(age.as_secs()).unwrap_or(i64::MAX));
    findings.push(match modified.map(|modified| now.saturating_sub(modified)) {
        None => Finding::unseen("clock", "the server does not tell when the file was written (MDTM)"),
        Some(off) if off.abs() <= CLOCK => Finding::well("clock", "the storage's clock and this machine's agree"),
        Some(off) => Finding::bad(
            "clock",
            format!("the storage's clock is {} s {} this machine's", off.abs(), if off > 0 { "behind" } else { "ahead of" }),
            "set both by NTP; certificates, tokens and session lifetimes are judged by clocks",
        ),
    });
}

/// How long until the sessions of the other connections, on whichever node, see the file.
fn visible(others: &mut [Control], probe: &Probe, findings: &mut Vec<Finding>) {
    let line = format!("SIZE {}", probe.path);
    let (mut longest, mut unseen) = (Duration::ZERO, 0);
    for other in &mut *others {
        let end = Instant::now() + VISIBLE;
        loop {
            if other.command(&line, &[213]).is_ok_and(|reply| reply.text.trim() == probe.bytes.len().to_string()) {
                longest = longest.max(probe.stored.elapsed());
                break;
            }
            if Instant::now() > end {
                unseen += 1;
                break;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }
    let all = others.len();
    findings.push(match unseen {
        _ if all == 0 => Finding::unseen(FILES, "there was no second session"),
        0 => Finding::well(FILES, format!("all {all} other sessions saw the new file within {} ms", longest.as_millis())),
        _ => Finding::bad(
            FILES,
            format!("{unseen} of {all} other sessions did not see the new file within {} s", VISIBLE.as_secs()),
            "mount the same volume as storage.root on every node, without caching of names (NFS: lookupcache=positive, actimeo=1)",
        ),
    });
}

const LEAVE_IMPLICIT: &str = "for a port that begins with AUTH TLS leave --implicit out";
const RESUMPTION: &str = "TLS sessions";
const SOURCE: &str = "client address";
const FILES: &str = "files";
/// Between two sessions.
const PAUSE: Duration = Duration::from_millis(20);
/// Seconds that clocks may differ.
const CLOCK: i64 = 5;
/// For a file to be seen on another node.
const VISIBLE: Duration = Duration::from_secs(10);

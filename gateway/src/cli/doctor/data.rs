//! Data connections: where they are announced, whether they get there, whether each reaches its session.
//!
//! Gets: a control connection that is logged in. Gives: findings, and a file of its own on the server.
//! Never: overwrites a file; the name is random.

use std::io;
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::time::Instant;

use super::connection::{Broken, Control, connect};
use super::finding::Finding;

/// How data connections get to the gateway from here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// To the address of PASV.
    Announced,
    /// To the host of the control connection, as EPSV says.
    SameHost,
}

/// A file on the server.
pub(super) struct Probe {
    pub(super) path: String,
    pub(super) bytes: Vec<u8>,
    pub(super) stored: Instant,
}

/// Whether the announced address can be used.
pub(super) fn address(control: &mut Control, findings: &mut Vec<Finding>) -> Option<Way> {
    let server = control.server.ip();
    let announced = match control.passive() {
        Ok(announced) => announced,
        // RFC 2428 §4: over IPv6 there is no PASV.
        Err(broken) if server.is_ipv6() => {
            findings.push(Finding::well(ADDRESS, format!("over IPv6 clients use EPSV (PASV: {broken})")));
            return Some(Way::SameHost);
        }
        Err(broken) => {
            findings.push(Finding::bad(ADDRESS, format!("PASV: {broken}"), "look at data.ports and at the node's log"));
            return None;
        }
    };
    match connect(announced) {
        Ok(_) if is_private(announced.ip()) && !is_private(server) => {
            findings.push(Finding::bad(ADDRESS, format!("PASV announces the private address {announced}"), set_to(server)));
            Some(Way::Announced)
        }
        Ok(_) => {
            findings.push(Finding::well(ADDRESS, format!("PASV announces {announced}, which takes connections")));
            Some(Way::Announced)
        }
        Err(error) => elsewhere(control, announced, &error, findings),
    }
}

/// The announced address does not work: perhaps that of the control connection does.
fn elsewhere(control: &mut Control, announced: SocketAddr, error: &io::Error, findings: &mut Vec<Finding>) -> Option<Way> {
    let server = control.server.ip();
    let fault = format!("PASV announces {announced}, which cannot be reached from here ({error})");
    if announced.ip() != server && control.extended_passive().is_ok_and(|same| connect(same).is_ok()) {
        findings.push(Finding::bad(ADDRESS, format!("{fault}; {server} can"), set_to(server)));
        return Some(Way::SameHost);
    }
    let change = format!("open the ports of data.ports in firewalls, and let the balancer send each of them ({} among them) to the nodes", announced.port());
    findings.push(Finding::bad(ADDRESS, fault, change));
    None
}

fn set_to(server: IpAddr) -> String {
    format!("set data.public_address to {server}")
}

/// Stores a small file under a name that nobody has.
pub(super) fn upload(control: &mut Control, way: Way, directory: &str, findings: &mut Vec<Finding>) -> Option<Probe> {
    let random = crate::observe::id::Ulid::now().to_string();
    let path = format!("{}/.doctor-{random}", directory.trim_end_matches('/'));
    let bytes: Vec<u8> = random.bytes().cycle().take(PROBE).collect();
    let stored = open(control, way).and_then(|socket| control.store(socket, &format!("STOR {path}"), &bytes));
    match stored {
        Ok(()) => {
            findings.push(Finding::well("upload", format!("{PROBE} bytes to {path}, removed again at the end")));
            Some(Probe { path, bytes, stored: Instant::now() })
        }
        Err(Broken::Refused(reply)) if [550, 553].contains(&reply.code) => {
            findings.push(Finding::unseen("upload", format!("this user may not write to {directory} ({}); clocks and files were not compared", reply.code)));
            None
        }
        Err(broken) => {
            findings.push(Finding::bad("upload", broken.to_string(), advice(&broken)));
            None
        }
    }
}

/// Several data connections of one session: all of them have to get there, whichever node the balancer picks.
pub(super) fn connections(control: &mut Control, way: Way, probe: Option<&Probe>, count: usize, findings: &mut Vec<Finding>) {
    let line = probe.map_or_else(|| "NLST".to_owned(), |probe| format!("RETR {}", probe.path));
    let (mut good, mut resumed, mut failed) = (0, 0, None);
    for _ in 0..count {
        match open(control, way).and_then(|socket| control.fetch(socket, &line)) {
            Ok(brought) if probe.is_none_or(|probe| probe.bytes == brought.bytes) => {
                good += 1;
                resumed += usize::from(brought.resumed);
            }
            Ok(_) => failed = Some((Broken::NotFtp, true)),
            Err(broken) => {
                let alive = matches!(broken, Broken::Refused(_));
                failed = Some((broken, false));
                if !alive {
                    break;
                }
            }
        }
    }
    findings.push(match failed {
        None => Finding::well(CONNECTIONS, format!("{good} of {count} reached their session, {resumed} resumed its TLS session")),
        Some((_, true)) => {
            Finding::bad(CONNECTIONS, "the file came back altered", "look for two gateways behind the balancer that serve different volumes as storage.root")
        }
        Some((broken, false)) => {
            let change = if good > 0 { NODES } else { advice(&broken) };
            Finding::bad(CONNECTIONS, format!("{good} of {count} reached their session, then: {broken}"), change)
        }
    });
}

fn open(control: &mut Control, way: Way) -> Result<TcpStream, Broken> {
    let address = match way {
        Way::Announced => control.passive()?,
        Way::SameHost => control.extended_passive()?,
    };
    Ok(connect(address)?)
}

fn advice(broken: &Broken) -> &'static str {
    match broken {
        Broken::Refused(reply) if reply.code == 425 => NODES,
        Broken::Refused(reply) if [452, 552].contains(&reply.code) => "make room on the volume of storage.root",
        Broken::Refused(_) => "look at the node's log: the lines of this session have the reason in words",
        Broken::Socket(_) | Broken::NotFtp => NODES,
    }
}

/// Addresses that no router of the internet knows (RFC 1918, RFC 6598, RFC 4193), this host and this link.
pub(super) fn is_private(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => ip.is_private() || ip.is_loopback() || ip.is_link_local() || (ip.octets()[0] == 100 && (64..128).contains(&ip.octets()[1])),
        IpAddr::V6(ip) => ip.is_loopback() || ip.is_unique_local() || ip.is_unicast_link_local(),
    }
}

/// `YYYYMMDDHHMMSS[.sss]` of MDTM, in Unix seconds (RFC 3659 §2.3).
pub(super) fn unix_time(text: &str) -> Option<i64> {
    ftps_proto::time::Timestamp::parse(text.trim().as_bytes()).map(|stamp| stamp.seconds)
}

const ADDRESS: &str = "data address";
const CONNECTIONS: &str = "data connections";
const NODES: &str =
    "let the nodes reach one another on listen.peer, with one cluster.secret_file; between balancer and nodes send data ports to the nodes unchanged";
/// Bytes of the file.
const PROBE: usize = 2048;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn private_addresses_are_known() {
        for private in ["10.1.2.3", "172.16.0.1", "192.168.1.1", "127.0.0.1", "169.254.1.1", "100.64.0.1", "::1", "fd00::1", "fe80::1"] {
            assert!(is_private(private.parse().unwrap()), "{private}");
        }
        for public in ["203.0.113.7", "100.128.0.1", "172.32.0.1", "2001:db8::1"] {
            assert!(!is_private(public.parse().unwrap()), "{public}");
        }
    }

    #[test]
    fn times_of_mdtm_are_read() {
        assert_eq!(unix_time("19700101000001"), Some(1));
        assert_eq!(unix_time("20261127133100.250"), Some(1_795_786_260));
        assert_eq!(unix_time("yesterday"), None);
    }
}

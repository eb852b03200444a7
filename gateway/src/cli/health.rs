//! `healthcheck`: asks the node on this host, for containers without a shell.
//!
//! Gets: where to ask. Gives: exit code 0 when the answer is 200, else 1 and the reason. Never: waits longer than five seconds.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use super::{DONE, Health, NOT_WELL, USAGE, complain, quick};
use crate::config;
use crate::net::http;

pub(super) async fn run(health: &Health) -> u8 {
    let base = match base(health) {
        Ok(base) => base,
        Err(message) => {
            complain(&message);
            return USAGE;
        }
    };
    let url = format!("{}/{}", base.trim_end_matches('/'), if health.ready { "readyz" } else { "livez" });
    match http::get(&url, DEADLINE).await {
        Ok((200, _)) => DONE,
        Ok((status, body)) => {
            complain(&format!("{url} answers {status}: {}", String::from_utf8_lossy(&body).trim()));
            NOT_WELL
        }
        Err(error) => {
            complain(&format!("{url}: {error}"));
            NOT_WELL
        }
    }
}

fn base(health: &Health) -> Result<String, String> {
    if let Some(url) = &health.url {
        return Ok(url.clone());
    }
    let address = match &health.config {
        Some(file) => config::probe_address(file).map_err(|problems| problems.to_string())?,
        None => quick::ADMIN,
    };
    if address.port() == 0 {
        Err("the configuration leaves the port to the kernel; name the address with --url".into())
    } else {
        Ok(format!("http://{}", reachable(address)))
    }
}

/// An address to connect to: a wildcard is reached on loopback.
fn reachable(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        // A dual-stack wildcard answers on IPv4 also where IPv6 has no loopback; containers often are so.
        IpAddr::V6(Ipv6Addr::UNSPECIFIED) => Ipv4Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, address.port())
}

const DEADLINE: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    #[test]
    fn wildcards_are_asked_on_loopback() {
        for (listens, asked) in [("[::]:1", "127.0.0.1:1"), ("0.0.0.0:1", "127.0.0.1:1"), ("[::1]:1", "[::1]:1"), ("10.0.0.1:1", "10.0.0.1:1")] {
            assert_eq!(reachable(listens.parse().unwrap()), asked.parse().unwrap());
        }
    }

    #[tokio::test]
    async fn nobody_there_is_not_well() {
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let health = Health { ready: false, config: None, url: Some(format!("http://{free}/")) };
        assert_eq!(tokio::time::timeout(Duration::from_secs(10), run(&health)).await.unwrap(), NOT_WELL);
    }
}

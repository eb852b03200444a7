//! HAProxy in front, telling addresses by the PROXY protocol, as people run it: a node at random for each connection, probes that hold no session.
//!
//! Gets: haproxy of the system on the address of the kit's balancer. Gives: transfers by hash of clients that show no session, and who the nodes say they are.
//! Never: a process that outlives its test.

use std::net::Ipv4Addr;
use std::process::{Child, Command, Stdio};

use crate::kit::{self, Client, Cluster, Server, Setup, Tell, Tls, Tree, Version, contents, programs, random_bytes, same};
use crate::need;

/// A running HAProxy; it ends when dropped.
struct Haproxy(Child);

impl Haproxy {
    /// In place of the kit's balancer, for the nodes that there are.
    fn before(cluster: &mut Cluster) -> Self {
        cluster.balancer.stop();
        let (ip, nodes) = (cluster.balancer.ip, cluster.nodes().count());
        let mut text = "global\n  maxconn 2000\ndefaults\n  mode tcp\n  timeout connect 5s\n  timeout client 10m\n  timeout server 10m\n".to_owned();
        for port in cluster.ports() {
            text.push_str(&format!("listen port{port}\n  bind {ip}:{port}\n  balance random(1)\n"));
            // Only the control port says whether a node lives; the others follow it.
            let check = if port == cluster.ports()[0] { "check check-send-proxy inter 200ms fall 2 rise 1".to_owned() } else { String::new() };
            for number in 0..nodes {
                let (node, track) = (cluster.address(number), format!("track port{}/n{number}", cluster.ports()[0]));
                let health = if check.is_empty() { &track } else { &check };
                text.push_str(&format!("  server n{number} {node}:{port} source {ip} send-proxy-v2 {health}\n"));
            }
        }
        let file = cluster.file("haproxy.cfg", text.as_bytes());
        let child = Command::new("haproxy").arg("-db").arg("-f").arg(file).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        let child = child.expect("haproxy");
        kit::register(child.id());
        let first = cluster.ports()[0];
        kit::eventually(20, "haproxy listens", || std::net::TcpStream::connect((ip, first)).is_ok());
        Self(child)
    }
}

impl Drop for Haproxy {
    fn drop(&mut self) {
        kit::unregister(self.0.id());
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn clients_without_a_session_behind_haproxy_that_tells_their_address() {
    need!("haproxy", "python3", "perl");
    kit::test(300, || {
        let Some(server) = Server::redis() else { return };
        let mut cluster = Cluster::with(Setup { tell: Tell::truth(2), store: Some(server.url()), ..Setup::default() });
        cluster.settle();
        let _haproxy = Haproxy::before(&mut cluster);
        for version in [Version::Tls12, Version::Tls13] {
            round(&cluster, |local| programs::plain_ftplib(&cluster, local, version, files()), &format!("Python, {version:?}"));
            round(&cluster, |local| programs::net_ftp(&cluster, local, version, files()), &format!("Perl, {version:?}"));
            round(&cluster, |local| programs::curl(&cluster, local, version, files()), &format!("curl, {version:?}"));
        }
        assert!(cluster.metric("ftps_gateway_data_connections_total", &["outcome=\"relayed\""]) > 10.0, "the test shows nothing");
        // Each client is known by its own address, on whatever node.
        let bytes = random_bytes(50_000);
        for last in [77, 78] {
            let mut client = Client::implicit_from(&cluster, &Tls::new(Version::Tls13), Ipv4Addr::new(127, 0, 0, last));
            client.login(kit::USER);
            client.put("STOR /mine", &bytes).is(226);
            same(&client.get("RETR /mine"), &bytes, "down");
            client.command("DELE /mine").is(250);
            client.command("QUIT").is(221);
            let told = format!("\"peer\":\"127.0.0.{last}:");
            kit::eventually(20, "its address is in the log", || {
                cluster.nodes().any(|node| node.log().iter().any(|line| line.contains("\"transfer_ended\"") && line.contains(&told)))
            });
        }
        // HAProxy looks five times a second at each node: nobody hears of it, and it is never taken for an attack.
        assert_eq!(cluster.metric("ftps_gateway_proxy_protocol_errors_total", &[]), 0.0);
        let balancer = format!("\"peer\":\"{}:", cluster.balancer.ip);
        for node in cluster.nodes() {
            assert!(!node.log().iter().any(|line| line.contains(&balancer) && !line.contains("\"debug\"")), "a probe made noise");
        }
        assert_eq!(cluster.metric("ftps_gateway_bans", &[]), 0.0);
        // A node dies: HAProxy notices, and what comes from then on is served.
        cluster.kill(1);
        std::thread::sleep(std::time::Duration::from_secs(2));
        round(&cluster, |local| programs::plain_ftplib(&cluster, local, Version::Tls13, files()), "with a node less");
    });
}

fn round(cluster: &Cluster, program: impl Fn(&Tree) -> bool, what: &str) {
    let local = Tree::new();
    (0..files()).for_each(|index| drop(local.write_random(&format!("up/{index}.bin"), 40_000)));
    std::fs::create_dir(local.join("down")).unwrap();
    assert!(program(&local), "{what}: the program is not here");
    assert_eq!(contents(&local.join("up")), contents(&cluster.root), "uploaded, {what}");
    assert_eq!(contents(&local.join("up")), contents(&local.join("down")), "downloaded, {what}");
    contents(&cluster.root).keys().for_each(|name| std::fs::remove_file(cluster.root.join(name)).unwrap());
}

/// Of each program and TLS version, up and down.
fn files() -> usize {
    if kit::full() { 125 } else { 10 }
}

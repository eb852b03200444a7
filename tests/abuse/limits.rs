//! Each limit of the configuration, small enough to be reached: who reaches it is told, it is named in the metrics, and the others go on.
//!
//! Gets: a node with one small limit. Gives: reply, count, and a client that is still served.
//! Never: one test for two limits, or a limit of `limits:` without a test here or in `bandwidth.rs`.

use std::net::Ipv4Addr;
use std::sync::Barrier;
use std::time::Duration;

use crate::kit::{self, Client, Data, Node, Options, Run, Tls, USER, Version, connect, random_bytes, users_file};

#[test]
fn sessions() {
    kit::test(60, || {
        let node = limited("sessions: 3");
        let held: Vec<Client> = (0..3).map(|_| Client::ready(&node)).collect();
        Client::open(node.explicit, &tls()).expect(421);
        refused(&node, "sessions");
        drop(held);
        kit::eventually(10, "the places are free again", || Client::open(node.explicit, &tls()).reply().code == 220);
    });
}

/// Over several nodes: `cluster/limits.rs`, as those of an address and of a user.
#[test]
fn cluster_sessions() {
    kit::test(60, || {
        let node = limited("cluster_sessions: 2");
        let held: Vec<Client> = (0..2).map(|_| Client::ready(&node)).collect();
        Client::open(node.explicit, &tls()).expect(421);
        refused(&node, "cluster_sessions");
        drop(held);
        kit::eventually(10, "the places are free again", || Client::open(node.explicit, &tls()).reply().code == 220);
    });
}

#[test]
fn sessions_per_ip() {
    kit::test(60, || {
        let node = limited("sessions_per_ip: 3");
        let held: Vec<Client> = (0..3).map(|_| Client::ready(&node)).collect();
        Client::open(node.explicit, &tls()).expect(421);
        refused(&node, "sessions_per_ip");
        let mut other = Client::implicit_from(&node, &tls(), Ipv4Addr::new(127, 0, 0, 2));
        other.login(USER);
        drop(held);
    });
}

#[test]
fn sessions_per_user() {
    kit::test(60, || {
        let mut options = Options::default().set("limits", "{ sessions_per_user: 2 }");
        options.users = users_file(&[("demo", "/", "all"), ("other", "/", "all")]);
        let node = Node::with(options);
        let held: Vec<Client> = (0..2).map(|_| Client::ready(&node)).collect();
        let mut third = Client::implicit(&node, &tls());
        third.command("USER demo").is(331);
        third.command("PASS demo-password").one_of(&[421, 530]);
        assert_eq!(hits(&node, "sessions_per_user"), 1.0);
        drop(Client::session_of(&node, &tls(), "other"));
        drop(held);
        kit::eventually(10, "the user's places are free again", || {
            let mut again = Client::implicit(&node, &tls());
            again.command("USER demo").is(331);
            again.command("PASS demo-password").code == 230
        });
    });
}

#[test]
fn logins_per_minute_per_ip() {
    kit::test(60, || {
        let node = limited("logins_per_minute_per_ip: 4");
        (0..4).for_each(|_| drop(Client::ready(&node)));
        // The right password, too soon.
        let mut client = Client::implicit(&node, &tls());
        client.command("USER demo").is(331);
        client.command("PASS demo-password").one_of(&[421, 530]);
        assert_eq!(hits(&node, "logins_per_minute_per_ip"), 1.0);
        Client::implicit_from(&node, &tls(), Ipv4Addr::new(127, 0, 0, 2)).login(USER);
    });
}

/// One deadline from the connection to the login, in whatever way it is spent: five ways to be slow, and one that talks all the time.
#[test]
fn login_timeout() {
    kit::test(60, || {
        let node = limited("login_timeout: 2s");
        let explicit = || Client::connect(&node, &tls());
        let after = |line: &str| {
            let mut client = Client::implicit(&node, &tls());
            client.command(line);
            client
        };
        let silent = explicit();
        let mut asked = explicit();
        asked.command("AUTH TLS").is(234);
        let mut half = explicit();
        half.command("AUTH TLS").is(234);
        half.send(&Client::hello(&tls())[..20]).unwrap();
        let implicit = Client::open(node.implicit, &tls());
        let mut talker = after("NOOP");
        // Longer than the deadline, shorter than twice.
        for _ in 0..30 {
            std::thread::sleep(Duration::from_millis(100));
            if talker.send(b"NOOP\r\n").is_err() {
                break;
            }
        }
        let mut slow = [("silent", silent), ("AUTH", asked), ("half a hello", half), ("implicit", implicit), ("USER", after("USER demo")), ("NOOP", talker)];
        for (what, client) in &mut slow {
            let rest = client.rest();
            assert!(!rest.contains("230"), "{what}: {rest:?}");
        }
        kit::eventually(10, "each is counted", || hits(&node, "login_timeout") >= 6.0);
        assert!(node.metric("ftps_gateway_tls_handshake_failures_total", &["\"control\"", "\"timeout\""]).unwrap() >= 3.0);
        Client::ready(&node).command("NOOP").is(200);
    });
}

#[test]
fn idle_timeout() {
    kit::test(60, || {
        let node = limited("idle_timeout: 1s");
        let mut client = Client::ready(&node);
        client.expect(421);
        client.rest();
        assert_eq!(hits(&node, "idle_timeout"), 1.0);
        kit::eventually(10, "it ended for that reason", || node.metric("ftps_gateway_sessions_closed_total", &["\"idle_timeout\""]) == Some(1.0));
    });
}

/// Both ways, listings too; a client that moves a byte now and then is not stalled.
#[test]
fn stall_timeout() {
    kit::test(90, || {
        let node = limited("stall_timeout: 2s");
        std::fs::write(node.root.join("big"), random_bytes(64 << 20)).unwrap();
        let mut client = Client::session(&node, &Tls::new(Version::Tls12));
        let mut data = client.begin("STOR steady");
        data.handshake().unwrap();
        for _ in 0..15 {
            data.write(b"a").unwrap();
            std::thread::sleep(Duration::from_millis(200));
        }
        data.finish();
        client.expect(226);
        assert_eq!(hits(&node, "stall_timeout"), 0.0);
        for command in ["RETR big", "STOR new"] {
            let mut data = client.begin(command);
            data.handshake().unwrap();
            if command.starts_with("STOR") {
                data.write(b"a").unwrap();
            }
            client.expect(426);
            drop(data);
        }
        assert_eq!(hits(&node, "stall_timeout"), 2.0);
        assert!(!node.root.join("new").exists());
    });
}

#[test]
fn data_timeout() {
    kit::test(60, || {
        let node = limited("data_timeout: 1s");
        std::fs::write(node.root.join("file"), b"x").unwrap();
        let mut client = Client::ready(&node);
        for command in ["RETR file", "STOR new", "NLST"] {
            client.epsv();
            client.command(command).is(150);
            client.expect(425);
        }
        assert_eq!(hits(&node, "data_timeout"), 3.0);
        assert!(!node.root.join("new").exists());
        assert_eq!(client.get("RETR file"), b"x");
    });
}

#[test]
fn write_timeout() {
    kit::test(60, || {
        let node = limited("write_timeout: 1s");
        let mut client = Client::session(&node, &Tls::new(Version::Tls12));
        client.socket().set_write_timeout(Some(Duration::from_secs(1))).unwrap();
        socket2::SockRef::from(client.socket()).set_recv_buffer_size(4096).unwrap();
        // As long as it takes us in: replies of a hundred times the size of the command soon fill what the kernel holds of them.
        let many = b"HELP\r\n".repeat(2_000);
        kit::eventually(40, "a reply is not read in time", || {
            let _ = client.send(&many);
            hits(&node, "write_timeout") >= 1.0
        });
        kit::eventually(10, "it ended for that reason", || node.metric("ftps_gateway_sessions_closed_total", &["\"write_timeout\""]) == Some(1.0));
        Client::ready(&node).command("NOOP").is(200);
    });
}

/// 421 at an idle point, not in the middle of a transfer.
#[test]
fn session_max() {
    kit::test(60, || {
        let node = limited("session_max: 1s");
        let mut client = Client::ready(&node);
        let mut data = client.begin("STOR late");
        data.handshake().unwrap();
        data.write(b"begun in time").unwrap();
        std::thread::sleep(Duration::from_millis(1500));
        data.finish();
        client.expect(226);
        client.expect(421);
        assert_eq!(hits(&node, "session_max"), 1.0);
        assert_eq!(std::fs::read(node.root.join("late")).unwrap(), b"begun in time");
    });
}

/// Half of it, at most 4 KiB, before the login.
#[test]
fn line() {
    kit::test(60, || {
        let node = limited("line: 1KiB");
        let line = |length: usize| [&b"A".repeat(length)[..], b"\r\n"].concat();
        let mut client = Client::connect(&node, &tls());
        client.send(&line(600)).unwrap();
        client.expect(500);
        let mut client = Client::ready(&node);
        client.send(&[&b"CWD "[..], &b"a/".repeat(400), b"\r\n"].concat()).unwrap();
        client.expect(550);
        client.send(&line(1100)).unwrap();
        client.expect(500);
        client.command("NOOP").is(200);
        assert_eq!(hits(&node, "line"), 2.0);
    });
}

/// One hash at a time, 64 that wait: the rest is told to come again, and nobody waits for long.
#[test]
fn password_jobs() {
    kit::test(120, || {
        let hash = Run::new(kit::binary(), ["hash-password"]).input("right\n").run().ok();
        let options = Options { users: format!("users:\n  - {{ name: alice, password: \"{}\", home: / }}\n", hash.text().trim()), ..Options::default() };
        let node = Node::with(options.set("limits", "{ password_jobs: 1, logins_per_minute_per_ip: 100000, sessions_per_ip: 1000, sessions_per_user: 1000 }"));
        let together = Barrier::new(100);
        std::thread::scope(|scope| {
            for _ in 0..100 {
                scope.spawn(|| {
                    let mut client = Client::implicit(&node, &tls());
                    client.command("USER alice").is(331);
                    together.wait();
                    client.command("PASS wrong").one_of(&[421, 450, 530]);
                });
            }
        });
        assert!(hits(&node, "password_jobs") >= 10.0, "{} of 100 found the queue full", hits(&node, "password_jobs"));
        assert_eq!(node.metric("ftps_gateway_password_queue_depth", &[]), Some(0.0));
    });
}

/// While sessions without a login fill more than half of the node, newcomers are dropped at random, more the fuller it is: a flood leaves a door ajar.
#[test]
fn early_random_drop() {
    kit::test(90, || {
        let node = limited("sessions: 200, sessions_per_ip: 1000, sessions_per_user: 1000, logins_per_minute_per_ip: 1000");
        let (mut strangers, mut dropped) = (Vec::new(), 0);
        for number in 0..200 {
            let mut client = Client::open(node.explicit, &tls());
            match client.try_reply() {
                Ok(reply) if reply.code == 220 => strangers.push(client),
                _ => {
                    assert!(number >= 100, "connection {number} of 200: nobody is dropped while half of the places are free");
                    dropped += 1;
                }
            }
        }
        assert!(dropped >= 5 && strangers.len() > 100, "{dropped} dropped, {} admitted", strangers.len());
        assert!(strangers.len() < 200 && hits(&node, "sessions") == f64::from(dropped));
        // Whoever tries again gets in.
        kit::eventually(20, "a client that comes again is admitted", || Client::open(node.explicit, &tls()).reply().code == 220);
        // Those who log in are strangers no more.
        let inside: Vec<Client> = strangers
            .drain(..)
            .take(60)
            .map(|mut client| {
                client.secure();
                client.login(USER);
                client
            })
            .collect();
        kit::eventually(10, "the others are gone", || node.metric("ftps_gateway_sessions", &["\"preauth\""]) == Some(0.0));
        let before = hits(&node, "sessions");
        let more: Vec<Client> = (0..60).map(|_| Client::connect(&node, &tls())).collect();
        assert_eq!(hits(&node, "sessions"), before, "sessions that have logged in drop nobody");
        drop((inside, more));
    });
}

/// Ten seconds for a handshake, however long the login may take; on data connections too, where four that say nothing keep nobody out.
#[test]
fn handshakes_that_stop_half_way() {
    kit::test(90, || {
        let node = Node::start();
        std::fs::write(node.root.join("file"), b"for its owner").unwrap();
        let mut half = Client::connect(&node, &tls());
        half.command("AUTH TLS").is(234);
        let hello = Client::hello(&tls());
        half.send(&hello[..hello.len() / 2]).unwrap();
        let mut client = Client::ready(&node);
        let data = client.dial();
        let silent: Vec<_> = (0..6).map(|_| connect(data.peer()).unwrap()).collect();
        let mut stopped: Vec<Data> = (0..6).map(|_| Data::connect(data.peer(), &client.sibling())).collect();
        for (number, one) in stopped.iter_mut().enumerate() {
            one.raw(&hello[..hello.len() - number]).unwrap();
        }
        client.command("RETR file").is(150);
        let mut data = data;
        data.handshake().unwrap();
        assert_eq!(data.read_to_end().unwrap(), b"for its owner");
        data.finish();
        client.expect(226);
        half.rest();
        let failures = |channel: &str| node.metric("ftps_gateway_tls_handshake_failures_total", &[channel]).unwrap();
        kit::eventually(30, "each is counted", || {
            failures("\"control\"") >= 1.0 && node.metric("ftps_gateway_data_connections_total", &["\"no_hello\""]) >= Some(6.0)
        });
        drop(silent);
    });
}

fn limited(limit: &str) -> Node {
    Node::with(Options::default().set("limits", &format!("{{ {limit} }}")))
}

/// The refusal of one connection.
fn refused(node: &Node, limit: &str) {
    assert_eq!(hits(node, limit), 1.0);
    assert_eq!(node.metric("ftps_gateway_connections_total", &["\"limit\""]), Some(1.0));
}

fn hits(node: &Node, limit: &str) -> f64 {
    node.metric("ftps_gateway_limits_hit_total", &[&format!("\"{limit}\"")]).unwrap()
}

fn tls() -> Tls {
    Tls::new(Version::Tls13)
}

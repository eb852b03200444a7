//! Faults of Redis: frozen, killed, full, read-only, another password, garbage, TLS, ACL users, failover.
//!
//! Gets: real servers. Gives: operations that end within their deadline, a breaker that opens and closes, errors that say what to do.
//! Never: a fault simulated where the real one can be had.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::servers::{Server, free_port, have};
use super::{DEADLINE, Dir, Heard, eventually, open, options, run, skip};
use crate::backend::Message;
use crate::error::Failure;
use crate::location::Location;
use crate::report::{Finished, Notice, Operation, Outcome};
use crate::store::{OpenError, Store, TlsFiles};

/// With a deadline that a frozen server reaches soon.
async fn strict(url: &str) -> (Store, Arc<Heard>) {
    let dir = Dir::new();
    let (options, heard) = options(dir.path());
    (Store::open(&Location::parse(url).unwrap(), &options).unwrap(), heard)
}

const UP: Duration = Duration::from_secs(20);

#[test]
fn a_frozen_server_costs_one_deadline_and_is_found_again() {
    let Some(server) = Server::redis(&[]) else { return };
    run(60, async {
        let (store, heard) = strict(&server.url("redis")).await;
        assert!(store.wait_up(UP).await);
        store.put("key", b"value", None).await.unwrap();
        server.freeze();
        let start = Instant::now();
        assert_eq!(store.get("key").await.unwrap_err().failure, Failure::Timeout);
        assert!(start.elapsed() >= DEADLINE);
        assert!(!store.is_up());
        for _ in 0..1000 {
            assert_eq!(store.get("key").await.unwrap_err().failure, Failure::Absent);
        }
        let waited = |finished: &&Finished| finished.operation == Operation::Get && finished.outcome == Outcome::Failed(Failure::Timeout);
        assert_eq!(heard.finished().iter().filter(waited).count(), 1);
        assert_eq!(heard.downs(), [Failure::Timeout], "said once");
        tokio::time::sleep(Duration::from_millis(1500)).await;
        server.thaw();
        assert!(store.wait_up(UP).await, "{:?}", heard.notices());
        assert_eq!(store.get("key").await.unwrap().as_deref(), Some(&b"value"[..]));
        assert_eq!(heard.notices().iter().filter(|notice| matches!(notice, Notice::Up { .. })).count(), 2);
    });
}

#[test]
fn a_server_that_is_not_there_is_absent_until_it_starts() {
    let Some(mut server) = Server::redis(&[]) else { return };
    server.kill();
    run(60, async {
        let (store, heard) = strict(&server.url("redis")).await;
        assert_eq!(store.get("key").await.unwrap_err().failure, Failure::Absent);
        eventually(10, "it is said that the store is away", || !heard.downs().is_empty()).await;
        assert_eq!(heard.downs(), [Failure::Away]);
        server.restart();
        assert!(store.wait_up(UP).await);
        store.put("key", b"value", None).await.unwrap();
        server.kill();
        let end = Instant::now() + Duration::from_secs(10);
        while store.is_up() {
            assert!(store.get("key").await.is_err() && Instant::now() < end);
        }
        server.restart();
        assert!(store.wait_up(UP).await);
        assert_eq!(store.get("key").await.unwrap(), None, "no persistence");
    });
}

#[test]
fn a_wrong_password_is_said_and_mends_without_restart() {
    let Some(server) = Server::redis(&["--requirepass", "right"]) else { return };
    run(60, async {
        let (store, heard) = strict(&format!("redis://:wrong@127.0.0.1:{}", server.port)).await;
        eventually(10, "it is said", || !heard.downs().is_empty()).await;
        assert_eq!(heard.downs(), [Failure::Denied]);
        let text = format!("{:?}", heard.notices());
        assert!(!text.contains("wrong") || !text.contains(":wrong@"), "{text}");
        assert_eq!(server.cli(&["-a", "right", "--no-auth-warning", "CONFIG", "SET", "requirepass", "wrong"]), "OK");
        assert!(store.wait_up(UP).await, "{:?}", heard.notices());
        store.put("key", b"value", None).await.unwrap();
        // Changed under a live connection, which is then cut.
        assert_eq!(server.cli(&["-a", "wrong", "--no-auth-warning", "CONFIG", "SET", "requirepass", "new"]), "OK");
        server.cli(&["-a", "new", "--no-auth-warning", "CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"]);
        let end = Instant::now() + Duration::from_secs(20);
        while store.is_up() {
            let _ = store.get("key").await;
            assert!(Instant::now() < end, "it notices");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        assert_eq!(server.cli(&["-a", "new", "--no-auth-warning", "CONFIG", "SET", "requirepass", "wrong"]), "OK");
        assert!(store.wait_up(UP).await);
        assert_eq!(store.get("key").await.unwrap().as_deref(), Some(&b"value"[..]));
    });
}

#[test]
fn an_acl_user_limited_to_our_prefix_is_enough() {
    let Some(server) = Server::redis(&[]) else { return };
    let rules = "~ftps-gateway:* &ftps-gateway:* +get +mget +set +getdel +del +incrby +eval +publish +subscribe +ping +hello +multi +exec +wait";
    let mut command = vec!["ACL", "SETUSER", "gate", "on", ">p@ss"];
    command.extend(rules.split(' '));
    assert_eq!(server.cli(&command), "OK");
    assert_eq!(server.cli(&["ACL", "SETUSER", "default", "off"]), "OK");
    run(60, async {
        let dir = Dir::new();
        let (store, heard) = open(&format!("redis://gate:p%40ss@127.0.0.1:{}/0", server.port), dir.path()).await;
        let key = "ftps-gateway:default:ban:1";
        store.put(key, b"1", Some(UP)).await.unwrap();
        assert_eq!(store.multi_get(&[key.to_owned()]).await.unwrap(), [Some(b"1".to_vec())]);
        store.update(key, None, |_| Some(b"2".to_vec())).await.unwrap();
        assert_eq!(store.incr(key, 5, None).await.unwrap(), 7);
        assert!(!store.put_if_absent(key, b"x", None).await.unwrap());
        assert_eq!(store.put_confirmed(key, b"x", None, 1, Duration::from_millis(20)).await.unwrap(), 0, "no replica has it");
        store.take(key).await.unwrap().unwrap();
        store.delete(key).await.unwrap();
        let mut listener = store.subscribe(&["ftps-gateway:default:bus".to_owned()]).unwrap();
        assert_eq!(listener.next().await, Some(Message::Gap));
        store.publish("ftps-gateway:default:bus", b"x").await.unwrap();
        assert!(matches!(listener.next().await, Some(Message::Payload { .. })));
        let error = store.get("other:key").await.unwrap_err();
        assert!(error.failure == Failure::Forbidden && error.to_string().contains("prefix"), "{error}");
        assert!(heard.downs().is_empty() && store.is_up());
    });
}

#[test]
fn a_full_server_still_answers_reads() {
    let Some(server) = Server::redis(&["--maxmemory", "3mb", "--maxmemory-policy", "noeviction"]) else { return };
    run(60, async {
        let dir = Dir::new();
        let (store, heard) = open(&server.url("redis"), dir.path()).await;
        store.put("key", b"value", None).await.unwrap();
        let mut full = false;
        for n in 0..200 {
            full |= store.put(&format!("filler{n}"), &vec![0; 60_000], None).await.is_err_and(|error| error.failure == Failure::Full);
        }
        assert!(full);
        assert_eq!(store.incr("count", 1, None).await.unwrap_err().failure, Failure::Full);
        assert!(store.get("key").await.unwrap().is_some() && store.is_up());
        assert!(!heard.notices().iter().any(|notice| matches!(notice, Notice::Evicts { .. })));
    });
}

#[test]
fn an_evicting_policy_is_warned_of() {
    let Some(server) = Server::redis(&["--maxmemory", "50mb", "--maxmemory-policy", "allkeys-lru"]) else { return };
    run(30, async {
        let dir = Dir::new();
        let (_store, heard) = open(&server.url("redis"), dir.path()).await;
        eventually(5, "the warning", || heard.notices().contains(&Notice::Evicts { policy: "allkeys-lru".into() })).await;
    });
}

#[test]
fn a_replica_refuses_writes_and_answers_reads() {
    let Some(primary) = Server::redis(&[]) else { return };
    let Some(replica) = Server::redis(&["--replicaof", "127.0.0.1", &primary.port.to_string()]) else { return };
    run(60, async {
        let dir = Dir::new();
        let (write, _) = open(&primary.url("redis"), dir.path()).await;
        eventually(20, "the replica follows", || replica.cli(&["INFO", "replication"]).contains("master_link_status:up")).await;
        assert_eq!(write.put_confirmed("key", b"value", None, 1, Duration::from_secs(2)).await.unwrap(), 1, "the replica has it");
        let (read, _) = open(&replica.url("redis"), dir.path()).await;
        assert_eq!(read.put("key", b"x", None).await.unwrap_err().failure, Failure::ReadOnly);
        assert_eq!(read.get("key").await.unwrap().as_deref(), Some(&b"value"[..]));
        assert!(read.is_up());
    });
}

#[test]
fn garbage_on_the_wire_is_no_panic_and_no_hang() {
    // A server that greets like Redis and then lies, each time in another way.
    let lies: [&[u8]; 7] =
        [b"$999999999\r\nx", b"*1000000000\r\n", b"HTTP/1.1 400 Bad Request\r\n\r\n", b"\0\0\0\0", b":notanumber\r\n", b"$-7\r\n", b"-ERR \xff\xfe\r\n"];
    for lie in lies {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let mut stream = stream;
                let mut buffer = [0; 1024];
                let mut truth = 1;
                while stream.read(&mut buffer).is_ok_and(|read| read > 0) {
                    let answer = if truth > 0 && buffer.starts_with(b"*1\r\n$4\r\nPING") { b"+PONG\r\n" } else { lie };
                    truth -= 1;
                    if stream.write_all(answer).is_err() {
                        break;
                    }
                }
            }
        });
        run(30, async {
            let (store, heard) = strict(&format!("redis://127.0.0.1:{port}")).await;
            let _ = store.wait_up(Duration::from_secs(3)).await;
            let start = Instant::now();
            for _ in 0..10 {
                assert!(store.get("key").await.is_err(), "{lie:?}");
            }
            assert!(start.elapsed() < Duration::from_secs(6), "{lie:?}: {:?}", heard.notices());
        });
    }
}

#[test]
fn a_subscription_says_when_it_may_have_missed_something() {
    let Some(mut server) = Server::redis(&[]) else { return };
    run(60, async {
        let dir = Dir::new();
        let (store, _) = open(&server.url("redis"), dir.path()).await;
        let mut listener = store.subscribe(&["bus".to_owned()]).unwrap();
        assert_eq!(listener.next().await, Some(Message::Gap));
        server.restart();
        assert_eq!(listener.next().await, Some(Message::Gap));
        let end = Instant::now() + Duration::from_secs(20);
        while store.publish("bus", b"x").await.is_err() {
            assert!(Instant::now() < end);
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        assert_eq!(listener.next().await, Some(Message::Payload { channel: "bus".into(), payload: b"x".to_vec() }));
    });
}

#[test]
fn a_unix_socket_and_a_database() {
    let dir = Dir::new();
    let socket = dir.path().join("s");
    let Some(server) = Server::redis(&["--unixsocket", socket.to_str().unwrap(), "--requirepass", "pw"]) else { return };
    run(30, async {
        let (store, _) = open(&format!("unix://:pw@{}?db=3", socket.display()), dir.path()).await;
        store.put("key", b"value", Some(Duration::from_secs(100))).await.unwrap();
        assert_eq!(server.cli(&["-a", "pw", "--no-auth-warning", "-n", "3", "GET", "key"]), "value");
        let left: i64 = server.cli(&["-a", "pw", "--no-auth-warning", "-n", "3", "PTTL", "key"]).parse().unwrap();
        assert!((90_000..=100_000).contains(&left), "{left}");
    });
}

#[test]
fn tls_with_our_own_authority_and_client_certificates() {
    if !have("openssl") {
        return skip("openssl is not installed");
    }
    let dir = Dir::new();
    make_certificates(dir.path());
    let path = |name: &str| dir.path().join(name).display().to_string();
    let tls_port = free_port().to_string();
    let arguments =
        ["--tls-port", &tls_port, "--tls-cert-file", &path("server.crt"), "--tls-key-file", &path("server.key"), "--tls-ca-cert-file", &path("ca.crt")];
    let Some(server) = Server::redis(&arguments) else { return };
    run(60, async {
        let pem = |name: &str| std::fs::read(dir.path().join(name)).unwrap();
        let (mut with, heard) = options(dir.path());
        with.timeout = Duration::from_secs(5);
        with.tls = TlsFiles { ca: Some(pem("ca.crt")), client: Some((pem("client.crt"), pem("client.key").into())) };
        let location = Location::parse(&format!("rediss://localhost:{tls_port}")).unwrap();
        let store = Store::open(&location, &with).unwrap();
        assert!(store.wait_up(UP).await, "{:?}", heard.notices());
        store.put("key", b"value", None).await.unwrap();
        assert_eq!(store.put_confirmed("key", b"value", None, 0, Duration::from_millis(10)).await.unwrap(), 0);
        let mut listener = store.subscribe(&["bus".to_owned()]).unwrap();
        assert_eq!(listener.next().await, Some(Message::Gap));

        let mut without = with.clone();
        without.tls.client = None;
        assert!(!Store::open(&location, &without).unwrap().wait_up(Duration::from_secs(2)).await, "a client without certificate stays out");
        let mut stranger = with.clone();
        stranger.tls.ca = Some(pem("other.crt"));
        assert!(!Store::open(&location, &stranger).unwrap().wait_up(Duration::from_secs(2)).await, "an unknown authority is not trusted");
        // A plain server behind a rediss: URL is never talked to in clear text.
        let plain = Location::parse(&format!("rediss://localhost:{}", server.port)).unwrap();
        assert!(!Store::open(&plain, &with).unwrap().wait_up(Duration::from_secs(2)).await);
        let unused = Store::open(&Location::parse(&server.url("redis")).unwrap(), &with).unwrap_err();
        assert!(matches!(unused, OpenError::TlsUnused) && unused.to_string().contains("rediss://"));
        with.tls.ca = Some(b"-----BEGIN CERTIFICATE-----\n!!\n-----END CERTIFICATE-----\n".to_vec());
        assert!(matches!(Store::open(&location, &with), Err(OpenError::Tls(_))));
    });
}

#[test]
fn a_failover_by_sentinel_is_followed() {
    failover(Server::kill);
}

#[test]
fn a_failover_from_a_frozen_primary_is_followed() {
    failover(|old| old.freeze());
}

fn failover(lose: fn(&mut Server)) {
    let Some(mut old) = Server::redis(&[]) else { return };
    let Some(new) = Server::redis(&["--replicaof", "127.0.0.1", &old.port.to_string()]) else { return };
    let Some(sentinel) = Server::sentinel("main", old.port) else { return };
    run(120, async {
        eventually(30, "the replica follows", || new.cli(&["INFO", "replication"]).contains("master_link_status:up")).await;
        eventually(30, "the sentinel knows it", || sentinel.cli(&["SENTINEL", "REPLICAS", "main"]).contains(&new.port.to_string())).await;
        let (store, heard) = strict(&format!("redis+sentinel://127.0.0.1:{}/main/2", sentinel.port)).await;
        assert!(store.wait_up(UP).await, "{:?}", heard.notices());
        store.put("key", b"value", None).await.unwrap();
        eventually(10, "the replica has it", || new.cli(&["-n", "2", "GET", "key"]) == "value").await;
        let mut listener = store.subscribe(&["bus".to_owned()]).unwrap();
        assert_eq!(listener.next().await, Some(Message::Gap));
        lose(&mut old);
        let end = Instant::now() + Duration::from_secs(60);
        while store.put("key2", b"after", None).await.is_err() {
            assert!(Instant::now() < end, "{:?}", heard.notices());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        assert_eq!(new.cli(&["-n", "2", "GET", "key2"]), "after");
        assert_eq!(store.get("key").await.unwrap().as_deref(), Some(&b"value"[..]));
        assert_eq!(listener.next().await, Some(Message::Gap));
    });
}

fn make_certificates(dir: &std::path::Path) {
    let openssl = |arguments: &str| {
        let done = Command::new("openssl").args(arguments.split(' ')).current_dir(dir).output().unwrap();
        assert!(done.status.success(), "{arguments}: {}", String::from_utf8_lossy(&done.stderr));
    };
    std::fs::write(dir.join("san"), "subjectAltName=DNS:localhost,IP:127.0.0.1\n").unwrap();
    let key = "-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes";
    for name in ["ca", "other"] {
        openssl(&format!("req -x509 {key} -keyout {name}.key -out {name}.crt -subj /CN={name} -days 2"));
    }
    for name in ["server", "client"] {
        openssl(&format!("req {key} -keyout {name}.key -out {name}.csr -subj /CN={name}"));
        openssl(&format!("x509 -req -in {name}.csr -CA ca.crt -CAkey ca.key -CAcreateserial -out {name}.crt -days 2 -extfile san"));
    }
}

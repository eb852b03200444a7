//! Digests that one node computes and all know, each node with a mount of its own of one directory.
//!
//! Gets: bindfs, Redis, two nodes. Gives: which node read what, by metric. Never: trusts one kernel's memory of the other's files: two mounts are two devices.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::admin::{ask as call, tokens};
use crate::kit::{self, Client, Cluster, Node, Run, Server, Setup, Tls, Tree, Version, eventually, random_bytes, register, unregister};
use crate::need;

/// A mount of a directory by bindfs, taken away when dropped.
struct Mount {
    at: PathBuf,
    child: Child,
}

impl Mount {
    /// `None`, and the test counts as skipped, where nothing can be mounted.
    fn new(source: &Path, at: PathBuf) -> Option<Self> {
        std::fs::create_dir_all(&at).unwrap();
        let child = Command::new("bindfs").arg("-f").args([source, &at]).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        register(child.id());
        let mut mount = Self { at, child };
        for _ in 0..250 {
            if device(&mount.at) != device(source) {
                return Some(mount);
            }
            if mount.child.try_wait().unwrap().is_some() {
                break;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        kit::skip("bindfs cannot mount here");
        None
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        // Nodes may still have files open: the mount goes when they have ended.
        let _ = Command::new("fusermount").args(["-u", "-z"]).arg(&self.at).stderr(Stdio::null()).status();
        unregister(self.child.id());
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn device(path: &Path) -> u64 {
    std::os::unix::fs::MetadataExt::dev(&std::fs::metadata(path).unwrap())
}

fn sha256(path: &Path) -> String {
    let out = Run::new("sha256sum", ["-b".as_ref(), path.as_os_str()]).run().ok().text();
    // A name with a backslash would begin with one.
    out.trim_start_matches('\\')[..64].to_uppercase()
}

/// Asks for the digest; which way it came.
fn ask(node: &Node, client: &mut Client, name: &str) -> (String, &'static str) {
    let of = |source: &str| node.metric("ftps_gateway_digests_total", &[&format!("source=\"{source}\""), "result=\"done\""]).unwrap();
    let sources = ["computed", "cache", "shared", "coalesced"];
    let before = sources.map(of);
    let reply = client.command(&format!("XSHA256 {name}"));
    reply.is(213);
    let after = sources.map(of);
    let way = sources.into_iter().zip(before).zip(after).find(|((_, before), after)| after > before).map(|((source, _), _)| source);
    (reply.text[4..].to_owned(), way.expect("a way"))
}

fn read(node: &Node) -> f64 {
    node.metric("ftps_gateway_digest_bytes_total", &["algorithm=\"sha256\""]).unwrap()
}

#[test]
fn what_one_node_computed_the_other_knows() {
    need!("bindfs", "sha256sum");
    kit::test(180, || {
        let Some(redis) = Server::redis() else { return };
        let mut cluster = Cluster::with(Setup { nodes: 0, store: Some(redis.url()), ..Setup::default() });
        let source = cluster.root.clone();
        let mut mounts = Vec::new();
        for name in ["a", "b"] {
            let Some(mount) = Mount::new(&source, source.with_file_name(format!("mount-{name}"))) else { return };
            cluster.also("storage", "root", &format!("{:?}", mount.at));
            cluster.add();
            mounts.push(mount);
        }
        assert_ne!(device(&mounts[0].at), device(&mounts[1].at));
        let (a, b) = (cluster.node(0), cluster.node(1));
        let session = |node: &Node| Client::session(node, &Tls::new(Version::Tls13));
        let (mut on_a, mut on_b) = (session(a), session(b));

        on_a.put("STOR file", &random_bytes(2_000_000)).is(226);
        std::thread::sleep(Duration::from_secs(3));
        let uploaded = sha256(&source.join("file"));
        let asked = Instant::now();
        on_b.command("XSHA256 file").is(213);
        eprintln!("NOTE digest: answered from the store in {:?}", asked.elapsed());
        assert_eq!(b.metric("ftps_gateway_digests_total", &["source=\"shared\"", "result=\"done\""]), Some(1.0));
        assert_eq!(ask(b, &mut on_b, "file"), (uploaded, "cache"));
        assert_eq!(read(b), 0.0, "B read nothing");

        // A file that one node had to read, the other need not.
        std::fs::write(source.join("made"), random_bytes(500_000)).unwrap();
        std::thread::sleep(Duration::from_millis(2500));
        assert_eq!(ask(b, &mut on_b, "made"), (sha256(&source.join("made")), "computed"));
        eventually(10, "A hears of it", || ask(a, &mut on_a, "made").1 != "computed");

        // Changed in place behind both, with the same size and mostly within the same second.
        for _ in 0..5 {
            std::fs::write(source.join("file"), random_bytes(2_000_000)).unwrap();
            let now = sha256(&source.join("file"));
            assert_eq!(ask(b, &mut on_b, "file"), (now.clone(), "computed"));
            assert_eq!(ask(a, &mut on_a, "file").0, now);
        }

        // Renamed and dated by A: B knows it under the new name.
        on_a.put("STOR other", &random_bytes(300_000)).is(226);
        on_a.command("RNFR other").is(350);
        on_a.command("RNTO third").is(250);
        on_a.command("MFMT 20200102030405 third").is(213);
        std::thread::sleep(Duration::from_secs(3));
        assert_eq!(ask(b, &mut on_b, "third"), (sha256(&source.join("third")), "shared"));
    });
}

/// Also of a file that came in two parts, once it has been read.
#[test]
fn the_record_of_a_transfer_has_its_digest() {
    need!("sha256sum");
    kit::test(60, || {
        let tree = Tree::new();
        let cluster = Cluster::with(Setup { nodes: 1, ..Setup::default() }.key("admin", "tokens_file", &tokens(&tree)));
        let node = cluster.node(0);
        let mut client = Client::session(node, &Tls::new(Version::Tls13));
        client.put("STOR file", &random_bytes(100_000)).is(226);
        let first = sha256(&cluster.root.join("file"));
        client.put("APPE file", &random_bytes(100_000)).is(226);
        let second = sha256(&cluster.root.join("file"));
        let digests = || {
            let records = call(node, "GET", "/transfers?path=/file", "looker", None).body;
            let of = |record: &serde_json::Value| record["digest"]["hex"].as_str().map(str::to_uppercase);
            records["items"].as_array().unwrap().iter().map(of).collect::<Vec<_>>()
        };
        eventually(10, "both are known", || digests() == [Some(second.clone()), Some(first.clone())]);
    });
}

/// Two nodes on one directory without bindfs, so that this much is shown everywhere.
#[test]
fn the_store_going_away_costs_a_reading_and_nothing_else() {
    kit::test(120, || {
        let Some(mut redis) = Server::redis() else { return };
        let cluster = Cluster::with(Setup { nodes: 2, store: Some(redis.url()), ..Setup::default() });
        let (a, b) = (cluster.node(0), cluster.node(1));
        let session = |node: &Node| Client::session(node, &Tls::new(Version::Tls13));
        let (mut on_a, mut on_b) = (session(a), session(b));
        for name in ["one", "two"] {
            on_a.put(&format!("STOR {name}"), &random_bytes(100_000)).is(226);
        }
        std::thread::sleep(Duration::from_secs(3));
        assert_eq!(ask(b, &mut on_b, "one").1, "shared");
        redis.kill();
        assert_eq!(ask(b, &mut on_b, "two"), (sha256(&cluster.root.join("two")), "computed"));
        assert_eq!(ask(b, &mut on_b, "one").1, "cache");
        assert_eq!(ask(a, &mut on_a, "two").1, "cache");
    });
}

//! `limits.bandwidth_per_session`, `limits.bandwidth_per_user` and a user's own `limits.bandwidth`: both ways, over sessions, never in the way of ABOR.
//!
//! Gets: nodes with slow users. Gives: the least time that bytes must have taken; the same bytes on both sides.
//! Never: an upper bound on time, except that a pause ends when somebody wants it to.

use std::time::{Duration, Instant};

use crate::kit::{self, Client, Node, Options, random_bytes, same, same_file, users_file};

const SPEED: usize = 256 << 10;
/// Four seconds' worth, one of which is free.
const FILE: usize = 4 * SPEED;
const LEAST: Duration = Duration::from_millis(2900);

#[test]
fn a_session_is_as_fast_as_it_may_both_ways() {
    kit::test(120, || {
        let node = limited("bandwidth_per_session: 256KiB");
        let bytes = random_bytes(FILE);
        let mut client = Client::ready(&node);
        let began = Instant::now();
        client.put("STOR up", &bytes).is(226);
        assert!(began.elapsed() >= LEAST, "an upload in {:?}", began.elapsed());
        same_file(node.root.join("up"), &bytes, "the upload");
        let began = Instant::now();
        same(&client.get("RETR up"), &bytes, "the download");
        assert!(began.elapsed() >= LEAST, "a download in {:?}", began.elapsed());
        assert_eq!(hits(&node, "bandwidth_per_session"), 2.0, "once for each transfer");
        // A session of its own has a share of its own, and what is small is not slowed down.
        let mut other = Client::ready(&node);
        other.put("STOR small", &bytes[..SPEED / 2]).is(226);
        assert_eq!(hits(&node, "bandwidth_per_session"), 2.0);
    });
}

#[test]
fn all_sessions_of_a_user_share_one_speed() {
    kit::test(120, || {
        let mut options = Options::default().set("limits", "{ logins_per_minute_per_ip: 1000, bandwidth_per_user: 256KiB }");
        let users = users_file(&[("demo", "/", "all"), ("fast", "/", "all")]);
        options.users = users.replace("name: fast,", "name: fast, limits: { bandwidth: 1GiB },");
        let node = Node::with(options);
        let bytes = random_bytes(FILE);
        std::fs::write(node.root.join("file"), &bytes).unwrap();
        let began = Instant::now();
        std::thread::scope(|scope| {
            let half = || {
                let mut client = Client::ready(&node);
                client.command(&format!("REST {}", FILE / 2)).is(350);
                same(&client.get("RETR file"), &bytes[FILE / 2..], "half of the file");
            };
            (0..2).for_each(|_| drop(scope.spawn(half)));
        });
        assert!(began.elapsed() >= LEAST, "two halves in {:?}", began.elapsed());
        assert!(hits(&node, "bandwidth_per_user") >= 1.0);
        let before = hits(&node, "bandwidth_per_user");
        let mut fast = Client::session_of(&node, &kit::Tls::new(kit::Version::Tls13), "fast");
        same(&fast.get("RETR file"), &bytes, "the download of a user with a limit of its own");
        assert_eq!(hits(&node, "bandwidth_per_user"), before);
    });
}

#[test]
fn a_pause_is_over_when_the_transfer_is() {
    kit::test(120, || {
        let node = limited("bandwidth_per_session: 16KiB");
        std::fs::write(node.root.join("file"), random_bytes(2 << 20)).unwrap();
        let mut client = Client::ready(&node);
        let mut data = client.begin("RETR file");
        data.handshake().unwrap();
        assert!(!data.read_some().unwrap().is_empty());
        // The rest of it would take two minutes.
        let began = Instant::now();
        client.line("ABOR");
        client.expect(426);
        client.expect(226);
        assert!(began.elapsed() < Duration::from_secs(10), "ABOR waited for {:?}", began.elapsed());
        client.command("NOOP").is(200);
        let mut data = client.begin("STOR up");
        data.handshake().unwrap();
        data.write(&random_bytes(300_000)).unwrap();
        client.reset();
        kit::eventually(20, "an upload whose session is gone leaves nothing", || kit::entries(&node.root) == 1);
    });
}

fn limited(limit: &str) -> Node {
    Node::with(Options::default().set("limits", &format!("{{ logins_per_minute_per_ip: 1000, {limit} }}")))
}

fn hits(node: &Node, limit: &str) -> f64 {
    node.metric("ftps_gateway_limits_hit_total", &[&format!("\"{limit}\"")]).unwrap()
}

//! Who may come: hashes of every kind, keys of a user, refusals that tell nothing, users that change under a running node.
//!
//! Gets: users files. Gives: what a client is told, and what the log and the metrics say.
//! Never: a difference between a wrong name and a wrong password.

use std::net::Ipv4Addr;
use std::os::unix::fs::PermissionsExt;
use std::sync::Barrier;
use std::time::{Duration, Instant};

use argon2::password_hash::PasswordHasher;
use rustix::process::Signal;

use crate::kit::{self, Client, Node, Options, Reply, Tls, Version};

/// bcrypt of `right`, cheap.
const RIGHT: &str = "$2b$04$abcdefghijklmnopqrstuuFmEfrkTQnczNzw475xE2VhDrK1uwJiC";

#[test]
fn hashes_of_every_kind_log_in() {
    kit::test(60, || {
        let sha512 = std::process::Command::new("openssl").args(["passwd", "-6", "right"]).output();
        let sha512 = sha512.ok().and_then(|output| String::from_utf8(output.stdout).ok()).map(|hash| hash.trim().to_owned());
        let hashes = [
            ("argon2id", argon2id(64)),
            ("bcrypt", RIGHT.into()),
            ("php", RIGHT.replace("$2b$", "$2y$")),
            ("scrypt", "$scrypt$ln=4,r=8,p=1$MDEyMzQ1Njc4OWFiY2RlZg$g5SYSEJiVeM1NrG+3lo5hJF358C1G+xhhfqVxmfJREI".into()),
            ("sha512", sha512.filter(|hash| hash.starts_with("$6$")).unwrap_or_else(|| RIGHT.into())),
        ];
        let entries: Vec<String> = hashes.iter().map(|(name, hash)| format!("name: {name}, password: \"{hash}\", home: /")).collect();
        let node = node(&entries);
        for (name, _) in &hashes {
            assert_eq!(login(&node, name, "wrong").code, 530, "{name}");
            assert_eq!(login(&node, name, "right").code, 230, "{name}");
        }
        assert_eq!(node.metric("ftps_gateway_users_loaded", &[]), Some(5.0));
    });
}

#[test]
fn refusals_have_one_text_and_one_time() {
    kit::test(120, || {
        let node = node(&[
            entry("alice", ""),
            entry("off", "enabled: false"),
            entry("over", "expires: 2020-01-01"),
            entry("away", "from: [\"198.51.100.0/24\"]"),
            "name: certified, client_certificates: [\"cn:certified\"], home: /".into(),
            entry("both", "client_certificates: [\"cn:both\"]"),
        ]);
        let cases =
            [("nobody", "right"), ("alice", "wrong"), ("off", "right"), ("over", "right"), ("away", "right"), ("certified", "right"), ("both", "right")];
        let measured: Vec<(Vec<Reply>, Duration)> = std::thread::scope(|scope| {
            let threads = cases.map(|(user, password)| scope.spawn(|| measure(&node, user, password)));
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        let first = &measured[0].0[0];
        assert_eq!(first.code, 530);
        for ((user, _), (replies, _)) in cases.iter().zip(&measured) {
            assert!(replies.iter().all(|reply| reply == first), "{user}: {replies:?}");
        }
        // Medians of times drawn from 200 to 500 ms: far from each other only if something else than chance decides.
        let (least, most) = (measured.iter().map(|(_, time)| *time).min().unwrap(), measured.iter().map(|(_, time)| *time).max().unwrap());
        assert!(least >= Duration::from_millis(200) && most < least * 3, "{measured:?}");
        for why in ["unknown_user", "wrong_password", "disabled", "expired", "wrong_network", "certificate_missing"] {
            node.logged(&["login_refused", why]);
        }
    });
}

/// Nine refused logins: the replies, and the median of their times.
fn measure(node: &Node, user: &str, password: &str) -> (Vec<Reply>, Duration) {
    let mut times = Vec::new();
    let mut replies = Vec::new();
    for _ in 0..5 {
        let mut client = Client::implicit(node, &Tls::new(Version::Tls13));
        // The third would close the connection.
        for _ in 0..2 {
            client.command(&format!("USER {user}")).is(331);
            let start = Instant::now();
            replies.push(client.command(&format!("PASS {password}")));
            times.push(start.elapsed());
        }
    }
    times.sort();
    (replies, times[times.len() / 2])
}

#[test]
fn sixty_wrong_logins_at_once_delay_a_right_one_little() {
    kit::test(120, || {
        // The cost that `hash-password` gives.
        let node = node(&[format!("name: alice, password: \"{}\", home: /", argon2id(19_456))]);
        let (attackers, together) = (60, Barrier::new(61));
        std::thread::scope(|scope| {
            let wrong: Vec<_> = (0..attackers)
                .map(|number| {
                    let (node, together) = (&node, &together);
                    scope.spawn(move || {
                        let mut client = Client::implicit(node, &Tls::new(Version::Tls13));
                        client.command(if number % 2 == 0 { "USER alice" } else { "USER nobody" }).is(331);
                        together.wait();
                        client.command("PASS wrong").is(530);
                    })
                })
                .collect();
            let mut client = Client::implicit_from(&node, &Tls::new(Version::Tls13), Ipv4Addr::new(127, 0, 0, 2));
            client.command("USER alice").is(331);
            together.wait();
            let start = Instant::now();
            client.command("PASS right").is(230);
            assert!(start.elapsed() < Duration::from_secs(2), "{:?}", start.elapsed());
            wrong.into_iter().for_each(|thread| thread.join().unwrap());
        });
    });
}

#[test]
fn a_home_is_made_at_first_login_or_the_login_has_to_wait() {
    kit::test(60, || {
        let users = [entry("alice", ""), "name: bob, password: \"HASH\", home: /in/a/file".replace("HASH", RIGHT)];
        let node = node(&users);
        std::fs::write(node.root.join("in"), b"not a directory").unwrap();
        let home = node.root.join("home-of-alice");
        assert!(!home.exists());
        assert_eq!(login(&node, "alice", "right").code, 230);
        assert_eq!(std::fs::metadata(&home).unwrap().permissions().mode() & 0o777, 0o750, "storage.dir_mode");
        let refused = login(&node, "bob", "right");
        assert!(refused.code == 530 && refused.text.contains("try again later"), "{refused:?}");
        node.logged(&["login_refused", "home_unavailable", "bob", "\"warn\""]);
        std::fs::remove_file(node.root.join("in")).unwrap();
        assert_eq!(login(&node, "bob", "right").code, 230);
    });
}

#[test]
fn anonymous_comes_with_any_password_and_may_read() {
    kit::test(60, || {
        let users = "{ files: [users.yaml], anonymous: { enabled: true } }";
        let limits = "{ logins_per_minute_per_ip: 1000, sessions_per_user: 1 }";
        let node = Node::with(Options { users: file(&[entry("alice", "")]), ..Options::default() }.set("users", users).set("limits", limits));
        std::fs::create_dir(node.root.join("pub")).unwrap();
        std::fs::write(node.root.join("pub/file"), b"for all").unwrap();
        std::fs::write(node.root.join("secret"), b"for nobody").unwrap();
        let mut sessions = Vec::new();
        for (name, password) in [("anonymous", "me@example.org"), ("ftp", "x"), ("anonymous", "")] {
            let mut client = Client::implicit(&node, &Tls::new(Version::Tls13));
            client.command(&format!("USER {name}")).is(331);
            client.command(&format!("PASS {password}")).is(230);
            for command in ["PBSZ 0", "PROT P", "TYPE I"] {
                client.command(command).is(200);
            }
            sessions.push(client);
        }
        let client = &mut sessions[0];
        assert_eq!(client.list("NLST").trim_end(), "file");
        assert_eq!(client.get("RETR file"), b"for all");
        for command in ["MKD a", "DELE file", "SIZE /secret", "SIZE ../secret", "RNFR file"] {
            client.command(command).is(550);
        }
        node.logged(&["logged_in", "\"anonymous\""]);
        assert_eq!(node.metric("ftps_gateway_logins_total", &["anonymous"]), Some(3.0));
        assert_eq!(login(&node, "alice", "").code, 530, "for nobody else is an empty password enough");

        // Switched off while they are here.
        let config = String::from_utf8(node.tree.read("config.yaml").unwrap()).unwrap();
        node.tree.write("config.yaml", config.replace("enabled: true", "enabled: false").as_bytes());
        node.signal(Signal::HUP);
        sessions[0].expect(421);
        assert_eq!(login(&node, "ftp", "x").code, 530);
    });
}

#[test]
fn a_user_has_a_limit_and_a_class_of_its_own() {
    kit::test(60, || {
        let users = file(&[entry("many", "limits: { sessions: 3 }, class: partners"), entry("few", "limits: { sessions: 1 }"), entry("other", "")]);
        let limits = "{ logins_per_minute_per_ip: 1000, sessions_per_user: 2 }";
        let node = Node::with(Options { users, ..Options::default() }.set("limits", limits));
        for (name, most) in [("many", 3), ("few", 1), ("other", 2)] {
            let mut sessions: Vec<Client> = (0..most).map(|_| session(&node, name)).collect();
            let refused = login(&node, name, "right");
            assert!(refused.code == 530 && refused.text.contains("Too many"), "{name}: {refused:?}");
            sessions[0].command("QUIT").is(221);
            sessions.remove(0).rest();
            kit::eventually(5, "the session has left", || login(&node, name, "right").code == 230);
        }
        node.logged(&["logged_in", "many", "\"class\":\"partners\""]);
        assert_eq!(node.metric("ftps_gateway_limits_hit_total", &["sessions_per_user"]).map(|count| count >= 3.0), Some(true));
    });
}

#[test]
fn broken_entries_are_skipped_counted_and_said() {
    kit::test(60, || {
        let users = "{ files: [users.yaml, more.yaml] }";
        let mut options =
            Options { users: file(&[entry("alice", ""), entry("broken", "enabled: perhaps, expires: never"), entry("twice", "")]), ..Options::default() };
        options = options.set("users", users);
        let more = file(&[entry("twice", ""), entry("bob", "")]);
        options.files.push(("more.yaml", more));
        let node = Node::with(options);
        for name in ["alice", "bob", "twice"] {
            assert_eq!(login(&node, name, "right").code, 230, "{name}");
        }
        assert_eq!(login(&node, "broken", "right").code, 530);
        assert_eq!((node.metric("ftps_gateway_users_loaded", &[]), node.metric("ftps_gateway_users_invalid", &[])), (Some(3.0), Some(2.0)));
        let ready = node.get(node.metrics, "/readyz?verbose");
        assert!(ready.status == 200 && ready.body.contains("users: broken entries of users files are skipped: 2"), "{}", ready.body);
        node.logged(&["more.yaml:2", "stands twice"]);

        // As a reload it would be refused; mended, it is taken, and nothing is degraded any longer.
        node.signal(Signal::HUP);
        node.logged(&["reloaded", "error", "perhaps"]);
        node.tree.write("users.yaml", file(&[entry("alice", "")]).as_bytes());
        kit::eventually(10, "nothing is degraded", || !node.get(node.metrics, "/readyz?verbose").body.contains("broken"));
        assert_eq!(node.metric("ftps_gateway_users_invalid", &[]), Some(0.0));
        assert_eq!(login(&node, "twice", "right").code, 230, "once is enough");
    });
}

#[test]
fn a_change_that_takes_something_away_ends_sessions_and_no_other() {
    kit::test(60, || {
        let names = ["removed", "disabled", "password", "home", "permissions", "more", "same"];
        let mut users: Vec<String> = names.iter().map(|name| entry(name, "permissions: [list, read, write]")).collect();
        let node = node(&users);
        let mut sessions: Vec<Client> = names.iter().map(|name| session(&node, name)).collect();
        let mut data = sessions[2].begin("STOR file");
        data.handshake().unwrap();
        data.write(b"half of").unwrap();
        users.remove(0);
        users[0] = users[0].clone() + ", enabled: false";
        users[1] = users[1].replace(RIGHT, "$2b$04$abcdefghijklmnopqrstuubzadhGtS2zEF.gu0yd0opP6cVzb.e0i");
        users[2] = users[2].replace("home: /home-of-home", "home: /elsewhere");
        users[3] = users[3].replace("[list, read, write]", "[list, read]");
        users[4] = users[4].replace("[list, read, write]", "all");
        node.tree.write("users.yaml", file(&users).as_bytes());
        node.signal(Signal::HUP);
        for (name, client) in names.iter().zip(&mut sessions).take(5) {
            let reply = if *name == "password" { client.expect_one_of(&[421, 426]) } else { client.expect(421) };
            assert!(reply.code == 426 || reply.text.contains("account has changed"), "{name}: {}", reply.text);
            client.rest();
        }
        for client in &mut sessions[5..] {
            client.command("NOOP").is(200);
        }
        assert_eq!(kit::contents(&node.root.join("home-of-password")).len(), 0, "nothing of the upload is left");
        kit::eventually(5, "five ended for this reason", || node.metric("ftps_gateway_sessions_closed_total", &["user_changed"]) == Some(5.0));
        sessions[5].command("MKD a").is(550);
        session(&node, "more").command("MKD a").is(257);
    });
}

#[test]
fn a_login_under_way_does_not_outlive_its_user() {
    kit::test(60, || {
        // Long enough to check that the users are replaced meanwhile.
        let slow = bcrypt::hash_with_salt("right", 13, *b"0123456789abcdef").unwrap().to_string();
        let node = node(&[format!("name: alice, password: \"{slow}\", home: /"), entry("bob", "")]);
        let mut client = Client::implicit(&node, &Tls::new(Version::Tls13));
        client.command("USER alice").is(331);
        client.line("PASS right");
        std::thread::sleep(Duration::from_millis(50));
        node.tree.write("users.yaml", file(&[entry("bob", "")]).as_bytes());
        node.signal(Signal::HUP);
        node.logged(&["reloaded", "users"]);
        let answer = client.reply();
        answer.one_of(&[230, 421, 530]);
        if answer.code == 230 {
            client.expect(421);
        }
        if answer.code != 530 {
            client.rest();
        }
    });
}

fn node(users: &[String]) -> Node {
    Node::with(Options { users: file(users), ..Options::default() })
}

fn file(users: &[String]) -> String {
    format!("users:\n{}", users.iter().map(|user| format!("  - {{ {user} }}\n")).collect::<String>())
}

/// A user whose password is `right`, with more keys.
fn entry(name: &str, keys: &str) -> String {
    let keys = if keys.is_empty() { String::new() } else { format!(", {keys}") };
    format!("name: {name}, password: \"{RIGHT}\", home: /home-of-{name}{keys}")
}

/// argon2id of `right` with so many KiB.
fn argon2id(memory: u32) -> String {
    let params = argon2::Params::new(memory, 2, 1, None).unwrap();
    let hash: argon2::password_hash::phc::PasswordHash =
        argon2::Argon2::new(argon2::Algorithm::Argon2id, argon2::Version::V0x13, params).hash_password(b"right").unwrap();
    hash.to_string()
}

/// The reply to PASS.
fn login(node: &Node, user: &str, password: &str) -> Reply {
    let mut client = Client::implicit(node, &Tls::new(Version::Tls13));
    client.command(&format!("USER {user}")).is(331);
    client.command(&format!("PASS {password}"))
}

/// A session of a user whose password is `right`.
fn session(node: &Node, user: &str) -> Client {
    let mut client = Client::implicit(node, &Tls::new(Version::Tls13));
    client.command(&format!("USER {user}")).is(331);
    client.command("PASS right").is(230);
    for command in ["PBSZ 0", "PROT P", "TYPE I"] {
        client.command(command).is(200);
    }
    client
}

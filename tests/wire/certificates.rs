//! Client certificates: who comes in with one, who does not, and who does not any more.
//!
//! Gets: certificates of an authority that the node knows, of one that it does not, expired and revoked ones. Gives: logins, or refusals.
//! Never: a client that merely says that it has one.

use std::path::PathBuf;

use rustix::process::Signal;

use crate::kit::{self, Authority, Certified, Client, Node, Options, Reply, Run, Tls, USER, Version, users_file};
use crate::need;

/// A node whose users are: `demo` with a password, `alice` with a certificate alone, `both` with both.
struct Place {
    node: Node,
    authority: Authority,
    alice: Certified,
}

const ALICE: u64 = 7;

impl Place {
    fn new(mode: &str) -> Self {
        let authority = Authority::new("Clients");
        let tls = format!("{{ certificates: [{{ cert: cert.pem, key: key.pem }}], client_auth: {{ mode: {mode}, ca: clients.pem, crl: crl.pem }} }}");
        let both = users_file(&[("both", "/both", "all")]).replace("{ name: both,", "{ name: both, client_certificates: [\"san:alice.example\"],");
        let users =
            users_file(&[(USER, "/", "all")]) + &both.replace("users:\n", "") + "  - { name: alice, home: /alice, client_certificates: [\"cn:alice\"] }\n";
        let crl = authority.revoke(&[1]);
        let files = [("clients.pem", authority.pem.as_bytes()), ("crl.pem", crl.as_bytes())];
        let node = Node::with_files(Options { users, ..Options::default() }.set("tls", &tls), &files);
        let alice = authority.issue("alice", ALICE);
        Self { node, authority, alice }
    }

    fn write(&self, name: &str, certified: &Certified) -> (PathBuf, PathBuf) {
        let tree = &self.node.tree;
        (tree.write(&format!("{name}.pem"), certified.certificate.as_bytes()), tree.write(&format!("{name}.key"), certified.key.as_bytes()))
    }

    /// Whether a client that speaks TLS like this gets as far as a reply. (Under TLS 1.3 a client learns what became of its certificate by reading.)
    fn answers(&self, tls: &Tls) -> bool {
        let mut client = Client::open(self.node.implicit, tls);
        client.handshake().is_ok() && client.try_reply().is_ok_and(|reply| reply.code == 220)
    }

    fn user(&self, tls: &Tls, user: &str) -> (Client, Reply) {
        let mut client = Client::implicit(&self.node, tls);
        let reply = client.command(&format!("USER {user}"));
        (client, reply)
    }
}

fn versions() -> [Version; 2] {
    [Version::Tls12, Version::Tls13]
}

#[test]
fn required_means_a_good_certificate_or_no_session() {
    kit::test(60, || {
        let place = Place::new("required");
        let strangers = Authority::new("Clients");
        let bad = [
            ("wrong authority", strangers.issue("alice", ALICE)),
            ("expired", place.authority.issue_until("alice", 9, 2021)),
            ("revoked", place.authority.issue("alice", 1)),
        ];
        for version in versions() {
            assert!(!place.answers(&Tls::new(version)), "{version:?}: none");
            for (what, certified) in &bad {
                assert!(!place.answers(&Tls::certified(version, certified)), "{version:?}: {what}");
            }
            assert!(place.answers(&Tls::certified(version, &place.alice)), "{version:?}: a good one");
        }
        let failed = place.node.metric("ftps_gateway_tls_handshake_failures_total", &["control", "client_certificate"]);
        assert_eq!(failed, Some(8.0), "each is counted");
        // A password is still needed by who has one, and checked.
        let (mut client, reply) = place.user(&Tls::certified(Version::Tls13, &place.alice), USER);
        reply.is(331);
        client.command(&format!("PASS {USER}-password")).is(230);
    });
}

#[test]
fn a_certificate_alone_logs_in_and_moves_data() {
    kit::test(60, || {
        for mode in ["required", "optional"] {
            let place = Place::new(mode);
            for version in versions() {
                let tls = Tls::certified(version, &place.alice);
                for resumed in [false, true] {
                    let (mut client, reply) = place.user(&tls, "alice");
                    reply.is(232);
                    assert_eq!(client.resumed(), resumed, "{mode} {version:?}: the certificate of the first handshake holds");
                    client.command("PASS whatever").one_of(&[202, 230]);
                    client.command("TYPE I").is(200);
                    client.put("STOR a", b"by certificate").is(226);
                    assert_eq!(client.get("RETR a"), b"by certificate");
                }
            }
            assert_eq!(place.node.metric("ftps_gateway_logins_total", &["certificate", "success"]), Some(4.0));
        }
    });
}

#[test]
fn optional_asks_and_maps() {
    kit::test(60, || {
        let place = Place::new("optional");
        let without = Tls::new(Version::Tls13);
        let mut client = Client::session(&place.node, &without);
        client.command("NOOP").is(200);
        let other = Tls::certified(Version::Tls13, &place.authority.issue("bob", 8));
        for (what, tls) in [("none", &without), ("bob's", &other)] {
            for user in ["alice", "both", "nobody"] {
                let (mut client, reply) = place.user(tls, user);
                reply.is(331);
                let reply = client.command(&format!("PASS {user}-password"));
                assert_eq!(reply.code, 530, "{user} with {what} certificate");
            }
        }
        let alice = Tls::certified(Version::Tls13, &place.alice);
        let (mut client, reply) = place.user(&alice, "both");
        reply.is(331);
        client.command("PASS wrong").is(530);
        client.command("USER both").is(331);
        client.command("PASS both-password").is(230);
        // One that is shown has to be good, even where none is needed.
        assert!(!place.answers(&Tls::certified(Version::Tls13, &Authority::new("Clients").issue("alice", ALICE))));
    });
}

#[test]
fn a_revoked_certificate_ends_its_session_and_does_not_come_back() {
    kit::test(60, || {
        let place = Place::new("required");
        for version in versions() {
            place.node.tree.write("crl.pem", place.authority.revoke(&[1]).as_bytes());
            place.node.signal(Signal::HUP);
            let (tls, bob) = (Tls::certified(version, &place.alice), Tls::certified(version, &place.authority.issue("bob", 8)));
            kit::eventually(10, "alice is welcome", || place.answers(&tls));
            let (mut client, reply) = place.user(&tls, "alice");
            reply.is(232);
            assert!(client.resumed());
            let (mut stays, _) = place.user(&bob, USER);
            place.node.tree.write("crl.pem", place.authority.revoke(&[1, ALICE]).as_bytes());
            place.node.signal(Signal::HUP);
            client.expect(421);
            client.rest();
            // With its ticket or session ID, and without.
            assert!(!place.answers(&tls), "{version:?}: resumed");
            assert!(!place.answers(&tls), "{version:?}: once more");
            assert!(!place.answers(&Tls::certified(version, &place.alice)), "{version:?}: anew");
            stays.command(&format!("PASS {USER}-password")).is(230);
        }
    });
}

#[test]
fn a_data_connection_without_the_session_needs_the_same_certificate() {
    kit::test(60, || {
        let place = Place::new("required");
        let alice = Tls::certified(Version::Tls13, &place.alice);
        let (mut client, reply) = place.user(&alice, "alice");
        reply.is(232);
        client.command("TYPE I").is(200);
        client.put("STOR a", b"x").is(226);
        let served = |client: &mut Client, tls: &Tls| {
            let to = client.epsv();
            client.command("RETR a").is(150);
            let mut data = kit::Data::connect(to, tls);
            let bytes = data.handshake().and_then(|()| data.read_to_end());
            client.expect_one_of(&[425, 522]);
            bytes.is_ok_and(|bytes| !bytes.is_empty())
        };
        assert!(!served(&mut client, &Tls::new(Version::Tls13)), "no certificate");
        assert!(!served(&mut client, &Tls::certified(Version::Tls13, &place.authority.issue("bob", 8))), "another's");
        assert_eq!(client.get("RETR a"), b"x");
    });
}

#[test]
fn curl_openssl_and_python_come_with_a_certificate() {
    need!("curl", "openssl", "python3");
    kit::test(120, || {
        let place = Place::new("required");
        let (cert, key) = place.write("alice", &place.alice);
        let (cert, key) = (cert.display().to_string(), key.display().to_string());
        let (bob_cert, bob_key) = place.write("bob", &Authority::new("Others").issue("alice", ALICE));
        let (ca, explicit) = (place.node.pki.ca.display().to_string(), place.node.explicit.port().to_string());
        let source = place.node.tree.write("up.bin", &kit::random_bytes(300_000)).display().to_string();

        let url = format!("ftp://localhost:{explicit}/curl.bin");
        for version in [&["--tlsv1.3"][..], &["--tls-max", "1.2"]] {
            let common = ["-sS", "--ssl-reqd", "--cacert", &ca, "-u", "alice:"];
            let with = ["--cert", &cert, "--key", &key, "-T", &source, &url];
            Run::new("curl", common.iter().chain(version).chain(&with)).run().ok();
            let without = Run::new("curl", common.iter().chain(version).chain(&["-T", &source, &url])).run();
            assert_ne!(without.code, Some(0), "{version:?}");
        }
        kit::same_file(place.node.root.join("alice/curl.bin"), &std::fs::read(&source).unwrap(), "by curl");

        let target = format!("localhost:{explicit}");
        let openssl = |cert: &str, key: &str| {
            let arguments = ["s_client", "-connect", &target, "-starttls", "ftp", "-CAfile", &ca, "-cert", cert, "-key", key, "-quiet", "-crlf"];
            Run::new("openssl", arguments).input("USER alice\nPWD\nQUIT\n").seconds(30).run().text()
        };
        let text = openssl(&cert, &key);
        assert!(text.contains("232 ") && text.contains("257 \"/\""), "{text}");
        let text = openssl(&bob_cert.display().to_string(), &bob_key.display().to_string());
        assert!(!text.contains("232 ") && !text.contains("331 "), "{text}");

        let script = "import ssl, sys, io\n\
            sys.path.insert(0, sys.argv[1])\n\
            from ftplib_client import Reusing\n\
            for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):\n\
            \x20   context = ssl.create_default_context(cafile=sys.argv[3])\n\
            \x20   context.minimum_version = context.maximum_version = version\n\
            \x20   context.load_cert_chain(sys.argv[4], sys.argv[5])\n\
            \x20   ftp = Reusing(context=context, timeout=30)\n\
            \x20   ftp.connect('localhost', int(sys.argv[2]))\n\
            \x20   assert ftp.login('alice').startswith('232')\n\
            \x20   ftp.prot_p()\n\
            \x20   ftp.storbinary('STOR python.bin', io.BytesIO(b'x' * 100000))\n\
            \x20   assert ftp.size('python.bin') == 100000\n\
            \x20   ftp.quit()\n";
        let kit = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../tests/kit").display().to_string();
        Run::new("python3", ["-c", script, &kit, &explicit, &ca, &cert, &key]).env("PYTHONDONTWRITEBYTECODE", "1").run().ok();
    });
}

/// A node with a certificate for localhost and one for b.example, and where the latter lies.
fn two_hosts() -> (Node, kit::Tree) {
    let other = kit::Tree::new();
    kit::Pki::write_named(&other, "b.example");
    let (cert, key) = (other.join("b.example.pem"), other.join("b.example.key"));
    let tls = format!("{{ certificates: [{{ cert: cert.pem, key: key.pem }}, {{ cert: {cert:?}, key: {key:?} }}] }}");
    (Node::with(Options::default().set("tls", &tls)), other)
}

#[test]
fn a_host_is_served_by_its_certificate_and_host_agrees_with_sni() {
    need!("openssl");
    kit::test(60, || {
        let (node, _other) = two_hosts();
        let mut client = Client::implicit(&node, &Tls::new(Version::Tls13));
        client.command("HOST b.example").is(504);
        client.command("HOST c.example").is(504);
        client.command("HOST [127.0.0.1]").is(220);
        client.command("HOST LOCALHOST").is(220);
        client.login(USER);
        let (port, ca) = (node.implicit.port(), node.pki.ca.display().to_string());
        let target = format!("localhost:{port}");
        let arguments = [
            "s_client",
            "-connect",
            &target,
            "-servername",
            "b.example",
            "-verify_hostname",
            "b.example",
            "-verify_return_error",
            "-CAfile",
            &ca,
            "-quiet",
            "-crlf",
        ];
        let output = Run::new("openssl", arguments).input("HOST localhost\nHOST b.example\nQUIT\n").seconds(30).run();
        let text = output.text();
        let (wrong, right) = (text.find("504 "), text.find("220 Host accepted"));
        assert!(wrong.is_some() && wrong < right, "{text}\n{}", output.stderr);
    });
}

/// RFC 7151 has clients say HOST before AUTH TLS, too; those that say SNI need not.
#[test]
fn host_before_tls_chooses_the_certificate_of_a_client_without_sni() {
    need!("python3");
    kit::test(60, || {
        let (node, _other) = two_hosts();
        let (port, ca) = (node.explicit.port().to_string(), node.pki.ca.display().to_string());
        for (host, names, sni, shown) in [
            ("", "", "", "localhost"),
            ("HOST b.example\r\n", "220 ", "", "b.example"),
            ("HOST c.example\r\n", "220 ", "", "localhost"),
            ("HOST b.example\r\n", "220 ", "localhost", "localhost"),
        ] {
            let output = Run::new("python3", ["-c", BEFORE_TLS, &port, &ca, host, sni]).run().ok().text();
            let (replies, certificate) = output.trim_end().rsplit_once('\n').unwrap();
            assert!(replies.contains(names) && certificate.contains(shown), "{host:?} {sni:?}: {output}");
        }
    });
}

/// Prints the replies in clear text and then the names of the certificate.
const BEFORE_TLS: &str = "
import socket, ssl, sys
port, ca, host, sni = sys.argv[1:]
plain = socket.create_connection(('127.0.0.1', int(port)), 10)
replies = plain.makefile('r')
print(replies.readline(), end='')
if host:
    plain.sendall(host.encode())
    print(replies.readline(), end='')
plain.sendall(b'AUTH TLS\\r\\n')
print(replies.readline(), end='')
context = ssl.create_default_context(cafile=ca)
context.check_hostname = False
tls = context.wrap_socket(plain, server_hostname=sni or None)
print([name for _, name in tls.getpeercert()['subjectAltName']])
tls.sendall(b'QUIT\\r\\n')
";

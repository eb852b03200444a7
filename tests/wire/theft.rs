//! Data connections of others at a port where somebody waits: other users, other addresses, recorded bytes.
//!
//! Gets: one owner whose transfer waits, and everybody else who comes to its port. Gives: nothing to them, the file to the owner, every time.
//! Never: an owner whose turn is lost to a stranger, however many come.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::Duration;

use crate::kit::{self, Client, Data, Node, Options, Tls, Version, connect, random_bytes, users_file};

#[test]
fn another_user_with_a_session_of_its_own_gets_only_its_own() {
    kit::test(120, || {
        for reuse in ["auto", "require"] {
            // One port for everybody: only the TLS session says whose a connection is.
            let node = node(reuse, 1);
            let (mut owner, mut other) = (Client::session(&node, &Tls::new(Version::Tls12)), Client::session_of(&node, &Tls::new(Version::Tls12), "other"));
            let (secret, own) = (contents(&node, "secret"), contents(&node, "others/own"));
            // Both have shown proof once; from then on neither needs the port for itself.
            assert_eq!((owner.get("RETR secret"), other.get("RETR own")), (secret.clone(), own.clone()));
            let data = owner.begin("RETR secret");
            let mut thief = Data::connect(data.peer(), &other.sibling());
            assert!(stolen(&mut thief).is_empty(), "{reuse}: nobody of its client waits");
            // Now both wait on that port, and the connections come the wrong way round.
            let (mut second, mut first) = (other.begin("RETR own"), data);
            second.handshake().unwrap();
            first.handshake().unwrap();
            kit::same(&second.read_to_end().unwrap(), &own, reuse);
            kit::same(&first.read_to_end().unwrap(), &secret, reuse);
            first.finish();
            second.finish();
            owner.expect(226);
            other.expect(226);
        }
    });
}

#[test]
fn without_proof_nothing_comes_from_another_address() {
    kit::test(120, || {
        for reuse in ["auto", "prefer", "off"] {
            let node = node(reuse, 8);
            let secret = contents(&node, "secret");
            // The first transfer of a session that never resumes: its own address would do.
            let (mut owner, tls) = (Client::session(&node, &Tls::new(Version::Tls13)), Tls::new(Version::Tls13));
            let data = Data::connect(owner.epsv(), &tls);
            owner.command("RETR secret").is(150);
            for last in 2..6 {
                let mut thief = Data::over(from(Ipv4Addr::new(127, 0, 0, last), data.peer()), &tls);
                assert!(stolen(&mut thief).is_empty(), "{reuse}: 127.0.0.{last}");
            }
            let mut data = data;
            data.handshake().unwrap();
            assert!(!data.resumed());
            kit::same(&data.read_to_end().unwrap(), &secret, reuse);
            data.finish();
            owner.expect(226);
            // Nor does anything go in.
            let data = Data::connect(owner.epsv(), &tls);
            owner.command("STOR planted").is(150);
            let mut thief = Data::over(from(Ipv4Addr::new(127, 0, 0, 9), data.peer()), &tls);
            if thief.handshake().is_ok() {
                let _ = thief.write(b"planted");
                thief.finish();
            }
            let mut data = data;
            data.handshake().unwrap();
            data.write(b"the owner's").unwrap();
            data.finish();
            owner.expect(226);
            kit::same_file(node.root.join("planted"), b"the owner's", reuse);
        }
    });
}

#[test]
fn a_thousand_replays_of_a_client_hello_get_nothing_and_cost_the_owner_nothing() {
    kit::test(300, || {
        for version in [Version::Tls12, Version::Tls13] {
            let node = node("require", 8);
            let secret = contents(&node, "secret");
            let mut owner = Client::session(&node, &Tls::new(version));
            owner.get("RETR secret");
            let recorded = Client::hello(&owner.tls);
            let mut data = owner.begin("RETR secret");
            let to = data.peer();
            std::thread::scope(|scope| {
                let floods: Vec<_> = (0..4).map(|_| scope.spawn(|| (0..250).map(|_| replay(to, &recorded)).max().unwrap_or(0))).collect();
                // The owner comes in the middle of them.
                std::thread::sleep(Duration::from_millis(100));
                data.handshake().unwrap();
                assert!(data.resumed());
                kit::same(&data.read_to_end().unwrap(), &secret, "the owner is served");
                for flood in floods {
                    let most = flood.join().unwrap();
                    assert!(most < 8_000, "{version:?}: a replay got {most} bytes, more than a server's part of a handshake");
                }
            });
            data.finish();
            owner.expect(226);
            owner.command("NOOP").is(200);
            kit::same(&owner.get("RETR secret"), &secret, "and once more");
        }
    });
}

#[test]
fn a_recorded_upload_is_no_upload() {
    kit::test(60, || {
        for version in [Version::Tls12, Version::Tls13] {
            let node = node("require", 8);
            let mut owner = Client::session(&node, &Tls::new(version));
            let mut data = owner.begin("STOR first");
            let mut tape = data.taped_handshake().unwrap();
            let sealed = data.seal(b"recorded bytes");
            data.raw(&sealed).unwrap();
            tape.extend(sealed);
            data.finish();
            owner.expect(226);
            let mut data = owner.begin("STOR second");
            let mut copy = connect(data.peer()).unwrap();
            let _ = copy.write_all(&tape);
            drop(copy);
            data.handshake().unwrap();
            data.write(b"from the owner").unwrap();
            data.finish();
            owner.expect(226);
            kit::same_file(node.root.join("second"), b"from the owner", "on disk");
        }
    });
}

/// Sends a ClientHello that was recorded; how many bytes the server answers within a moment.
fn replay(to: SocketAddr, recorded: &[u8]) -> usize {
    let Ok(mut stream) = connect(to) else { return 0 };
    if stream.write_all(recorded).is_err() {
        return 0;
    }
    stream.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
    let (mut buffer, mut got) = ([0; 4096], 0);
    while let Ok(count) = stream.read(&mut buffer) {
        got += count;
        if count == 0 {
            break;
        }
    }
    got
}

/// What a connection gets that shakes hands and reads.
fn stolen(thief: &mut Data) -> Vec<u8> {
    thief.handshake().and_then(|()| thief.read_to_end()).unwrap_or_default()
}

/// Connects from this address of the loopback network.
fn from(address: Ipv4Addr, to: SocketAddr) -> TcpStream {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::from((address, 0)).into()).unwrap();
    socket.connect_timeout(&to.into(), Duration::from_secs(10)).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    socket.into()
}

fn contents(node: &Node, name: &str) -> Vec<u8> {
    std::fs::read(node.root.join(name)).unwrap()
}

/// A node with two users who have a file each, of one size.
fn node(reuse: &str, ports: usize) -> Node {
    let options = Options { users: users_file(&[("demo", "/", "all"), ("other", "/others", "all")]), ..Options::default() };
    let node = Node::with(options.set("data", &format!(r#"{{ ports: "0/{ports}", tls_reuse: {reuse} }}"#)));
    std::fs::create_dir(node.root.join("others")).unwrap();
    std::fs::write(node.root.join("secret"), random_bytes(300_000)).unwrap();
    std::fs::write(node.root.join("others/own"), random_bytes(300_000)).unwrap();
    node
}

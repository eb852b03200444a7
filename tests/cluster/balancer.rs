//! The balancer of the tests itself: if it bent connections, every other test here would be about it and not about the gateway.
//!
//! Gets: bare TCP servers. Gives: that bytes, FIN and RST pass as they are, that nodes are chosen as told, that headers are well formed.
//! Never: a gateway.

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use crate::kit::{self, Balancer, Pick, Tell, header, random_bytes, same};

#[test]
fn bytes_and_half_closes_pass_both_ways() {
    kit::test(60, || {
        let (server, balancer, to) = behind(Tell::Nothing);
        balancer.add(server.local_addr().unwrap().ip());
        let sent = random_bytes(3_000_000);
        let mut client = connect(to);
        let mut node = server.accept().unwrap().0;
        assert_eq!(node.peer_addr().unwrap().ip(), balancer.ip, "the client is hidden");
        let echo = std::thread::spawn(move || {
            let mut all = Vec::new();
            node.read_to_end(&mut all).unwrap();
            node.write_all(&all).unwrap();
        });
        client.write_all(&sent).unwrap();
        client.shutdown(Shutdown::Write).unwrap();
        let mut came = Vec::new();
        client.read_to_end(&mut came).unwrap();
        echo.join().unwrap();
        same(&came, &sent, "echo");
    });
}

#[test]
fn a_reset_is_a_reset_on_the_other_side() {
    kit::test(60, || {
        let (server, balancer, to) = behind(Tell::Nothing);
        balancer.add(server.local_addr().unwrap().ip());
        for from_client in [true, false] {
            let (client, node) = (connect(to), server.accept().unwrap().0);
            let (gone, mut left) = if from_client { (client, node) } else { (node, client) };
            left.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
            socket2::SockRef::from(&gone).set_linger(Some(Duration::ZERO)).unwrap();
            drop(gone);
            assert_eq!(left.read(&mut [0; 1]).unwrap_err().kind(), ErrorKind::ConnectionReset);
        }
    });
}

#[test]
fn nodes_are_chosen_at_random_and_a_drained_one_keeps_what_it_has() {
    kit::test(60, || {
        let (first, balancer, to) = behind(Tell::Nothing);
        let second = TcpListener::bind((Ipv4Addr::new(127, 0, 0, 2), first.local_addr().unwrap().port())).unwrap();
        for server in [&first, &second] {
            balancer.add(server.local_addr().unwrap().ip());
        }
        let all: Vec<TcpStream> = (0..40).map(|_| connect(to)).collect();
        let counts = || balancer.data_connections();
        kit::eventually(20, "all are chosen for", || counts().iter().sum::<usize>() == 40);
        assert!(counts().iter().all(|count| *count > 0), "{:?}", counts());
        let mut old = second.accept().unwrap().0;
        balancer.set_used(1, false);
        let before = counts()[1];
        let more: Vec<TcpStream> = (0..20).map(|_| connect(to)).collect();
        kit::eventually(20, "all are chosen for", || counts().iter().sum::<usize>() == 60);
        assert_eq!(counts()[1], before, "a drained node gets nothing new");
        old.write_all(b"still here").unwrap();
        balancer.pick(Pick::Fixed { control: 0, data: 1 });
        let chosen = connect(to);
        kit::eventually(20, "it is chosen for", || counts()[1] == before + 1);
        drop((all, more, chosen));
    });
}

#[test]
fn headers_come_first_and_say_what_they_are_told() {
    kit::test(60, || {
        for version in [1, 2] {
            let (server, balancer, to) = behind(Tell::public(version));
            balancer.add(server.local_addr().unwrap().ip());
            let mut client = connect(to);
            client.write_all(b"hello").unwrap();
            client.shutdown(Shutdown::Write).unwrap();
            let mut came = Vec::new();
            server.accept().unwrap().0.read_to_end(&mut came).unwrap();
            let port = client.local_addr().unwrap().port();
            let expected = [header(version, SocketAddr::from(([203, 0, 113, 1], port)), to), b"hello".to_vec()].concat();
            assert_eq!(came, expected);
        }
        let six = |text: &str| text.parse::<SocketAddr>().unwrap();
        assert_eq!(header(1, six("[2001:db8::1]:5"), six("[2001:db8::2]:21")), b"PROXY TCP6 2001:db8::1 2001:db8::2 5 21\r\n");
        assert_eq!(header(2, six("[2001:db8::1]:5"), six("[2001:db8::2]:21")).len(), 16 + 36);
    });
}

/// A server on 127.0.0.1, and a balancer for its port, as a data port, on an address of its own.
fn behind(tell: Tell) -> (TcpListener, Balancer, SocketAddr) {
    for _ in 0..50 {
        let server = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = server.local_addr().unwrap().port();
        let bytes = random_bytes(2);
        let ip = Ipv4Addr::new(127, 16 + bytes[0] % 200, bytes[1], 1);
        if let Ok(balancer) = Balancer::start(ip, &[], &[port], tell.clone()) {
            return (server, balancer, SocketAddr::from((ip, port)));
        }
    }
    panic!("no address is free");
}

fn connect(to: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect_timeout(&to, Duration::from_secs(20)).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    stream
}

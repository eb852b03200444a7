//! Listeners and routing: every connection has one outcome, and none is delivered on a guess.
//!
//! Promised: the same ports on all addresses; a ticket's session first, then the lease, then nobody.
//! Not here: the handshake, see `channel`.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream as Plain};
use std::sync::Arc;

use ftps_proto::hello::ClientHello;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::kit::{Client, Kit, LIMIT, TLS13, someone};
use crate::data::PortSet;
use crate::data::ports::{Door, Ports, PortsError};
use crate::data::route::{Router, Shown};
use crate::data::waits::Waits;
use crate::live::{Live, Message};
use crate::net::origin::Balancers;
use crate::observe::event::RefuseReason;
use crate::observe::id::SessionId;
use crate::tls::Family;

#[tokio::test]
async fn opens_the_same_ports_on_every_address() {
    let ftp: Vec<SocketAddr> = ["127.0.0.1:1", "127.0.0.2:2", "127.0.0.1:3"].map(|address| address.parse().unwrap()).to_vec();
    let ports = Ports::bind(&PortSet::Any(3), &ftp).unwrap();
    let numbers = ports.numbers();
    assert_eq!(numbers.len(), 3);
    for port in numbers {
        for ip in ["127.0.0.1", "127.0.0.2"] {
            Plain::connect((ip, port)).unwrap();
        }
        assert!(matches!(Ports::bind(&PortSet::Range(port, port), &ftp), Err(PortsError::Listen { .. })));
    }
}

#[tokio::test]
async fn every_connection_has_one_outcome() {
    let (kit, live, session, numbers, stop, tracker) = open_ports().await;
    let (_membership, mut inbox) = live.join(session, "127.0.0.1:40000".parse().unwrap());
    let (plain, remembers) = (kit.client(TLS13, false), kit.client(TLS13, true));
    kit.seed_at(&remembers).await;
    let (with, without) = (Client::hello(&remembers), Client::hello(&plain));
    let send = |port: u16, bytes: &[u8]| {
        let mut tcp = Plain::connect(("127.0.0.1", port)).unwrap();
        tcp.set_read_timeout(Some(LIMIT)).unwrap();
        tcp.write_all(bytes).unwrap();
        tcp
    };

    // Nobody is logged in: a ticket of a dead session is none, and there is no lease.
    drop(send(numbers[0], &with));
    kit.events.wait_for("NoOwner").await;

    let member = kit.waits.join(session, someone(session), std::sync::Arc::new(()));
    drop(send(numbers[0], &with));
    kit.events.wait_for("NotWaiting").await;

    let wait = kit.waits.open(session, "127.0.0.1".parse().unwrap(), true).await.unwrap();
    let _here = send(wait.port(), &with);
    kit.events.wait_for("Local").await;
    let Message::Data(arrival) = timeout(LIMIT, inbox.recv()).await.unwrap() else { panic!("no data") };
    assert_eq!((arrival.port, arrival.read.as_slice()), (wait.port(), with.as_slice()));

    let _here = send(wait.port(), &without);
    kit.events.wait_for("Leased").await;
    assert!(matches!(timeout(LIMIT, inbox.recv()).await.unwrap(), Message::Data(_)));

    let other = numbers.iter().find(|port| **port != wait.port()).unwrap();
    drop(send(*other, &without));
    drop(send(*other, &with));
    let mut closed = send(*other, b"GET / HTTP/1.1\r\n\r\n");
    kit.events.wait_for("NoHello").await;
    assert_eq!(closed.read(&mut [0; 1]).unwrap_or(0), 0);
    drop((wait, member));
    stop.cancel();
    tracker.close();
    timeout(LIMIT, tracker.wait()).await.unwrap();
    assert_eq!(kit.events.count("DataConnection"), 7);
    assert_eq!((kit.events.count("NoOwner"), kit.events.count("NotWaiting")), (2, 2));
}

#[tokio::test]
async fn balancers_name_their_clients_and_probes_are_silent() {
    let (kit, live, session, _, stop, _tracker) = open_ports().await;
    let (_membership, mut inbox) = live.join(session, "127.0.0.1:40000".parse().unwrap());
    let without = Client::hello(&kit.client(TLS13, false));
    let member = kit.waits.join(session, someone(session), std::sync::Arc::new(()));
    let wait = kit.waits.open(session, "127.0.0.1".parse().unwrap(), true).await.unwrap();
    let from = |last: u8, bytes: &[u8]| {
        let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
        socket.bind(&SocketAddr::from(([127, 0, 0, last], 0)).into()).unwrap();
        socket.connect(&SocketAddr::from(([127, 0, 0, 1], wait.port())).into()).unwrap();
        let mut socket = Plain::from(socket);
        socket.write_all(bytes).unwrap();
        socket
    };
    // A health check, and a header from whom none is expected.
    drop(from(1, b""));
    kit.events.wait_for("outcome: Probe").await;
    let header = |source: &str| [format!("PROXY TCP4 {source} 127.0.0.1 7 8\r\n").as_bytes(), &without].concat();
    let _here = from(1, &header("127.0.0.1"));
    kit.events.wait_for("NotListed").await;
    // From a balancer it is required, and the address in it is the one that counts, for the lease and for who may connect.
    let _here = from(8, &header("127.0.0.1"));
    let Message::Data(arrival) = timeout(LIMIT, inbox.recv()).await.unwrap() else { panic!("no data") };
    assert_eq!((arrival.peer, arrival.read), ("127.0.0.1:7".parse().unwrap(), without.clone()));
    drop(from(8, b""));
    kit.events.wait_for("Probed").await;
    drop(from(8, &header("127.0.0.9")));
    kit.events.wait_for("NotAllowed").await;
    drop(from(8, &without));
    kit.events.wait_for("Missing").await;
    // An address that may not connect at all is closed unread.
    drop(from(9, b""));
    tokio::time::timeout(LIMIT, async {
        while kit.events.count("NotAllowed") < 2 {
            tokio::task::yield_now().await;
        }
    })
    .await
    .unwrap();
    drop((wait, member));
    stop.cancel();
}

/// Two served data ports; whoever shows a ticket is the session. Connections from 127.0.0.8 begin with a header, those of 127.0.0.9 may not come.
async fn open_ports() -> (Kit, Live, SessionId, Vec<u16>, CancellationToken, TaskTracker) {
    let mut kit = Kit::new().await;
    let ports = Ports::bind(&PortSet::Any(2), &["127.0.0.1:0".parse().unwrap()]).unwrap();
    let numbers = ports.numbers();
    kit.waits = Waits::new(numbers.clone());
    let live = Live::default();
    let session = SessionId::now();
    let shows = move |hello: &ClientHello| hello.tickets().next().map_or(Shown::Nothing, |_| Shown::Here { session, family: Family(session.0) });
    let router = Router::new(kit.waits.clone(), live.clone(), Arc::new(shows), kit.observer(), None, None);
    let (stop, tracker) = (CancellationToken::new(), TaskTracker::new());
    let door = Door {
        balancers: Balancers::new(vec!["127.0.0.8/32".parse().unwrap()]),
        allowed: Box::new(|ip| if ip == Ipv4Addr::new(127, 0, 0, 9) { Err(Some(RefuseReason::NotAllowed)) } else { Ok(()) }),
    };
    ports.serve(&router, door, &kit.observer(), &stop, &tracker);
    (kit, live, session, numbers, stop, tracker)
}

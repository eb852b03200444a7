//! Whom a connection is from: its TCP address, or what a known balancer says in a header of the PROXY protocol.
//!
//! Gets: `listen.proxy_protocol_from`, accepted connections. Gives: the client's true address, and where it connected to.
//! Never: believes a header from anybody else, takes a byte behind one, waits longer than 5 s.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use ftps_proto::machine::io::fold;
use ftps_proto::proxy::{self, Header, Progress, ProxyFault};
use ipnet::IpNet;
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::time::timeout;

use crate::observe::event::ProxyTrouble;

/// The balancers whose connections begin with a header. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Balancers(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    networks: ArcSwap<Vec<IpNet>>,
    /// Places for connections whose header is awaited.
    places: Semaphore,
    patience: Duration,
}

/// Whom a connection is from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Origin {
    /// The client's true address.
    pub peer: SocketAddr,
    /// Where the client connected to, if a balancer said so.
    pub destination: Option<SocketAddr>,
    /// A balancer's own connection, such as a health check.
    pub own: bool,
}

/// A connection that goes no further.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoOrigin {
    /// A balancer looked whether we listen: closed or reset without a byte.
    Probe,
    /// It should have begun with a header and did not.
    Trouble(ProxyTrouble),
}

impl Balancers {
    /// Headers are required from these networks and refused from all others.
    pub fn new(networks: Vec<IpNet>) -> Self {
        Self::with_patience(networks, DEADLINE)
    }

    /// Like [`Balancers::new`]; `patience` is how long a header is waited for.
    pub fn with_patience(networks: Vec<IpNet>, patience: Duration) -> Self {
        Self(Arc::new(Shared { networks: ArcSwap::from_pointee(networks), places: Semaphore::new(AWAITED), patience }))
    }

    /// From now on it is these.
    pub fn set(&self, networks: Vec<IpNet>) {
        self.0.networks.store(Arc::new(networks));
    }

    /// Whether connections from this address begin with a header.
    pub fn contains(&self, ip: IpAddr) -> bool {
        self.0.networks.load().iter().any(|network| network.contains(&ip))
    }

    /// Whom a connection that came from `from` is from. At once, unless that is a balancer.
    ///
    /// # Errors
    /// It goes no further.
    pub async fn origin(&self, stream: &mut TcpStream, from: SocketAddr) -> Result<Origin, NoOrigin> {
        if !self.contains(from.ip()) {
            return Ok(Origin { peer: from, destination: None, own: false });
        }
        let _place = self.0.places.try_acquire().map_err(|_| NoOrigin::Trouble(ProxyTrouble::TooMany))?;
        let header = timeout(self.0.patience, read(stream)).await.map_err(|_| NoOrigin::Trouble(ProxyTrouble::Timeout))??;
        Ok(match header {
            Header::Client { source, destination } => Origin { peer: fold(source), destination: Some(fold(destination)), own: false },
            Header::Own => Origin { peer: from, destination: None, own: true },
        })
    }
}

async fn read(stream: &mut TcpStream) -> Result<Header, NoOrigin> {
    let mut bytes = Vec::with_capacity(USUAL);
    loop {
        let more = match proxy::read(&bytes) {
            Progress::Done(header) => return Ok(header),
            Progress::Fault(fault) => return Err(NoOrigin::Trouble(fault.into())),
            Progress::More(more) => more,
        };
        let seen = bytes.len();
        bytes.resize(seen + more, 0);
        let count = match stream.read(&mut bytes[seen..]).await {
            Ok(0) | Err(_) if seen == 0 => return Err(NoOrigin::Probe),
            Ok(0) | Err(_) => return Err(NoOrigin::Trouble(ProxyTrouble::Closed)),
            Ok(count) => count,
        };
        bytes.truncate(seen + count);
    }
}

impl From<ProxyFault> for ProxyTrouble {
    fn from(fault: ProxyFault) -> Self {
        match fault {
            ProxyFault::Missing => Self::Missing,
            ProxyFault::Malformed => Self::Malformed,
            ProxyFault::TooLong => Self::TooLong,
        }
    }
}

/// For the whole header, which comes with the first packet; one lost packet costs up to 3 s (proxy-protocol.txt §2).
const DEADLINE: Duration = Duration::from_secs(5);

/// Headers that are awaited at once.
const AWAITED: usize = 4096;

/// Bytes of nearly every header.
const USUAL: usize = 108;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use ftps_proto::fuzzing::write_proxy;
    use tokio::io::AsyncWriteExt;
    use tokio::net::TcpListener;

    use super::*;

    fn trusted() -> Balancers {
        Balancers::new(vec!["127.0.0.0/8".parse().unwrap()])
    }

    /// What is said of a connection on which `sent` comes, byte by byte if `slow`, and what is left to read behind it.
    async fn told(balancers: &Balancers, sent: Vec<u8>, slow: bool) -> (Result<Origin, NoOrigin>, Vec<u8>, SocketAddr) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        client.set_nodelay(true).unwrap();
        let (mut stream, from) = listener.accept().await.unwrap();
        let sending = tokio::spawn(async move {
            for piece in sent.chunks(if slow { 1 } else { usize::MAX }) {
                // Who is refused in the middle does not read the rest.
                if client.write_all(piece).await.is_err() {
                    return;
                }
                tokio::task::yield_now().await;
            }
        });
        let origin = balancers.origin(&mut stream, from).await;
        let mut rest = Vec::new();
        if origin.is_ok() {
            stream.read_to_end(&mut rest).await.unwrap();
        }
        drop(stream);
        sending.await.unwrap();
        (origin, rest, from)
    }

    #[tokio::test]
    async fn a_balancer_names_its_client_and_nothing_behind_the_header_is_taken() {
        let client = "[::ffff:203.0.113.7]:5".parse().unwrap();
        for version in [1, 2] {
            for slow in [false, true] {
                let header = write_proxy(version, Header::Client { source: client, destination: "[2001:db8::1]:21".parse().unwrap() });
                let (origin, rest, _) = told(&trusted(), [&header[..], b"client"].concat(), slow).await;
                let expected = Origin { peer: "203.0.113.7:5".parse().unwrap(), destination: Some("[2001:db8::1]:21".parse().unwrap()), own: false };
                assert_eq!((origin, rest), (Ok(expected), b"client".to_vec()));
            }
        }
        let (origin, _, from) = told(&trusted(), b"PROXY UNKNOWN\r\n".to_vec(), false).await;
        assert_eq!(origin, Ok(Origin { peer: from, destination: None, own: true }));
    }

    #[tokio::test]
    async fn everybody_else_is_who_he_is_and_keeps_his_bytes() {
        let nobody = Balancers::new(vec!["10.0.0.0/8".parse().unwrap()]);
        let (origin, rest, from) = told(&nobody, b"PROXY UNKNOWN\r\n".to_vec(), false).await;
        assert_eq!((origin, rest), (Ok(Origin { peer: from, destination: None, own: false }), b"PROXY UNKNOWN\r\n".to_vec()));
        nobody.set(vec!["127.0.0.0/8".parse().unwrap()]);
        assert!(told(&nobody, b"PROXY UNKNOWN\r\n".to_vec(), false).await.0.unwrap().own);
    }

    #[tokio::test]
    async fn a_probe_is_told_from_a_missing_and_a_broken_header() {
        let trouble = |trouble| Err(NoOrigin::Trouble(trouble));
        for (sent, expected) in [
            (&b""[..], Err(NoOrigin::Probe)),
            (b"PROXY TCP4 1.1", trouble(ProxyTrouble::Closed)),
            (b"USER demo\r\n", trouble(ProxyTrouble::Missing)),
            (b"PROXY TCP9 1.1.1.1 1.1.1.1 1 1\r\n", trouble(ProxyTrouble::Malformed)),
        ] {
            assert_eq!(told(&trusted(), sent.to_vec(), false).await.0, expected, "{}", sent.escape_ascii());
        }
    }

    #[tokio::test]
    async fn a_header_that_does_not_come_is_waited_for_until_the_deadline() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let _client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (mut stream, from) = listener.accept().await.unwrap();
        let impatient = Balancers::with_patience(vec!["127.0.0.0/8".parse().unwrap()], Duration::from_millis(20));
        assert_eq!(impatient.origin(&mut stream, from).await, Err(NoOrigin::Trouble(ProxyTrouble::Timeout)));
    }
}

//! The data ports: one listener for each port and address, shared by all sessions.
//!
//! Gets: `data.ports` and the addresses of the FTP listeners. Gives: accepted connections to the router, each in a task of its own with a deadline.
//! Never: holds more unrouted connections than its caps, as a whole and by source.

use std::collections::{BTreeSet, HashMap};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::PortSet;
use super::route::Router;
use crate::limits::Source;
use crate::net::listener::{Listener as Socket, bind};
use crate::observe::event::{Listener, RefuseReason};
use crate::observe::{Event, Observer, Subject};

/// The open listeners.
#[derive(Debug)]
pub struct Ports {
    listeners: Vec<(Socket, u16)>,
}

/// Whether an address may connect at all: `listen.allow_from`.
pub type Allowed = Box<dyn Fn(IpAddr) -> bool + Send + Sync>;

/// Why the data ports cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum PortsError {
    /// bind(2) or listen(2) failed.
    #[error("cannot listen on {address} for data connections: {source}; free the port or change data.ports")]
    Listen {
        /// Where.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// No port is free on all addresses.
    #[error("no port is free on all addresses of listen.explicit and listen.implicit; name a range in data.ports")]
    NoCommonPort,
}

impl Ports {
    /// Opens the ports of `set` on every address of `ftp`, the FTP listeners. Needs a tokio runtime.
    ///
    /// # Errors
    /// The first address that cannot be listened on.
    pub fn bind(set: &PortSet, ftp: &[SocketAddr]) -> Result<Self, PortsError> {
        let addresses = addresses(ftp);
        let mut listeners = Vec::new();
        match *set {
            PortSet::Range(first, last) => {
                for port in first..=last {
                    listeners.extend(listen_on_all(&addresses, port)?);
                }
            }
            PortSet::Any(count) => {
                for _ in 0..count {
                    listeners.extend(any_port(&addresses)?);
                }
            }
        }
        Ok(Self { listeners })
    }

    /// The port numbers, each once.
    pub fn numbers(&self) -> Vec<u16> {
        self.listeners.iter().map(|(_, port)| *port).collect::<BTreeSet<_>>().into_iter().collect()
    }

    /// Accepts from whom `allowed` allows, until `stop`. The tasks are `tracker`'s; those of connections end by themselves within 10 s.
    pub fn serve(self, router: &Router, allowed: Allowed, observer: &Observer, stop: &CancellationToken, tracker: &TaskTracker) {
        let (router, observer) = (router.clone(), observer.clone());
        let shared = Arc::new(Shared { router, allowed, observer, all: Arc::new(Semaphore::new(UNROUTED)), by_source: Mutex::default() });
        for (socket, port) in self.listeners {
            let (shared, stop, inner) = (shared.clone(), stop.clone(), tracker.clone());
            tracker.spawn(async move { stop.run_until_cancelled(shared.accept(&socket, port, &inner)).await });
        }
    }
}

struct Shared {
    router: Router,
    allowed: Allowed,
    observer: Observer,
    all: Arc<Semaphore>,
    by_source: Mutex<HashMap<Source, usize>>,
}

/// A place among the unrouted connections.
struct Place {
    shared: Arc<Shared>,
    source: Source,
    _permit: OwnedSemaphorePermit,
}

impl Shared {
    async fn accept(self: Arc<Self>, socket: &Socket, port: u16, tracker: &TaskTracker) {
        loop {
            let failed = |error: &io::Error| self.observer.event(Subject::default(), &Event::AcceptFailed { listener: Listener::Data, error });
            let (stream, peer) = socket.accept(failed).await;
            if let Some(routing) = self.clone().take(stream, peer, port) {
                tracker.spawn(routing);
            }
        }
    }

    fn take(self: Arc<Self>, stream: TcpStream, peer: SocketAddr, port: u16) -> Option<impl Future<Output = ()> + Send + use<>> {
        let subject = Subject { peer: Some(peer), ..Subject::default() };
        self.observer.event(subject, &Event::Accepted { listener: Listener::Data });
        let place = if (self.allowed)(peer.ip()) { self.place(peer.ip().into()).ok_or(RefuseReason::Limit) } else { Err(RefuseReason::NotAllowed) };
        let place = place.inspect_err(|reason| self.observer.event(subject, &Event::Refused { listener: Listener::Data, reason: *reason })).ok()?;
        Some(async move {
            place.shared.router.receive(stream, peer, port).await;
            drop(place);
        })
    }

    fn place(self: &Arc<Self>, source: Source) -> Option<Place> {
        let permit = self.all.clone().try_acquire_owned().ok()?;
        let mut by_source = self.by_source.lock().unwrap_or_else(PoisonError::into_inner);
        let held = by_source.entry(source).or_default();
        if *held >= UNROUTED_PER_SOURCE {
            return None;
        }
        *held += 1;
        Some(Place { shared: self.clone(), source, _permit: permit })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut by_source = self.shared.by_source.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(held) = by_source.get_mut(&self.source) {
            *held -= 1;
            if *held == 0 {
                by_source.remove(&self.source);
            }
        }
    }
}

/// Where to listen: each address once, none that another one covers (`::` is dual-stack).
fn addresses(ftp: &[SocketAddr]) -> Vec<IpAddr> {
    let all: BTreeSet<IpAddr> = ftp.iter().map(SocketAddr::ip).collect();
    let any6 = all.contains(&IpAddr::V6(Ipv6Addr::UNSPECIFIED));
    let any4 = all.contains(&IpAddr::V4(Ipv4Addr::UNSPECIFIED));
    let covered = |ip: &IpAddr| match ip {
        IpAddr::V4(four) => any6 || (any4 && !four.is_unspecified()),
        IpAddr::V6(six) => any6 && !six.is_unspecified(),
    };
    all.into_iter().filter(|ip| !covered(ip)).collect()
}

fn listen_on_all(addresses: &[IpAddr], port: u16) -> Result<Vec<(Socket, u16)>, PortsError> {
    addresses.iter().map(|ip| listen(SocketAddr::new(*ip, port))).collect()
}

/// One port of the kernel's choice, the same on all addresses.
fn any_port(addresses: &[IpAddr]) -> Result<Vec<(Socket, u16)>, PortsError> {
    let Some((first, others)) = addresses.split_first() else { return Ok(Vec::new()) };
    for _ in 0..ATTEMPTS {
        let chosen = listen(SocketAddr::new(*first, 0))?;
        if let Ok(mut all) = listen_on_all(others, chosen.1) {
            all.push(chosen);
            return Ok(all);
        }
    }
    Err(PortsError::NoCommonPort)
}

fn listen(address: SocketAddr) -> Result<(Socket, u16), PortsError> {
    let open = || {
        let socket = Socket::new(bind(address, BACKLOG)?);
        let port = socket.local_addr()?.port();
        Ok((socket, port))
    };
    open().map_err(|source| PortsError::Listen { address, source })
}

/// Connections whose ClientHello is awaited, on all data ports.
const UNROUTED: usize = 4096;

/// Of them from one source: an IPv4 address or an IPv6 /64, or one client could take all places. A balancer that hides addresses brings those of many clients, each for a round trip.
const UNROUTED_PER_SOURCE: usize = 256;

/// Connections that the kernel holds for us.
const BACKLOG: u32 = 1024;

/// Tries to find a port that is free on all addresses.
const ATTEMPTS: usize = 100;

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
use crate::net::origin::{Balancers, NoOrigin};
use crate::observe::event::{Listener, RefuseReason};
use crate::observe::{Event, Observer, Subject};

/// The open listeners.
#[derive(Debug)]
pub struct Ports {
    listeners: Vec<(Socket, u16)>,
}

/// What is asked of every connection before it is read.
pub struct Door {
    /// Who has to say by a header whose connections it brings.
    pub balancers: Balancers,
    /// Whether a (true) address may connect at all: `listen.allow_from`.
    pub allowed: Allowed,
}

/// Whether an address may.
pub type Allowed = Box<dyn Fn(IpAddr) -> Result<(), Option<RefuseReason>> + Send + Sync>;

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

    /// Accepts whom `door` lets in, until `stop`. The tasks are `tracker`'s; those of connections end by themselves within 10 s.
    pub fn serve(self, router: &Router, door: Door, observer: &Observer, stop: &CancellationToken, tracker: &TaskTracker) {
        let (router, observer) = (router.clone(), observer.clone());
        let shared = Arc::new(Shared { router, door, observer, all: Arc::new(Semaphore::new(UNROUTED)), by_source: Mutex::default() });
        for (socket, port) in self.listeners {
            let (shared, stop, inner) = (shared.clone(), stop.clone(), tracker.clone());
            tracker.spawn(async move { stop.run_until_cancelled(shared.accept(&socket, port, &inner)).await });
        }
    }
}

struct Shared {
    router: Router,
    door: Door,
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
            // Before the task: a flood must not become one of tasks.
            match self.all.clone().try_acquire_owned() {
                Ok(permit) => drop(tracker.spawn(self.clone().bring(stream, peer, port, permit))),
                Err(_full) => self.say(peer, &Event::Refused { listener: Listener::Data, reason: RefuseReason::Limit }),
            }
        }
    }

    /// Takes a connection from its first byte to its session. `from`: where TCP says it comes from.
    async fn bring(self: Arc<Self>, mut stream: TcpStream, from: SocketAddr, port: u16, permit: OwnedSemaphorePermit) {
        let listener = Listener::Data;
        let peer = match self.door.balancers.origin(&mut stream, from).await {
            Ok(origin) => origin.peer,
            Err(NoOrigin::Probe) => return self.say(from, &Event::Probed { listener }),
            Err(NoOrigin::Trouble(trouble)) => return self.say(from, &Event::ProxyRefused { listener, trouble }),
        };
        self.say(peer, &Event::Accepted { listener });
        if let Err(reason) = (self.door.allowed)(peer.ip()) {
            // A ban has been said.
            return reason.into_iter().for_each(|reason| self.say(peer, &Event::Refused { listener, reason }));
        }
        let Some(place) = self.place(peer.ip().into(), permit) else {
            return self.say(peer, &Event::Refused { listener, reason: RefuseReason::Limit });
        };
        let relay = place.shared.router.receive(stream, peer, port).await;
        // What is routed is no stranger any more, and may last for hours.
        drop(place);
        if let Some(relay) = relay {
            relay.run().await;
        }
    }

    fn say(&self, peer: SocketAddr, event: &Event<'_>) {
        self.observer.event(Subject { peer: Some(peer), ..Subject::default() }, event);
    }

    fn place(self: &Arc<Self>, source: Source, permit: OwnedSemaphorePermit) -> Option<Place> {
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

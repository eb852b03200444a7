//! A TCP balancer in front of a cluster: for each connection a node at random, as kube-proxy does it; the client's address hidden, or told by the PROXY protocol.
//!
//! Gets: an address, ports, the nodes' addresses. Gives: connections carried to the same port of a node; FIN and RST are passed on as they come.
//! Never: looks into a connection, keeps two connections of one client together, or tries a second node when one does not answer.

use std::collections::HashMap;
use std::io::{self, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;

use super::random_bytes;

/// A running balancer; it ends, with all its connections, when dropped.
pub struct Balancer {
    /// Where clients connect to.
    pub ip: Ipv4Addr,
    shared: Arc<Shared>,
    runtime: Option<Runtime>,
}

/// What nodes are told of a client's address.
#[derive(Clone, Default)]
pub enum Tell {
    /// Nothing: every client seems to come from the balancer.
    #[default]
    Nothing,
    /// By a header of this version.
    Header { version: u8, addresses: Addresses },
}

/// Source and destination to write into the header of a client's connection, from the client's and the balancer's side of it.
pub type Addresses = Arc<dyn Fn(SocketAddr, SocketAddr) -> (SocketAddr, SocketAddr) + Send + Sync>;

/// Which node gets a connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Pick {
    /// Any that is in use.
    #[default]
    Random,
    /// This one for control connections, that one for data connections: to know who owns and who relays.
    Fixed { control: usize, data: usize },
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    tell: Tell,
}

#[derive(Default)]
struct State {
    nodes: Vec<(IpAddr, bool)>,
    pick: Pick,
    data: Vec<u16>,
    taken: HashMap<(usize, u16), usize>,
}

impl Tell {
    /// The address that the client truly has on this machine.
    pub fn truth(version: u8) -> Self {
        Self::Header { version, addresses: Arc::new(|client, here| (client, here)) }
    }

    /// An address that is routed on the Internet: 203.0.113.N for a client at 127.x.y.N; the destination stays, so that PASV leads back here.
    pub fn public(version: u8) -> Self {
        let last = |ip: IpAddr| match ip {
            IpAddr::V4(ip) => ip.octets()[3],
            IpAddr::V6(ip) => ip.octets()[15],
        };
        Self::Header { version, addresses: Arc::new(move |client, here| (SocketAddr::from(([203, 0, 113, last(client.ip())], client.port())), here)) }
    }
}

impl Balancer {
    /// Listens on `control` and `data` ports of `ip`, for no node yet.
    ///
    /// # Errors
    /// A port is taken.
    pub fn start(ip: Ipv4Addr, control: &[u16], data: &[u16], tell: Tell) -> io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        let state = State { data: data.to_vec(), ..State::default() };
        let shared = Arc::new(Shared { state: Mutex::new(state), tell });
        for port in control.iter().chain(data) {
            let listener = runtime.block_on(TcpListener::bind((ip, *port)))?;
            runtime.spawn(accept(listener, *port, shared.clone()));
        }
        Ok(Self { ip, shared, runtime: Some(runtime) })
    }

    /// Another node, in use from now on. Returns its number.
    pub fn add(&self, node: impl Into<IpAddr>) -> usize {
        let mut state = self.shared.state();
        state.nodes.push((node.into(), true));
        state.nodes.len() - 1
    }

    /// Whether a node gets new connections. Those it has go on in any case.
    pub fn set_used(&self, node: usize, used: bool) {
        self.shared.state().nodes[node].1 = used;
    }

    /// Leaves its address to another balancer.
    pub fn stop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_timeout(Duration::from_secs(5));
        }
    }

    /// Who gets connections from now on.
    pub fn pick(&self, pick: Pick) {
        self.shared.state().pick = pick;
    }

    /// Data connections that each node got.
    pub fn data_connections(&self) -> Vec<usize> {
        let state = self.shared.state();
        let of = |node: usize| state.taken.iter().filter(|((to, port), _)| *to == node && state.data.contains(port)).map(|(_, count)| count).sum();
        (0..state.nodes.len()).map(of).collect()
    }
}

impl Drop for Balancer {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The node for a connection to a port, counted.
    fn choose(&self, port: u16) -> Option<SocketAddr> {
        let mut state = self.state();
        let node = match state.pick {
            Pick::Fixed { data, .. } if state.data.contains(&port) => data,
            Pick::Fixed { control, .. } => control,
            Pick::Random => {
                let used: Vec<usize> = (0..state.nodes.len()).filter(|node| state.nodes[*node].1).collect();
                let random = usize::from(u16::from_ne_bytes(random_bytes(2).try_into().expect("two bytes")));
                *used.get(random.checked_rem(used.len())?)?
            }
        };
        *state.taken.entry((node, port)).or_default() += 1;
        Some(SocketAddr::new(state.nodes.get(node)?.0, port))
    }
}

/// The header of the PROXY protocol, version 1 or 2, as HAProxy writes it.
pub fn header(version: u8, source: SocketAddr, destination: SocketAddr) -> Vec<u8> {
    let mut out = Vec::new();
    match (version, source, destination) {
        (1, SocketAddr::V4(_), SocketAddr::V4(_)) => text(&mut out, "TCP4", source, destination),
        (1, _, _) => text(&mut out, "TCP6", source, destination),
        (_, SocketAddr::V4(source), SocketAddr::V4(destination)) => {
            out.extend_from_slice(b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c");
            out.extend_from_slice(&source.ip().octets());
            out.extend_from_slice(&destination.ip().octets());
        }
        (_, source, destination) => {
            out.extend_from_slice(b"\r\n\r\n\0\r\nQUIT\n\x21\x21\0\x24");
            out.extend_from_slice(&wide(source.ip()));
            out.extend_from_slice(&wide(destination.ip()));
        }
    }
    if version != 1 {
        out.extend_from_slice(&source.port().to_be_bytes());
        out.extend_from_slice(&destination.port().to_be_bytes());
    }
    out
}

fn text(out: &mut Vec<u8>, family: &str, source: SocketAddr, destination: SocketAddr) {
    write!(out, "PROXY {family} {} {} {} {}\r\n", source.ip(), destination.ip(), source.port(), destination.port()).expect("memory");
}

fn wide(ip: IpAddr) -> [u8; 16] {
    match ip {
        IpAddr::V4(ip) => ip.to_ipv6_mapped().octets(),
        IpAddr::V6(ip) => ip.octets(),
    }
}

async fn accept(listener: TcpListener, port: u16, shared: Arc<Shared>) {
    loop {
        let Ok((client, _)) = listener.accept().await else {
            tokio::time::sleep(Duration::from_millis(10)).await;
            continue;
        };
        let shared = shared.clone();
        tokio::spawn(async move {
            // A client that cannot be served is reset, as by a balancer without a node.
            let served = serve(&client, port, &shared).await;
            match served {
                Ok(node) => carry(client, node).await,
                Err(_) => reset(&client),
            }
        });
    }
}

/// The connection to a node, with its header written.
async fn serve(client: &TcpStream, port: u16, shared: &Shared) -> io::Result<TcpStream> {
    client.set_nodelay(true)?;
    let to = shared.choose(port).ok_or(io::ErrorKind::ConnectionRefused)?;
    // Nodes see the balancer's own address, whatever the routes of this machine prefer.
    let socket = tokio::net::TcpSocket::new_v4()?;
    socket.bind(SocketAddr::new(client.local_addr()?.ip(), 0))?;
    let mut node = tokio::time::timeout(Duration::from_secs(10), socket.connect(to)).await.map_err(|_| io::ErrorKind::TimedOut)??;
    node.set_nodelay(true)?;
    if let Tell::Header { version, addresses } = &shared.tell {
        let (source, destination) = addresses(client.peer_addr()?, client.local_addr()?);
        node.write_all(&header(*version, source, destination)).await?;
    }
    Ok(node)
}

/// Both ways until both have ended; an error on one side is a reset on the other.
async fn carry(mut client: TcpStream, mut node: TcpStream) {
    let ended = {
        let ((from_client, to_client), (from_node, to_node)) = (client.split(), node.split());
        tokio::try_join!(one_way(from_client, to_node), one_way(from_node, to_client))
    };
    if ended.is_err() {
        reset(&client);
        reset(&node);
    }
}

async fn one_way(mut from: ReadHalf<'_>, mut to: WriteHalf<'_>) -> io::Result<()> {
    let mut buffer = vec![0; 64 << 10];
    loop {
        match from.read(&mut buffer).await? {
            0 => return to.shutdown().await,
            count => to.write_all(&buffer[..count]).await?,
        }
    }
}

/// It will be reset, not ended, when it is dropped.
fn reset(stream: &TcpStream) {
    let _ = socket2::SockRef::from(stream).set_linger(Some(Duration::ZERO));
}

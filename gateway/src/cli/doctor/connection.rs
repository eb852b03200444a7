//! A small FTPS client that says what happened to it: control connections and data connections.
//!
//! Gets: an address and a TLS configuration. Gives: replies, sockets, and what went wrong in words.
//! Never: waits longer than its deadline for one answer, reads more than its caps, or sends a command before TLS but AUTH.

use std::fmt;
use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, HandshakeKind, ProtocolVersion, StreamOwned};

/// Why an answer did not come.
#[derive(Debug)]
pub(super) enum Broken {
    /// The socket.
    Socket(io::Error),
    /// What came is no FTP reply.
    NotFtp,
    /// The server said no.
    Refused(Reply),
}

/// A reply with all its lines, without their ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Reply {
    pub(super) code: u16,
    pub(super) text: String,
}

/// Where and how to connect.
#[derive(Clone, Debug)]
pub(super) struct Target {
    /// As the person wrote it, for messages.
    pub(super) host: String,
    pub(super) address: SocketAddr,
    pub(super) name: ServerName<'static>,
    /// TLS from the first byte.
    pub(super) implicit: bool,
}

/// A control connection.
pub(super) struct Control {
    stream: Stream,
    unread: Vec<u8>,
    name: ServerName<'static>,
    config: Arc<ClientConfig>,
    /// Where it is connected to.
    pub(super) server: SocketAddr,
    /// Our own end.
    pub(super) local: SocketAddr,
    /// Whether its handshake resumed a session.
    pub(super) resumed: bool,
    /// The version of TLS.
    pub(super) version: Option<ProtocolVersion>,
}

enum Stream {
    Clear(TcpStream),
    Secure(Box<StreamOwned<ClientConnection, TcpStream>>),
    /// Between the two.
    Gone,
}

/// What a data connection brought.
#[derive(Debug)]
pub(super) struct Brought {
    pub(super) bytes: Vec<u8>,
    pub(super) resumed: bool,
}

impl Control {
    /// Connects, reads the greeting, and secures the connection.
    pub(super) fn open(target: &Target, config: &Arc<ClientConfig>) -> Result<Self, Broken> {
        let socket = connect(target.address)?;
        let (server, local) = (socket.peer_addr()?, socket.local_addr()?);
        let stream = Stream::Clear(socket);
        let (name, config) = (target.name.clone(), config.clone());
        let mut control = Self { stream, unread: Vec::new(), name, config, server, local, resumed: false, version: None };
        if target.implicit {
            control.secure()?;
            control.answer(&[220])?;
        } else {
            control.answer(&[220])?;
            control.command("AUTH TLS", &[234])?;
            control.secure()?;
        }
        Ok(control)
    }

    /// Logs in and protects data connections.
    pub(super) fn log_in(&mut self, user: &str, password: &[u8]) -> Result<(), Broken> {
        let answer = self.command(&format!("USER {user}"), &[331, 232, 230])?;
        if answer.code == 331 {
            let mut line = b"PASS ".to_vec();
            line.extend_from_slice(password);
            self.send(&line)?;
            self.answer(&[230])?;
        }
        for line in ["PBSZ 0", "PROT P", "TYPE I"] {
            self.command(line, &[200])?;
        }
        Ok(())
    }

    /// The name of the node that serves it, behind whatever balancer; `None`: it does not tell.
    pub(super) fn node(&mut self) -> Option<String> {
        node_of(&self.command("SITE WHO", &[200]).ok()?.text)
    }

    /// Sends a command and wants one of these codes.
    pub(super) fn command(&mut self, line: &str, codes: &[u16]) -> Result<Reply, Broken> {
        self.send(line.as_bytes())?;
        self.answer(codes)
    }

    /// Where PASV says that a data connection should go.
    pub(super) fn passive(&mut self) -> Result<SocketAddr, Broken> {
        let reply = self.command("PASV", &[227])?;
        pasv_address(&reply.text).ok_or(Broken::NotFtp)
    }

    /// Where EPSV says: the same host, another port (RFC 2428 §3).
    pub(super) fn extended_passive(&mut self) -> Result<SocketAddr, Broken> {
        let reply = self.command("EPSV", &[229])?;
        epsv_port(&reply.text).map(|port| SocketAddr::new(self.server.ip(), port)).ok_or(Broken::NotFtp)
    }

    /// A transfer towards us over an open socket: the bytes, once 226 says that they are all.
    pub(super) fn fetch(&mut self, socket: TcpStream, line: &str) -> Result<Brought, Broken> {
        self.command(line, &[150, 125])?;
        let mut stream = self.data(socket)?;
        let mut bytes = Vec::new();
        Read::by_ref(&mut stream).take(FETCHED).read_to_end(&mut bytes)?;
        let resumed = stream.conn.handshake_kind() == Some(HandshakeKind::Resumed);
        drop(stream);
        self.answer(&[226, 250])?;
        Ok(Brought { bytes, resumed })
    }

    /// A transfer towards the server.
    pub(super) fn store(&mut self, socket: TcpStream, line: &str, bytes: &[u8]) -> Result<(), Broken> {
        self.command(line, &[150, 125])?;
        let mut stream = self.data(socket)?;
        stream.write_all(bytes)?;
        stream.conn.send_close_notify();
        stream.flush()?;
        // Tickets that nobody reads would turn the end into a reset.
        let _ = stream.read(&mut [0]);
        drop(stream);
        self.answer(&[226, 250]).map(drop)
    }

    fn data(&self, socket: TcpStream) -> Result<StreamOwned<ClientConnection, TcpStream>, Broken> {
        Ok(handshake(socket, &self.config, &self.name)?)
    }

    fn secure(&mut self) -> Result<(), Broken> {
        let Stream::Clear(socket) = std::mem::replace(&mut self.stream, Stream::Gone) else { return Err(Broken::NotFtp) };
        let stream = handshake(socket, &self.config, &self.name)?;
        self.resumed = stream.conn.handshake_kind() == Some(HandshakeKind::Resumed);
        self.version = stream.conn.protocol_version();
        self.stream = Stream::Secure(Box::new(stream));
        Ok(())
    }

    fn send(&mut self, line: &[u8]) -> Result<(), Broken> {
        let mut bytes = line.to_vec();
        bytes.extend_from_slice(b"\r\n");
        Ok(self.stream.write_all(&bytes)?)
    }

    fn answer(&mut self, codes: &[u16]) -> Result<Reply, Broken> {
        let reply = self.reply()?;
        if codes.contains(&reply.code) { Ok(reply) } else { Err(Broken::Refused(reply)) }
    }

    /// The next reply, all its lines (RFC 959 §4.2).
    fn reply(&mut self) -> Result<Reply, Broken> {
        let end = Instant::now() + PATIENCE;
        let mut text = String::new();
        loop {
            let line = self.line(end)?;
            let code = line.get(..3).filter(|code| code.bytes().all(|byte| byte.is_ascii_digit())).and_then(|code| code.parse().ok());
            let (Some(code), separator) = (code, line.as_bytes().get(3)) else {
                if text.is_empty() {
                    return Err(Broken::NotFtp);
                }
                text.push_str(line.trim_end());
                text.push('\n');
                continue;
            };
            text.push_str(line.get(4..).unwrap_or_default());
            if separator != Some(&b'-') {
                return Ok(Reply { code, text });
            }
            text.push('\n');
        }
    }

    fn line(&mut self, end: Instant) -> Result<String, Broken> {
        loop {
            if let Some(place) = self.unread.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.unread.drain(..=place).collect();
                return Ok(String::from_utf8_lossy(&line).trim_end_matches(['\r', '\n']).to_owned());
            }
            if self.unread.len() > LINE || Instant::now() > end {
                return Err(Broken::NotFtp);
            }
            let mut buffer = [0; 4096];
            let count = self.stream.read(&mut buffer)?;
            if count == 0 {
                return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
            }
            self.unread.extend_from_slice(&buffer[..count]);
        }
    }
}

impl Drop for Control {
    /// Takes leave without waiting for the answer.
    fn drop(&mut self) {
        let _ = self.send(b"QUIT");
    }
}

/// Connects within five seconds; every later wait on the socket has a deadline too.
pub(super) fn connect(address: SocketAddr) -> io::Result<TcpStream> {
    let socket = TcpStream::connect_timeout(&address, CONNECT)?;
    socket.set_read_timeout(Some(PATIENCE))?;
    socket.set_write_timeout(Some(PATIENCE))?;
    socket.set_nodelay(true)?;
    Ok(socket)
}

fn handshake(mut socket: TcpStream, config: &Arc<ClientConfig>, name: &ServerName<'static>) -> io::Result<StreamOwned<ClientConnection, TcpStream>> {
    let mut connection = ClientConnection::new(config.clone(), name.clone()).map_err(io::Error::other)?;
    while connection.is_handshaking() {
        connection.complete_io(&mut socket)?;
    }
    Ok(StreamOwned::new(connection, socket))
}

/// The address of `227 … (h1,h2,h3,h4,p1,p2)`.
fn pasv_address(text: &str) -> Option<SocketAddr> {
    let inner = text.split_once('(')?.1.split_once(')')?.0;
    let numbers: Vec<u8> = inner.split(',').map(|number| number.trim().parse().ok()).collect::<Option<_>>()?;
    let [a, b, c, d, high, low] = numbers[..] else { return None };
    Some(SocketAddr::new(IpAddr::V4(Ipv4Addr::new(a, b, c, d)), u16::from_be_bytes([high, low])))
}

/// The node in an answer to SITE WHO: behind session, address, state and age.
fn node_of(text: &str) -> Option<String> {
    let words = |line: &str| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    let line = text.lines().map(words).find(|words| words.len() == 5 && words[0].starts_with("s_"))?;
    line.into_iter().next_back()
}

/// The port of `229 … (|||port|)`.
fn epsv_port(text: &str) -> Option<u16> {
    text.split_once("(|||")?.1.split_once('|')?.0.parse().ok()
}

impl Read for Stream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Clear(socket) => socket.read(buffer),
            Self::Secure(stream) => stream.read(buffer),
            Self::Gone => Ok(0),
        }
    }
}

impl Write for Stream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Clear(socket) => socket.write(bytes),
            Self::Secure(stream) => stream.write(bytes),
            Self::Gone => Err(io::ErrorKind::NotConnected.into()),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Clear(socket) => socket.flush(),
            Self::Secure(stream) => stream.flush(),
            Self::Gone => Ok(()),
        }
    }
}

impl From<io::Error> for Broken {
    fn from(error: io::Error) -> Self {
        Self::Socket(error)
    }
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Socket(error) => match error.kind() {
                io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => write!(f, "no answer within {} s", PATIENCE.as_secs()),
                io::ErrorKind::UnexpectedEof => f.write_str("the connection was closed"),
                _ => write!(f, "{error}"),
            },
            Self::NotFtp => f.write_str("what it answers is not FTP"),
            Self::Refused(reply) => write!(f, "{} {}", reply.code, reply.text.replace('\n', " ")),
        }
    }
}

const CONNECT: Duration = Duration::from_secs(5);
/// For one answer. A gateway waits 10 s for a free data port before it says 425.
const PATIENCE: Duration = Duration::from_secs(15);
/// Most bytes without a line end.
const LINE: usize = 64 * 1024;
/// Most bytes that are read of one transfer.
const FETCHED: u64 = 1024 * 1024;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn announced_addresses_are_read_and_nothing_else_is() {
        assert_eq!(pasv_address("Entering Passive Mode (127,0,0,1,195,80)."), Some("127.0.0.1:50000".parse().unwrap()));
        for wrong in ["", "(127,0,0,1,195)", "(127,0,0,256,1,1)", "(1,2,3,4,5,6,7)", "127,0,0,1,195,80"] {
            assert_eq!(pasv_address(wrong), None, "{wrong}");
        }
        assert_eq!(node_of("Your sessions:\n s_01ABC 192.0.2.1 idle 3s gateway-2\nEnd."), Some("gateway-2".to_owned()));
        assert_eq!(node_of("Your sessions:\n s_01ABC 192.0.2.1 idle 3s\nEnd."), None, "an older node");
        assert_eq!(epsv_port("Entering Extended Passive Mode (|||50007|)"), Some(50_007));
        for wrong in ["(||50007|)", "(|||65536|)", "(||||)", ""] {
            assert_eq!(epsv_port(wrong), None, "{wrong}");
        }
    }
}

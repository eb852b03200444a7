//! A small FTPS client that can do what real clients do not: odd bytes, odd orders, odd ends.
//!
//! Gets: a node. Gives: replies as they came, and data connections that the test holds in its own hands.
//! Never: waits longer than its deadline, retries, or hides a reply.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpStream};
use std::time::Duration;

use rustls::{ClientConnection, HandshakeKind};

use super::{Data, Entrance, Tls, USER, Version};

/// A reply with all its lines, without their ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    pub code: u16,
    pub text: String,
}

/// One control connection.
pub struct Client {
    pub tls: Tls,
    /// Where it is connected to.
    pub server: SocketAddr,
    sock: TcpStream,
    secure: Option<ClientConnection>,
    unread: Vec<u8>,
}

impl Client {
    /// Connects to the explicit port and reads the greeting.
    pub fn connect(node: &impl Entrance, tls: &Tls) -> Self {
        let mut client = Self::open(node.explicit(), tls);
        client.expect(220);
        client
    }

    /// Connects to the implicit port, shakes hands and reads the greeting.
    pub fn implicit(node: &impl Entrance, tls: &Tls) -> Self {
        let mut client = Self::open(node.implicit(), tls);
        client.handshake().expect("a handshake");
        client.expect(220);
        client
    }

    /// A session ready for transfers: secured, logged in, `TYPE I`.
    pub fn session(node: &impl Entrance, tls: &Tls) -> Self {
        Self::session_of(node, tls, USER)
    }

    /// The same for another user of [`super::users_file`].
    pub fn session_of(node: &impl Entrance, tls: &Tls, user: &str) -> Self {
        let mut client = Self::connect(node, tls);
        client.secure();
        client.login(user);
        client
    }

    /// A session over TLS 1.3 with sessions of its own.
    pub fn ready(node: &impl Entrance) -> Self {
        Self::session(node, &Tls::new(Version::Tls13))
    }

    /// A bare connection; nothing is read.
    pub fn open(server: SocketAddr, tls: &Tls) -> Self {
        let sock = connect(server).expect("a connection");
        Self { tls: tls.clone(), server, sock, secure: None, unread: Vec::new() }
    }

    /// Connects to the implicit port from this address of the loopback network, shakes hands and reads the greeting.
    pub fn implicit_from(node: &impl Entrance, tls: &Tls, from: Ipv4Addr) -> Self {
        let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).expect("a socket");
        socket.bind(&SocketAddr::from((from, 0)).into()).expect("an address of the loopback network");
        socket.connect_timeout(&node.implicit().into(), PATIENCE).expect("a connection");
        let sock = patient(socket.into()).expect("deadlines");
        let mut client = Self { tls: tls.clone(), server: node.implicit(), sock, secure: None, unread: Vec::new() };
        client.handshake().expect("a handshake");
        client.expect(220);
        client
    }

    /// A bare connection from this address of the loopback network; nothing is read.
    pub fn open_from(server: SocketAddr, tls: &Tls, from: Ipv4Addr) -> Self {
        let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).expect("a socket");
        socket.bind(&SocketAddr::from((from, 0)).into()).expect("an address of the loopback network");
        socket.connect_timeout(&server.into(), PATIENCE).expect("a connection");
        Self { tls: tls.clone(), server, sock: patient(socket.into()).expect("deadlines"), secure: None, unread: Vec::new() }
    }

    /// `AUTH TLS` and the handshake.
    pub fn secure(&mut self) {
        self.command("AUTH TLS").is(234);
        self.handshake().expect("a handshake");
    }

    /// `USER`, `PASS`, `PBSZ`, `PROT`, `TYPE I`.
    pub fn login(&mut self, user: &str) {
        self.command(&format!("USER {user}")).is(331);
        self.command(&format!("PASS {user}-password")).is(230);
        self.command("PBSZ 0").is(200);
        self.command("PROT P").is(200);
        self.command("TYPE I").is(200);
    }

    /// The TLS handshake on the connection as it is.
    ///
    /// # Errors
    /// What the socket or TLS said.
    pub fn handshake(&mut self) -> io::Result<()> {
        let mut conn = ClientConnection::new(self.tls.config.clone(), Tls::server_name()).expect("a client");
        while conn.is_handshaking() {
            conn.complete_io(&mut self.sock)?;
        }
        self.secure = Some(conn);
        Ok(())
    }

    /// The ClientHello that a handshake would begin with.
    pub fn hello(tls: &Tls) -> Vec<u8> {
        let mut conn = ClientConnection::new(tls.config.clone(), Tls::server_name()).expect("a client");
        let mut bytes = Vec::new();
        conn.write_tls(&mut bytes).expect("a hello");
        bytes
    }

    /// Whether its handshake resumed a session.
    pub fn resumed(&self) -> bool {
        self.secure.as_ref().and_then(|conn| conn.handshake_kind()) == Some(HandshakeKind::Resumed)
    }

    /// The certificate that the server showed, when this session or the one it resumed began.
    pub fn server_certificate(&self) -> Vec<u8> {
        let chain = self.secure.as_ref().and_then(|conn| conn.peer_certificates()).expect("a handshake");
        chain[0].to_vec()
    }

    /// The application protocol agreed on.
    pub fn alpn(&self) -> Option<Vec<u8>> {
        self.secure.as_ref().and_then(|conn| conn.alpn_protocol().map(<[u8]>::to_vec))
    }

    /// Sends bytes as they are, in one write (and one TLS record when secured).
    ///
    /// # Errors
    /// What the socket said.
    pub fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        match &mut self.secure {
            None => self.sock.write_all(bytes),
            Some(conn) => {
                conn.set_buffer_limit(None);
                conn.writer().write_all(bytes)?;
                while conn.wants_write() {
                    conn.write_tls(&mut self.sock)?;
                }
                Ok(())
            }
        }
    }

    /// Sends a line; does not wait.
    pub fn line(&mut self, line: &str) {
        self.send(format!("{line}\r\n").as_bytes()).expect("the control connection");
    }

    /// Sends a line and reads one reply.
    pub fn command(&mut self, line: &str) -> Reply {
        self.line(line);
        self.reply()
    }

    /// Reads one reply.
    pub fn reply(&mut self) -> Reply {
        self.try_reply().unwrap_or_else(|error| panic!("no reply: {error}"))
    }

    /// Reads one reply and holds it to its code.
    pub fn expect(&mut self, code: u16) -> Reply {
        let reply = self.reply();
        reply.is(code);
        reply
    }

    /// Reads one reply and holds it to one of some codes.
    pub fn expect_one_of(&mut self, codes: &[u16]) -> Reply {
        let reply = self.reply();
        reply.one_of(codes);
        reply
    }

    /// Reads one reply; `UnexpectedEof` when the server closed, with or without close_notify.
    ///
    /// # Errors
    /// What the socket said; `TimedOut` after 20 s.
    pub fn try_reply(&mut self) -> io::Result<Reply> {
        let first = self.reply_line()?;
        let code: u16 = first.get(..3).and_then(|code| code.parse().ok()).unwrap_or_else(|| panic!("not a reply: {first:?}"));
        let mut text = first.clone();
        if first.as_bytes().get(3) == Some(&b'-') {
            loop {
                let line = self.reply_line()?;
                text.push('\n');
                text.push_str(&line);
                if line.starts_with(&format!("{code} ")) {
                    break;
                }
            }
        }
        Ok(Reply { code, text })
    }

    /// All bytes until the server closes or resets, lossy. Fails when it does not within 20 s.
    pub fn rest(&mut self) -> String {
        loop {
            match self.fill() {
                Ok(()) => {}
                Err(error) if timed_out(&error) => panic!("the server neither closed nor answered"),
                Err(_) => return String::from_utf8_lossy(&std::mem::take(&mut self.unread)).into_owned(),
            }
        }
    }

    /// Whether nothing comes for a while: no reply, no close.
    pub fn silent(&mut self, for_: Duration) -> bool {
        self.sock.set_read_timeout(Some(for_)).expect("a deadline");
        let quiet = self.unread.is_empty() && self.fill().is_err_and(|error| timed_out(&error));
        self.sock.set_read_timeout(Some(PATIENCE)).expect("a deadline");
        quiet
    }

    /// `EPSV`: where the data connection goes.
    pub fn epsv(&mut self) -> SocketAddr {
        let reply = self.command("EPSV");
        reply.is(229);
        let port = reply.text.split("|||").nth(1).and_then(|rest| rest.split('|').next()).and_then(|port| port.parse().ok());
        SocketAddr::new(self.server.ip(), port.unwrap_or_else(|| panic!("EPSV: {}", reply.text)))
    }

    /// `PASV`: the address as announced.
    pub fn pasv(&mut self) -> SocketAddr {
        let reply = self.command("PASV");
        reply.is(227);
        let inside = reply.text.split_once('(').and_then(|(_, rest)| rest.split_once(')')).map_or(reply.text.as_str(), |(inside, _)| inside);
        let numbers: Vec<u8> = inside.split(',').map(|part| part.trim().parse().unwrap_or_else(|_| panic!("PASV: {}", reply.text))).collect();
        let [a, b, c, d, high, low] = numbers[..] else { panic!("PASV: {}", reply.text) };
        SocketAddr::from((Ipv4Addr::new(a, b, c, d), u16::from_be_bytes([high, low])))
    }

    /// Starts a transfer: EPSV, the TCP connection, the command, 150. The handshake is the caller's.
    pub fn begin(&mut self, command: &str) -> Data {
        let data = self.dial();
        let reply = self.command(command);
        assert!(reply.code == 150 || reply.code == 125, "{command}: {}", reply.text);
        data
    }

    /// Waits for replies as long as this from now on.
    pub fn patience(&mut self, time: Duration) {
        self.sock.set_read_timeout(Some(time)).expect("a deadline");
    }

    /// EPSV and the TCP connection.
    pub fn dial(&mut self) -> Data {
        let to = self.epsv();
        Data::connect(to, &self.tls)
    }

    /// Uploads with `STOR`, `APPE` and the like; gives the final reply.
    pub fn put(&mut self, command: &str, bytes: &[u8]) -> Reply {
        let mut data = self.begin(command);
        data.handshake().expect("a data handshake");
        data.write(bytes).expect("a data connection that takes the bytes");
        data.finish();
        self.reply()
    }

    /// Downloads or lists; gives the bytes after a 226.
    pub fn get(&mut self, command: &str) -> Vec<u8> {
        let mut data = self.begin(command);
        data.handshake().expect("a data handshake");
        let bytes = data.read_to_end().expect("a data connection that ends with close_notify");
        data.finish();
        self.expect(226);
        bytes
    }

    /// A listing as text.
    pub fn list(&mut self, command: &str) -> String {
        String::from_utf8_lossy(&self.get(command)).into_owned()
    }

    /// The socket: for resets and half-closes.
    pub fn socket(&self) -> &TcpStream {
        &self.sock
    }

    /// Ends the connection with a reset.
    pub fn reset(self) {
        socket2::SockRef::from(&self.sock).set_linger(Some(Duration::ZERO)).expect("SO_LINGER");
    }

    /// No more bytes from the client; without close_notify.
    pub fn half_close(&self) {
        let _ = self.sock.shutdown(Shutdown::Write);
    }

    /// Its way of speaking TLS, sessions included: for a connection of the same client, or of a thief.
    pub fn sibling(&self) -> Tls {
        Tls::clone(&self.tls)
    }

    /// One line of a reply, without its end.
    ///
    /// # Errors
    /// See [`Self::try_reply`].
    pub fn reply_line(&mut self) -> io::Result<String> {
        loop {
            if let Some(end) = self.unread.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.unread.drain(..=end).collect();
                let text = String::from_utf8_lossy(&line).into_owned();
                return Ok(text.strip_suffix("\r\n").unwrap_or_else(|| panic!("a reply line ends with CR LF: {text:?}")).to_owned());
            }
            self.fill()?;
        }
    }

    /// Reads more into `unread`; an error at the end of the connection.
    fn fill(&mut self) -> io::Result<()> {
        let mut buffer = [0; 8192];
        let count = match &mut self.secure {
            None => self.sock.read(&mut buffer)?,
            Some(conn) => rustls::Stream::new(conn, &mut self.sock).read(&mut buffer)?,
        };
        if count == 0 {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        self.unread.extend_from_slice(&buffer[..count]);
        Ok(())
    }
}

impl Reply {
    /// Holds it to a code.
    #[track_caller]
    pub fn is(&self, code: u16) {
        assert_eq!(self.code, code, "{}", self.text);
    }

    /// Holds it to one of some codes.
    #[track_caller]
    pub fn one_of(&self, codes: &[u16]) {
        assert!(codes.contains(&self.code), "not one of {codes:?}: {}", self.text);
    }
}

/// Connects with deadlines for everything.
pub fn connect(to: SocketAddr) -> io::Result<TcpStream> {
    patient(TcpStream::connect_timeout(&to, PATIENCE)?)
}

fn patient(sock: TcpStream) -> io::Result<TcpStream> {
    sock.set_nodelay(true)?;
    sock.set_read_timeout(Some(PATIENCE))?;
    sock.set_write_timeout(Some(PATIENCE))?;
    Ok(sock)
}

/// Whether a read ended by its deadline.
pub fn timed_out(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut)
}

/// How long a client waits for anything.
const PATIENCE: Duration = Duration::from_secs(20);

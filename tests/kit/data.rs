//! A data connection in the hands of a test: every byte and every end is the test's own.
//!
//! Gets: the address of PASV or EPSV. Gives: bytes, and whether the TLS session was resumed.
//! Never: sends close_notify, FIN or RST unless it is told to.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::Duration;

use rustls::{ClientConnection, HandshakeKind};

use super::Tls;
use super::client::connect;

/// One data connection.
pub struct Data {
    sock: TcpStream,
    conn: ClientConnection,
}

impl Data {
    /// The TCP connection; nothing is sent.
    pub fn connect(to: SocketAddr, tls: &Tls) -> Self {
        Self::over(connect(to).unwrap_or_else(|error| panic!("data connection to {to}: {error}")), tls)
    }

    /// The same over a connection that the server made.
    pub fn over(sock: TcpStream, tls: &Tls) -> Self {
        Self { sock, conn: ClientConnection::new(tls.config.clone(), Tls::server_name()).expect("a client") }
    }

    /// Where it is connected to.
    pub fn peer(&self) -> SocketAddr {
        self.sock.peer_addr().expect("a connected socket")
    }

    /// No more bytes from here; what the server sends is still read.
    pub fn half_close(&self) {
        let _ = self.sock.shutdown(Shutdown::Write);
    }

    /// The handshake.
    ///
    /// # Errors
    /// What the socket or TLS said.
    pub fn handshake(&mut self) -> io::Result<()> {
        while self.conn.is_handshaking() {
            self.conn.complete_io(&mut self.sock)?;
        }
        Ok(())
    }

    /// The handshake; gives all bytes that went out.
    ///
    /// # Errors
    /// What the socket or TLS said.
    pub fn taped_handshake(&mut self) -> io::Result<Vec<u8>> {
        let mut tape = Vec::new();
        while self.conn.is_handshaking() || self.conn.wants_write() {
            let begin = tape.len();
            while self.conn.wants_write() {
                self.conn.write_tls(&mut tape)?;
            }
            self.sock.write_all(&tape[begin..])?;
            if self.conn.is_handshaking() {
                if self.conn.read_tls(&mut self.sock)? == 0 {
                    return Err(ErrorKind::UnexpectedEof.into());
                }
                self.conn.process_new_packets().map_err(io::Error::other)?;
            }
        }
        Ok(tape)
    }

    /// Whether its handshake resumed a session.
    pub fn resumed(&self) -> bool {
        self.conn.handshake_kind() == Some(HandshakeKind::Resumed)
    }

    /// Sends bytes.
    ///
    /// # Errors
    /// What the socket said.
    pub fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        for piece in bytes.chunks(256 << 10) {
            let sealed = self.seal(piece);
            self.sock.write_all(&sealed)?;
        }
        Ok(())
    }

    /// The TLS records of some bytes, unsent.
    pub fn seal(&mut self, bytes: &[u8]) -> Vec<u8> {
        self.conn.set_buffer_limit(None);
        self.conn.writer().write_all(bytes).expect("memory");
        let mut sealed = Vec::new();
        while self.conn.wants_write() {
            self.conn.write_tls(&mut sealed).expect("memory");
        }
        sealed
    }

    /// Sends bytes below TLS.
    ///
    /// # Errors
    /// What the socket said.
    pub fn raw(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.sock.write_all(bytes)
    }

    /// Reads to close_notify; anything else is an error.
    ///
    /// # Errors
    /// What the socket or TLS said, `UnexpectedEof` for a FIN without close_notify.
    pub fn read_to_end(&mut self) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        rustls::Stream::new(&mut self.conn, &mut self.sock).read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    /// Waits for bytes as long as this from now on.
    pub fn patience(&mut self, time: Duration) {
        self.sock.set_read_timeout(Some(time)).expect("a deadline");
    }

    /// Reads once.
    ///
    /// # Errors
    /// What the socket or TLS said.
    pub fn read_some(&mut self) -> io::Result<Vec<u8>> {
        let mut buffer = vec![0; 16 << 10];
        let count = rustls::Stream::new(&mut self.conn, &mut self.sock).read(&mut buffer)?;
        buffer.truncate(count);
        Ok(buffer)
    }

    /// What the server sends below TLS until it closes: for connections that must get nothing.
    pub fn raw_rest(&mut self, patience: Duration) -> Vec<u8> {
        self.sock.set_read_timeout(Some(patience)).expect("a deadline");
        let mut bytes = Vec::new();
        // Closed, reset or silent: what came is what counts.
        let _ = self.sock.read_to_end(&mut bytes);
        bytes
    }

    /// Ends well: close_notify, FIN, then whatever the server still sends is read.
    pub fn finish(mut self) {
        self.conn.send_close_notify();
        while self.conn.wants_write() {
            if self.conn.write_tls(&mut self.sock).is_err() {
                return;
            }
        }
        let _ = self.sock.shutdown(Shutdown::Write);
        self.drain();
    }

    /// A FIN without close_notify.
    pub fn fin(self) {
        let _ = self.sock.shutdown(Shutdown::Write);
        self.drain();
    }

    /// A reset.
    pub fn reset(self) {
        socket2::SockRef::from(&self.sock).set_linger(Some(Duration::ZERO)).expect("SO_LINGER");
    }

    /// Lets TLS see what came last (tickets behind an upload), so that the next connection can use it.
    fn drain(mut self) {
        let _ = self.sock.set_read_timeout(Some(Duration::from_secs(5)));
        loop {
            match self.conn.read_tls(&mut self.sock) {
                Ok(0) => return,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => return,
                Ok(_) if self.conn.process_new_packets().is_err() => return,
                Ok(_) => {}
            }
        }
    }
}

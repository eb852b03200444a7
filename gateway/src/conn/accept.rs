//! Accepting, and learning whom from: the first two stages of a connection.
//!
//! Gets: a listener. Gives: [`Accepted`] to a callback, later [`Known`] with the true address.
//! Never: waits for anything but accept(2); an error of accept is a pause, not an end.

use std::net::SocketAddr;
use std::time::Instant;

use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;

use crate::net::listener;
use crate::observe::event::Listener;
use crate::observe::{Event, Observer, Subject};

/// A connection as the kernel gave it.
#[derive(Debug)]
pub struct Accepted {
    stream: TcpStream,
    from: SocketAddr,
    to: SocketAddr,
    listener: Listener,
    at: Instant,
}

/// A connection whose client's true address is known.
#[derive(Debug)]
pub struct Known {
    /// The connection.
    pub stream: TcpStream,
    /// The client's true address.
    pub peer: SocketAddr,
    /// The address the client connected to, as far as we know.
    pub local: SocketAddr,
    /// The listener it came to.
    pub listener: Listener,
    /// When it was accepted; all deadlines before the login count from here.
    pub at: Instant,
}

/// Accepts on one listener until `stop`, and hands each connection to `serve`.
pub async fn accept(socket: listener::Listener, listener: Listener, observer: Observer, stop: CancellationToken, serve: impl Fn(Accepted)) {
    loop {
        let failed = |error: &std::io::Error| observer.event(Subject::default(), &Event::AcceptFailed { listener, error });
        let (stream, from) = tokio::select! {
            () = stop.cancelled() => return,
            accepted = socket.accept(failed) => accepted,
        };
        let at = Instant::now();
        // A client that is gone already has no local address any more; there is nobody to serve.
        let Ok(to) = stream.local_addr() else { continue };
        serve(Accepted { stream, from, to: ftps_proto::machine::io::fold(to), listener, at });
    }
}

impl Accepted {
    /// Learns the true address. The place of the PROXY header: until listeners know trusted balancers, the TCP addresses are the truth.
    pub fn known(self) -> Known {
        Known { stream: self.stream, peer: self.from, local: self.to, listener: self.listener, at: self.at }
    }
}

//! Accepting, and learning whom from: the first two stages of a connection.
//!
//! Gets: a listener. Gives: [`Accepted`] to a callback, later [`Known`] with the true address.
//! Never: reads in the accept loop, or waits there for anything but accept(2); an error of accept is a pause, not an end.

use std::net::SocketAddr;
use std::time::Instant;

use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;

use crate::net::listener;
use crate::net::origin::{Balancers, NoOrigin};
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
    /// Our own address of the connection.
    pub local: SocketAddr,
    /// The address the client connected to, when a balancer has told it.
    pub destination: Option<SocketAddr>,
    /// A balancer's own connection.
    pub own: bool,
    /// The listener it came to.
    pub listener: Listener,
    /// When it was accepted; all deadlines before the login count from here.
    pub at: Instant,
}

/// A connection that ended, or has to, before its client was known.
#[derive(Debug)]
pub struct Unknown {
    listener: Listener,
    from: SocketAddr,
    why: NoOrigin,
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
    /// Learns the true address: that of the TCP connection, or what one of the `balancers` writes before the client's first byte.
    ///
    /// # Errors
    /// A balancer that looked whether we listen, or a header that is missing or broken.
    pub async fn known(mut self, balancers: &Balancers) -> Result<Known, Unknown> {
        match balancers.origin(&mut self.stream, self.from).await {
            Ok(origin) => {
                let (peer, destination, own) = (origin.peer, origin.destination, origin.own);
                Ok(Known { stream: self.stream, peer, local: self.to, destination, own, listener: self.listener, at: self.at })
            }
            Err(why) => Err(Unknown { listener: self.listener, from: self.from, why }),
        }
    }
}

impl Unknown {
    /// One event. No byte: whoever is there does not speak FTP with us.
    pub fn say(self, observer: &Observer) {
        let listener = self.listener;
        let event = match self.why {
            NoOrigin::Probe => Event::Probed { listener },
            NoOrigin::Trouble(trouble) => Event::ProxyRefused { listener, trouble },
        };
        observer.event(Subject { peer: Some(self.from), ..Subject::default() }, &event);
    }
}

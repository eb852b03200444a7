//! One connection, top to bottom: START READING HERE.
//!
//! `Accepted → Known → Admitted → Greeting → Session → Closed`: each stage consumes the value of the one before, so none can be skipped or swapped.
//! Gets: an accepted connection. Gives: one `Closed` event. Never: holds anything after it.

use std::sync::Arc;

use ftps_proto::machine::io::EndReason;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::conn::{Accepted, Admission, Admitted};
use crate::observe::event::CloseReason;
use crate::observe::id::SessionId;
use crate::observe::{Event, Observer, Subject};
use crate::session::{Carried, Greeting, House, Identity};

/// Serves a connection in a task of its own, until it ends or is `cut` with the node.
pub fn serve(accepted: Accepted, door: &Arc<Admission>, house: &Arc<House>, tasks: &TaskTracker, cut: &CancellationToken) {
    let (door, house, cut) = (door.clone(), house.clone(), cut.clone());
    tasks.spawn(async move {
        let known = match accepted.known(door.balancers()).await {
            Ok(known) => known,
            Err(unknown) => return unknown.say(&house.observer),
        };
        match known.admit(&door).await {
            Ok(admitted) => drop(cut.run_until_cancelled(session(admitted, house)).await),
            Err(refused) => refused.say(&house.observer),
        }
    });
}

/// An admitted connection, until it is closed.
async fn session(admitted: Admitted, house: Arc<House>) {
    let Admitted { known, permit, banned } = admitted;
    let identity =
        Identity { id: SessionId::now(), peer: known.peer, local: known.local, destination: known.destination, listener: known.listener, since: known.at };
    let mut closing = Closing::new(&identity, house.observer.clone());
    let (membership, inbox) = house.live.join(identity.id, identity.peer);
    let keys = house.tls.session(identity.id);
    let settings = house.settings.load_full();
    house.observer.event(closing.subject, &Event::Accepted { listener: identity.listener });
    let carried = Carried { identity, permit, membership, inbox, keys, certificate: None, server_name: None, settings, house };
    // A ban that came between the door and here found no session to end.
    if banned.is_none() && carried.house.bans.of_address(known.peer.ip()).is_some() {
        carried.membership.end(EndReason::Banned);
    }
    // Each stage has its state in a box of its own and takes it along when it ends: 10,000 idle sessions hold none of the handshake's.
    let secured = Box::pin(Greeting::new(known.stream, carried, banned).secure()).await;
    closing.reason = match secured {
        Ok(session) => Box::pin(session.run()).await,
        // A balancer's own connection that came to nothing was a health check, however it ended.
        Err(_) if known.own => CloseReason::Probe,
        Err(reason) => reason,
    };
}

/// Says `Closed` exactly once, also when the task panics or is cut.
struct Closing {
    subject: Subject<'static>,
    since: std::time::Instant,
    reason: CloseReason,
    observer: Observer,
}

impl Closing {
    fn new(identity: &Identity, observer: Observer) -> Self {
        let subject = Subject { session: Some(identity.id), peer: Some(identity.peer), user: None };
        // Whoever drops this without having set a reason cut the task.
        Self { subject, since: identity.since, reason: CloseReason::Cut, observer }
    }
}

impl Drop for Closing {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.reason = CloseReason::Panicked;
            self.observer.event(self.subject, &Event::Panicked);
        }
        self.observer.event(self.subject, &Event::Closed { reason: self.reason, took: self.since.elapsed() });
    }
}

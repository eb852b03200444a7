//! The end of a node: signals, and a drain that interrupts no transfer.
//!
//! Gets: SIGTERM, SIGINT, orders of the admin API. Gives: time to finish, within `drain.timeout`. A second signal cuts.
//! Never: waits longer than `drain.delay` and `drain.timeout` together once a signal was there; ends the process because of an order.

use std::future::pending;
use std::time::Duration;

use arc_swap::ArcSwap;
use ftps_proto::machine::io::EndReason;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until};

use crate::admin::Draining;
use crate::config::Drain;
use crate::conn::Admission;
use crate::observe::metrics::Metrics;
use crate::observe::ready::Readiness;
use crate::observe::{Event, Subject};
use crate::session::House;

/// The signals that end a node.
pub(super) struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

/// Which one came.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Asked {
    Terminate,
    Interrupt,
}

impl Signals {
    /// Takes them from now on.
    pub(super) fn new() -> std::io::Result<Self> {
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    async fn next(&mut self) -> Asked {
        tokio::select! {
            _ = self.terminate.recv() => Asked::Terminate,
            _ = self.interrupt.recv() => Asked::Interrupt,
        }
    }
}

/// What a drain works on.
pub(super) struct Drained<'a> {
    pub(super) house: &'a House,
    pub(super) door: &'a Admission,
    pub(super) readiness: &'a Readiness,
    pub(super) metrics: &'a Metrics,
    /// What the admin API wants, and is told.
    pub(super) orders: &'a watch::Sender<Draining>,
    /// `drain:`, as it is now.
    pub(super) settings: &'a ArcSwap<Drain>,
}

/// Waits for a signal, then drains, if it is `patient`. True when sessions were cut.
pub(super) async fn run(mut signals: Signals, patient: bool, on: &Drained<'_>) -> bool {
    let asked = tokio::select! {
        asked = signals.next() => asked,
        () = on.obey() => Asked::Terminate,
    };
    on.begin();
    on.orders.send_modify(|state| state.ends = true);
    let Drained { house, door, .. } = on;
    if patient {
        let drain = **on.settings.load();
        tokio::select! {
            () = finish(asked, drain, house, door) => {}
            _ = signals.next() => tracing::warn!(sessions = house.live.count(), "a second signal: sessions are cut"),
        }
    }
    door.close();
    // 421 to whoever is still there; the process ends right after.
    house.live.end(|_| true, EndReason::Shutdown, false);
    house.live.count() > 0 || house.data.peers.as_ref().is_some_and(|peers| peers.carried().0 > 0)
}

impl Drained<'_> {
    /// Drains and goes on serving, as the admin API wants. Never ends.
    async fn obey(&self) {
        let mut orders = self.orders.subscribe();
        loop {
            // The sender is ours: it does not go away.
            let _ = orders.wait_for(|state| state.wanted).await;
            self.begin();
            let drain = **self.settings.load();
            let drained = async {
                finish(Asked::Terminate, drain, self.house, self.door).await;
                self.house.live.end(|_| true, EndReason::Shutdown, false);
                pending::<()>().await;
            };
            tokio::select! {
                _ = orders.wait_for(|state| !state.wanted) => {}
                () = drained => {}
            }
            self.door.open();
            self.set(false);
            tracing::info!("no longer draining");
        }
    }

    fn begin(&self) {
        if !self.orders.borrow().is {
            self.house.observer.event(Subject::default(), &Event::Draining);
        }
        self.set(true);
    }

    fn set(&self, draining: bool) {
        self.readiness.set_draining(draining);
        self.metrics.set_draining(draining);
        self.house.cluster.set_draining(draining);
        self.orders.send_modify(|state| state.is = draining);
    }
}

/// Not ready at once; new sessions served for `drain.delay` (SIGINT: not at all), then none; idle ones end; in the last quarter of `drain.timeout` no
/// command is served any more; transfers run until it has passed.
async fn finish(asked: Asked, drain: Drain, house: &House, door: &Admission) {
    let timeout = Instant::now() + drain.timeout;
    if asked == Asked::Terminate {
        tokio::select! {
            () = sleep(drain.delay) => {}
            // Nobody is there and nobody needs to be waited for, but the balancer still has to learn it: the delay stays.
            () = sleep_until(timeout) => {}
        }
    }
    door.close();
    let end_idle = async {
        loop {
            house.live.end(|_| true, EndReason::Shutdown, true);
            sleep(AGAIN).await;
        }
    };
    let last_orders = async {
        sleep_until(timeout - drain.timeout / 4).await;
        tracing::info!(sessions = house.live.count(), "last orders: no command is served any more");
        // Once: the door is closed, nobody comes in behind it.
        house.live.last_orders(EndReason::Shutdown);
        pending::<()>().await;
    };
    tokio::select! {
        () = nobody_left(house) => {}
        () = end_idle => {}
        () = progress(house, timeout) => {}
        () = last_orders => {}
        () = sleep_until(timeout) => {
            tracing::warn!(sessions = house.live.count(), "drain.timeout has passed: sessions are cut");
        }
    }
}

/// Says now and then what the drain waits for. Never ends.
async fn progress(house: &House, timeout: Instant) {
    loop {
        let left = house.live.remaining();
        tracing::info!(
            sessions = house.live.count(),
            transfers = left.transfers,
            bytes_left = left.bytes,
            open_ended = left.open_ended,
            carried = house.data.peers.as_ref().map_or(0, |peers| peers.carried().0),
            estimate_seconds = left.estimate.map(|time| time.as_secs()),
            timeout_seconds = timeout.saturating_duration_since(Instant::now()).as_secs(),
            "draining"
        );
        sleep(TOLD).await;
    }
}

/// Neither a session, nor a data connection that this node carries for another.
async fn nobody_left(house: &House) {
    house.live.empty().await;
    if let Some(peers) = &house.data.peers {
        peers.empty().await;
    }
}

/// Between two lines about the progress of a drain.
const TOLD: Duration = Duration::from_secs(5);

/// Sessions are told again: some came in meanwhile.
const AGAIN: Duration = Duration::from_secs(1);

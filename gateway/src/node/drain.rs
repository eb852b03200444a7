//! The end of a node: signals, and a drain that interrupts no transfer.
//!
//! Gets: SIGTERM, SIGINT. Gives: time to finish, within `drain.timeout`. A second signal cuts.
//! Never: waits longer than `drain.delay` and `drain.timeout` together.

use std::future::pending;
use std::time::Duration;

use arc_swap::ArcSwap;
use ftps_proto::machine::io::EndReason;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::{Instant, sleep, sleep_until};

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

/// Waits for a signal, then drains; `None` for `drain`: ends at once. True when sessions were cut.
pub(super) async fn run(mut signals: Signals, drain: Option<&ArcSwap<Drain>>, house: &House, door: &Admission, ready: &Readiness, metrics: &Metrics) -> bool {
    let asked = signals.next().await;
    ready.set_draining(true);
    metrics.set_draining(true);
    house.cluster.set_draining(true);
    house.observer.event(Subject::default(), &Event::Draining);
    if let Some(drain) = drain.map(|drain| **drain.load()) {
        tokio::select! {
            () = finish(asked, drain, house, door) => {}
            _ = signals.next() => tracing::warn!(sessions = house.live.count(), "a second signal: sessions are cut"),
        }
    }
    door.close();
    // 421 to whoever is still there; the process ends right after.
    house.live.end(|_| true, EndReason::Shutdown, false);
    house.live.count() > 0
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
        () = house.live.empty() => {}
        () = end_idle => {}
        () = last_orders => {}
        () = sleep_until(timeout) => {
            tracing::warn!(sessions = house.live.count(), "drain.timeout has passed: sessions are cut");
        }
    }
}

/// Sessions are told again: some came in meanwhile.
const AGAIN: Duration = Duration::from_secs(1);

//! Looks how much room there is for files, now and then.
//!
//! Gets: the storage, the metrics. Gives: gauges that are half a minute old at most, as long as the file server answers.
//! Never: lets a scrape or a session wait for a file server.

use std::sync::{Arc, Weak};
use std::time::Duration;

use crate::observe::Metrics;
use crate::session::House;

/// Now, and from now on until the node is gone. On a thread of its own: statvfs on a hung mount does not come back.
pub(super) fn watch(metrics: &Metrics, house: &Arc<House>) {
    look(metrics, house);
    let (metrics, house) = (metrics.clone(), Arc::downgrade(house));
    let looks = move || {
        while let Some(house) = after(PERIOD, &house) {
            look(&metrics, &house);
        }
    };
    // Without it the gauges stay what they were at the start.
    let _ = std::thread::Builder::new().name("space".into()).spawn(looks);
}

fn look(metrics: &Metrics, house: &House) {
    if let Some(space) = house.storage.space() {
        metrics.set_space(space);
    }
}

fn after(pause: Duration, house: &Weak<House>) -> Option<Arc<House>> {
    std::thread::sleep(pause);
    house.upgrade()
}

const PERIOD: Duration = Duration::from_secs(30);

//! The stream of events for those who watch: the last thousand, each as the JSON object that the log would write.
//!
//! Gets: events, synchronously. Gives: those since a number, to whoever asks; a word when there are new ones.
//! Never: makes an object while nobody watches, keeps more than a thousand, or waits for a slow watcher: what he missed is counted for him.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use tokio::sync::Notify;

use super::event::{Event, Subject};
use super::line::{Head, Line};
use super::sidecar::SidecarEvent;
use super::{LogFormat, Sink, log_sink};

/// The stream. Cheap to clone; a [`Sink`].
#[derive(Clone, Debug)]
pub struct Feed(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    began: Instant,
    /// Somebody watched at this time, in ms since `began`, plus one; 0: nobody ever did.
    watched: AtomicU64,
    kept: Mutex<Kept>,
    news: Notify,
}

#[derive(Debug, Default)]
struct Kept {
    /// The number of the next one.
    next: u64,
    events: VecDeque<Shown>,
}

/// One event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shown {
    /// Its number on this node.
    pub number: u64,
    /// Its name.
    pub name: &'static str,
    /// A JSON object.
    pub text: Arc<str>,
}

impl Default for Feed {
    fn default() -> Self {
        Self(Arc::new(Shared { began: Instant::now(), watched: AtomicU64::new(0), kept: Mutex::default(), news: Notify::new() }))
    }
}

impl Feed {
    /// The number that the next event will have; from now on events are kept for a while.
    pub fn watch(&self) -> u64 {
        self.0.watched.store(self.age() + 1, Ordering::Relaxed);
        self.lock().next
    }

    /// Events from `number` on, at most `most`, and the number to ask for next. What is gone already is jumped over.
    pub fn since(&self, number: u64, most: usize) -> (Vec<Shown>, u64) {
        self.watch();
        let kept = self.lock();
        let events: Vec<Shown> = kept.events.iter().filter(|event| event.number >= number).take(most).cloned().collect();
        let next = events.last().map_or(kept.next, |last| last.number + 1);
        (events, next)
    }

    /// Waits for an event that comes after this call.
    pub async fn news(&self) {
        self.0.news.notified().await;
    }

    fn age(&self) -> u64 {
        u64::try_from(self.0.began.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    fn is_watched(&self) -> bool {
        let watched = self.0.watched.load(Ordering::Relaxed);
        watched > 0 && self.age() < watched + WATCHED
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.0.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Sink for Feed {
    fn event(&self, subject: Subject<'_>, event: &Event<'_>) {
        if is_noise(event) || !self.is_watched() {
            return;
        }
        let text = object(subject, event);
        let mut kept = self.lock();
        let number = kept.next;
        kept.next += 1;
        if kept.events.len() == KEPT {
            kept.events.pop_front();
        }
        kept.events.push_back(Shown { number, name: event.name(), text: text.into() });
        drop(kept);
        self.0.news.notify_waiters();
    }
}

/// What comes too often to be watched, and what watching itself makes.
fn is_noise(event: &Event<'_>) -> bool {
    matches!(event, Event::Command { .. } | Event::StorageDone { .. } | Event::Sidecar(SidecarEvent::Answered { .. }))
}

/// Members of the object come from us, but for values that [`Line`] escapes.
fn object(subject: Subject<'_>, event: &Event<'_>) -> String {
    let (level, room, message) = log_sink::words(event);
    let session = subject.session.as_ref().map(|session| session as &dyn std::fmt::Display);
    let mut line = Line::new(LogFormat::Json, &Head { time: SystemTime::now(), level, room, session, message });
    line.text("event", event.name());
    if let Some(peer) = subject.peer {
        line.shown("address", peer.ip());
    }
    if let Some(user) = subject.user {
        line.text("user", user);
    }
    log_sink::fields(&mut line, event);
    let mut text = line.end();
    text.truncate(text.trim_end().len());
    text
}

const KEPT: usize = 1000;
/// Milliseconds after the last look during which events are still kept.
const WATCHED: u64 = Duration::from_secs(15).as_millis() as u64;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::super::event::Listener;
    use super::*;

    #[test]
    fn events_are_kept_for_a_watcher_and_numbered() {
        let feed = Feed::default();
        let say = || feed.event(Subject { user: Some("a\"b"), ..Subject::default() }, &Event::Accepted { listener: Listener::Explicit });
        say();
        let from = feed.watch();
        assert_eq!(feed.since(from, 10).0, []);
        (0..3).for_each(|_| say());
        let (first, next) = feed.since(from, 2);
        assert_eq!((first.len(), next), (2, from + 2));
        let object: serde_json::Value = serde_json::from_str(&first[0].text).unwrap();
        assert_eq!((object["event"].as_str(), object["user"].as_str()), (Some("accepted"), Some("a\"b")));
        assert_eq!(feed.since(next, 10).0.len(), 1);
        (0..KEPT + 5).for_each(|_| say());
        assert_eq!(feed.since(0, usize::MAX).0.len(), KEPT, "the oldest go");
    }
}

//! How long a message takes through the store: this node hears what it publishes, as all others do.
//!
//! Gets: what was published and what was heard. Gives: the time between, of the last message.
//! Never: sends anything itself, or waits for an echo that was lost: the next message takes its place.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// The last message of this node, and how long it took.
#[derive(Debug, Default)]
pub(super) struct Echo(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    said: Option<(Box<[u8]>, Instant)>,
    lag: Duration,
}

impl Echo {
    /// This is published now.
    pub(super) fn said(&self, body: &[u8]) {
        self.state().said = Some((body.into(), Instant::now()));
    }

    /// Somebody published this.
    pub(super) fn heard(&self, body: &[u8]) {
        let mut state = self.state();
        if let Some((_, since)) = state.said.take_if(|(said, _)| **said == *body) {
            state.lag = since.elapsed();
        }
    }

    /// Of the last message that was heard again.
    pub(super) fn lag(&self) -> Duration {
        self.state().lag
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_message_of_ones_own_tells_how_long_it_took() {
        let echo = Echo::default();
        echo.said(b"mine");
        std::thread::sleep(Duration::from_millis(2));
        echo.heard(b"another's");
        assert_eq!(echo.lag(), Duration::ZERO);
        echo.heard(b"mine");
        let lag = echo.lag();
        assert!(lag >= Duration::from_millis(2));
        echo.heard(b"mine");
        assert_eq!(echo.lag(), lag, "once");
    }
}

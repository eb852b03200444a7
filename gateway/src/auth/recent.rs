//! Logins that succeeded a moment ago, so that a client with many connections is hashed once.
//!
//! Gets: a tag of user, password and stored hash. Gives: whether it succeeded within the last minute.
//! Never: holds a password or a name: only HMACs under a key that dies with the process. Bounded in number and age.

use std::collections::{HashSet, VecDeque};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use aws_lc_rs::hmac;
use ftps_proto::command::{Password, UserName};

use super::PasswordHash;

/// What stands for one user with one password and one stored hash: a change of any of them changes it.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Tag([u8; 32]);

/// The recent successes.
pub(super) struct Recent {
    key: hmac::Key,
    tags: Mutex<Tags>,
}

#[derive(Default)]
struct Tags {
    known: HashSet<Tag>,
    /// Oldest first: all live equally long.
    order: VecDeque<(Instant, Tag)>,
}

impl Recent {
    /// Nobody yet.
    ///
    /// # Errors
    /// The system's random source is not there.
    pub(super) fn new() -> Result<Self, aws_lc_rs::error::Unspecified> {
        let mut key = [0; 32];
        aws_lc_rs::rand::fill(&mut key)?;
        Ok(Self { key: hmac::Key::new(hmac::HMAC_SHA256, &key), tags: Mutex::default() })
    }

    /// The tag of a login.
    pub(super) fn tag(&self, user: &UserName, hash: &PasswordHash, password: &Password) -> Tag {
        let mut context = hmac::Context::with_key(&self.key);
        // Lengths first: no two logins have the same bytes.
        for part in [user.as_str().as_bytes(), password.expose(), hash.expose().as_bytes()] {
            context.update(&(part.len() as u64).to_be_bytes());
            context.update(part);
        }
        let mut tag = [0; 32];
        tag.copy_from_slice(&context.sign().as_ref()[..32]);
        Tag(tag)
    }

    /// A number that only this process can compute from a name.
    pub(super) fn number(&self, name: &str) -> usize {
        let signed = hmac::sign(&self.key, name.as_bytes());
        signed.as_ref().iter().take(size_of::<usize>()).fold(0, |number, byte| number << 8 | usize::from(*byte))
    }

    /// Whether this login succeeded within [`LIFETIME`] before `now`.
    pub(super) fn knows(&self, tag: &Tag, now: Instant) -> bool {
        let mut tags = self.tags.lock().unwrap_or_else(PoisonError::into_inner);
        tags.forget(now);
        tags.known.contains(tag)
    }

    /// This login has succeeded. A repetition does not make it live longer.
    pub(super) fn learn(&self, tag: Tag, now: Instant) {
        let mut tags = self.tags.lock().unwrap_or_else(PoisonError::into_inner);
        if tags.known.insert(tag) {
            tags.order.push_back((now, tag));
        }
        tags.forget(now);
    }
}

impl Tags {
    fn forget(&mut self, now: Instant) {
        let old = |tags: &Self| tags.order.len() > MAX || tags.order.front().is_some_and(|(since, _)| now.saturating_duration_since(*since) >= LIFETIME);
        while old(self) {
            if let Some((_, tag)) = self.order.pop_front() {
                self.known.remove(&tag);
            }
        }
    }
}

/// How long a success is remembered.
const LIFETIME: Duration = Duration::from_secs(60);
/// How many: some 1.5 MB.
const MAX: usize = 10_000;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    fn tag(number: u32) -> Tag {
        let mut tag = [0; 32];
        tag[..4].copy_from_slice(&number.to_be_bytes());
        Tag(tag)
    }

    #[test]
    fn a_success_is_known_for_a_minute_however_often_it_repeats() {
        let (recent, start) = (Recent::new().unwrap(), Instant::now());
        let after = |seconds| start + Duration::from_secs(seconds);
        recent.learn(tag(1), start);
        recent.learn(tag(1), after(40));
        assert!(recent.knows(&tag(1), after(59)) && !recent.knows(&tag(2), after(59)));
        assert!(!recent.knows(&tag(1), after(60)));
    }

    #[test]
    fn the_oldest_is_forgotten_when_there_are_too_many() {
        let (recent, now) = (Recent::new().unwrap(), Instant::now());
        for number in 0..=MAX as u32 {
            recent.learn(tag(number), now);
        }
        assert!(!recent.knows(&tag(0), now) && recent.knows(&tag(1), now) && recent.knows(&tag(MAX as u32), now));
        let tags = recent.tags.lock().unwrap();
        assert_eq!((tags.known.len(), tags.order.len()), (MAX, MAX));
    }
}

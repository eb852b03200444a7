//! What a change does to one value: pure, for the backends that keep values themselves (memory and shared memory).
//!
//! Gets: the step wanted and the value that is there. Gives: what to write, and the answer.
//! Never: a clock, a lock or a file.

use std::borrow::Cow;
use std::time::Duration;

use crate::backend::Version;
use crate::error::Failure;

/// One change of one key.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Step<'a> {
    /// Write.
    Put { value: &'a [u8], ttl: Option<Duration> },
    /// Write if nothing is there.
    PutIfAbsent { value: &'a [u8], ttl: Option<Duration> },
    /// Write if what is there has this version (`None`: if nothing is there).
    PutIfVersion { expected: Option<&'a Version>, value: &'a [u8], ttl: Option<Duration> },
    /// Read and delete.
    Take,
    /// Delete.
    Delete,
    /// Add to a decimal number; the lifetime is that of its first step.
    Incr { by: u64, ttl: Option<Duration> },
}

/// What to do with the place of the value.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Change<'a> {
    /// Nothing.
    Keep,
    /// Write, to live this long from now (`None`: without end).
    Put(Cow<'a, [u8]>, Option<Duration>),
    /// Write, and keep the end that the present value has.
    Replace(Vec<u8>),
    /// Delete.
    Delete,
}

/// What the caller learns.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// It was done, or (false) its condition did not hold.
    Flag(bool),
    /// What was there.
    Value(Option<Vec<u8>>),
    /// The number that is there now.
    Count(u64),
}

/// Decides. `current` is the live value: an expired one is none.
pub(crate) fn decide<'a>(step: &Step<'a>, current: Option<&[u8]>) -> Result<(Change<'a>, Answer), Failure> {
    Ok(match *step {
        Step::Put { value, ttl } => (Change::Put(Cow::Borrowed(value), ttl), Answer::Flag(true)),
        Step::PutIfAbsent { value, ttl } => put_when(current.is_none(), value, ttl),
        Step::PutIfVersion { expected, value, ttl } => put_when(current.map(Version::of).as_ref() == expected, value, ttl),
        Step::Take => match current {
            Some(value) => (Change::Delete, Answer::Value(Some(value.to_vec()))),
            None => (Change::Keep, Answer::Value(None)),
        },
        Step::Delete => match current {
            Some(_) => (Change::Delete, Answer::Flag(true)),
            None => (Change::Keep, Answer::Flag(false)),
        },
        Step::Incr { by, ttl } => match current {
            None => (Change::Put(Cow::Owned(by.to_string().into_bytes()), ttl), Answer::Count(by)),
            Some(number) => {
                let number: u64 = std::str::from_utf8(number).ok().and_then(|text| text.parse().ok()).ok_or(Failure::Garbled)?;
                let sum = number.saturating_add(by);
                (Change::Replace(sum.to_string().into_bytes()), Answer::Count(sum))
            }
        },
    })
}

fn put_when<'a>(holds: bool, value: &'a [u8], ttl: Option<Duration>) -> (Change<'a>, Answer) {
    if holds { (Change::Put(Cow::Borrowed(value), ttl), Answer::Flag(true)) } else { (Change::Keep, Answer::Flag(false)) }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn conditions_decide_what_is_written() {
        let (a, b) = (Version::of(b"a"), Version::of(b"b"));
        let put = |expected| Step::PutIfVersion { expected, value: b"new", ttl: None };
        let written = |step: &Step<'_>, current: Option<&[u8]>| matches!(decide(step, current).unwrap(), (Change::Put(..), Answer::Flag(true)));
        assert!(written(&put(Some(&a)), Some(b"a")));
        assert!(!written(&put(Some(&b)), Some(b"a")));
        assert!(!written(&put(None), Some(b"a")));
        assert!(!written(&put(Some(&a)), None));
        assert!(written(&put(None), None));
        assert!(!written(&Step::PutIfAbsent { value: b"x", ttl: None }, Some(b"")));
    }

    #[test]
    fn counters_keep_their_end_and_refuse_what_is_no_number() {
        let step = Step::Incr { by: 2, ttl: Some(Duration::from_secs(9)) };
        assert_eq!(decide(&step, None).unwrap(), (Change::Put(Cow::Owned(b"2".to_vec()), Some(Duration::from_secs(9))), Answer::Count(2)));
        assert_eq!(decide(&step, Some(b"40")).unwrap(), (Change::Replace(b"42".to_vec()), Answer::Count(42)));
        assert_eq!(decide(&step, Some(b"18446744073709551615")).unwrap().1, Answer::Count(u64::MAX));
        assert_eq!(decide(&step, Some(b"x")).unwrap_err(), Failure::Garbled);
    }
}

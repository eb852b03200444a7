//! What can go wrong with a store, as a closed set that can be counted, with words for the operator.
//!
//! Gets: errors of libraries and of the kernel. Gives: one `Failure` each, and a short detail.
//! Never: carries a key, a value or a password.

use std::fmt;

use thiserror::Error;

/// Why an operation failed. Closed: each is a label of a metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Failure {
    /// The circuit is open: the store was not asked.
    Absent,
    /// No answer within the deadline.
    Timeout,
    /// No connection, or it broke.
    Away,
    /// The store refused the user or the password.
    Denied,
    /// The user may not run this command or touch this key.
    Forbidden,
    /// The store takes no writes now (a replica, a full disk).
    ReadOnly,
    /// The store, or the file system under it, is full.
    Full,
    /// A lock was not free in time; a write was dropped.
    Busy,
    /// The answer was not understood.
    Garbled,
    /// The value is empty or longer than the backend takes.
    Size,
    /// The key is not one that every backend takes.
    Key,
    /// Others changed the value again and again.
    Conflict,
    /// The backend cannot do this; its capabilities say so.
    Unsupported,
}

impl Failure {
    /// All failures.
    pub const ALL: [Self; 13] = [
        Self::Absent,
        Self::Timeout,
        Self::Away,
        Self::Denied,
        Self::Forbidden,
        Self::ReadOnly,
        Self::Full,
        Self::Busy,
        Self::Garbled,
        Self::Size,
        Self::Key,
        Self::Conflict,
        Self::Unsupported,
    ];

    /// Its label.
    pub fn word(self) -> &'static str {
        match self {
            Self::Absent => "absent",
            Self::Timeout => "timeout",
            Self::Away => "away",
            Self::Denied => "denied",
            Self::Forbidden => "forbidden",
            Self::ReadOnly => "read_only",
            Self::Full => "full",
            Self::Busy => "busy",
            Self::Garbled => "garbled",
            Self::Size => "size",
            Self::Key => "key",
            Self::Conflict => "conflict",
            Self::Unsupported => "unsupported",
        }
    }

    /// Whether the store itself is in doubt, not this one operation.
    pub(crate) fn is_outage(self) -> bool {
        match self {
            Self::Timeout | Self::Away | Self::Denied | Self::Garbled => true,
            Self::Absent | Self::Forbidden | Self::ReadOnly | Self::Full | Self::Busy | Self::Size | Self::Key | Self::Conflict | Self::Unsupported => false,
        }
    }

    fn advice(self) -> &'static str {
        match self {
            Self::Absent => "the store is away and was not asked",
            Self::Timeout => "the store did not answer in time",
            Self::Away => "the store cannot be reached: check that it runs and that store.url names it",
            Self::Denied => "the store refuses the login: check user and password in store.url",
            Self::Forbidden => "the store's user may not do this: allow it the commands and the key prefix that the documentation lists",
            Self::ReadOnly => "the store takes no writes: name the primary in store.url",
            Self::Full => "the store is full: give it more memory",
            Self::Busy => "another process holds the lock of this part of the segment: the write was dropped",
            Self::Garbled => "the answer is not one of the store: check what listens at store.url",
            Self::Size => "the value is empty or too long for this store",
            Self::Key => "the key is not one that every store takes",
            Self::Conflict => "others changed the value at the same time, again and again",
            Self::Unsupported => "this kind of store cannot do this",
        }
    }
}

/// A failure and a short detail from below.
#[derive(Clone, PartialEq, Eq, Error)]
pub struct StoreError {
    /// What it is.
    pub failure: Failure,
    detail: Box<str>,
}

impl StoreError {
    /// With words from below; what is longer than 200 characters is cut.
    pub fn new(failure: Failure, detail: impl fmt::Display) -> Self {
        let detail: String = detail.to_string().chars().map(|c| if c.is_control() { ' ' } else { c }).take(DETAIL_MAX).collect();
        Self { failure, detail: detail.into() }
    }
}

impl From<Failure> for StoreError {
    fn from(failure: Failure) -> Self {
        Self { failure, detail: Box::default() }
    }
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.failure.advice())?;
        if self.detail.is_empty() { Ok(()) } else { write!(f, " ({})", self.detail) }
    }
}

impl fmt::Debug for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}({})", self.failure, self.detail)
    }
}

/// What a stranger may put into our log through an error.
const DETAIL_MAX: usize = 200;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_failure_has_a_label_and_advice_of_its_own() {
        for (place, one) in Failure::ALL.iter().enumerate() {
            for other in &Failure::ALL[place + 1..] {
                assert!(one.word() != other.word() && one.advice() != other.advice());
            }
        }
    }

    #[test]
    fn details_are_short_and_harmless() {
        let error = StoreError::new(Failure::Garbled, format!("a\nb{}", "x".repeat(1000)));
        let text = error.to_string();
        assert!(text.contains("(a bxx") && !text.contains('\n') && text.len() < 400);
    }
}

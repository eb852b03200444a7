//! The one table of replies: from reason to code and text.

/// A reply. No byte of the client is in it, except quoted, checked paths.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// 220.
    Greeting,
}

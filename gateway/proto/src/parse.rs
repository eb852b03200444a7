//! A command line → [`Command`].

use crate::command::Command;
use crate::verbs::Verb;

/// Why a line is no command. Each has its own reply; the verb is for metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ParseFault {
    /// 500: no such verb. An empty line is one too.
    Unknown {
        /// A verb of HTTP, SMTP or SSH: not a client of ours but a stray or an attack (ALPACA).
        foreign: bool,
    },
    /// 501: the argument is missing.
    Missing(Verb),
    /// 501: the argument is not what the verb takes.
    Syntax(Verb),
    /// 501: bytes below 0x20 or 0x7F in the argument.
    ControlBytes(Verb),
    /// 504: a known verb with a parameter that is not done here.
    Unsupported(Verb),
}

impl ParseFault {
    /// The verb, when it was one of ours.
    pub const fn verb(self) -> Option<Verb> {
        match self {
            Self::Unknown { .. } => None,
            Self::Missing(verb) | Self::Syntax(verb) | Self::ControlBytes(verb) | Self::Unsupported(verb) => Some(verb),
        }
    }
}

/// Reads one line, without its end and with telnet stripped.
pub fn parse(_line: &[u8]) -> Result<Command, ParseFault> {
    Err(ParseFault::Unknown { foreign: false })
}

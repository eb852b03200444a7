//! Commands that wait: lines cut, parsed and kept in order.
//!
//! Gets: bytes of the client. Gives: commands one by one, and whether an ABOR is among those that wait.
//! Never: holds more than [`MAX_COMMANDS`] commands and [`READ_MAX`] bytes, if no more than that is given at once.

use std::collections::VecDeque;

use crate::command::Command;
use crate::line::{LineFault, LineSplitter};
use crate::parse::{ParseFault, parse};

/// The queue between the wire and the machine.
#[derive(Debug)]
pub(super) struct Intake {
    splitter: LineSplitter,
    queue: VecDeque<(usize, Queued)>,
    /// Line bytes in the queue, which remembers those of each command.
    bytes: usize,
}

/// One line, read.
#[derive(Debug)]
pub(super) enum Queued {
    Command(Command),
    Fault(ParseFault),
    TooLong,
}

impl Intake {
    pub(super) const fn new(cap: usize) -> Self {
        Self { splitter: LineSplitter::new(cap), queue: VecDeque::new(), bytes: 0 }
    }

    pub(super) const fn set_cap(&mut self, cap: usize) {
        self.splitter.set_cap(cap);
    }

    /// Takes all bytes. Lines beyond the queue's cap stay uncut in the splitter; only who gives more than [`READ_MAX`] to a full queue makes it grow.
    pub(super) fn take(&mut self, bytes: &[u8]) {
        let mut rest = bytes;
        while !rest.is_empty() {
            let taken = self.splitter.push(rest);
            rest = &rest[taken..];
            if taken == 0 {
                self.cut();
            }
            self.fill();
        }
    }

    /// The next command in order.
    pub(super) fn next(&mut self) -> Option<Queued> {
        let (bytes, queued) = self.queue.pop_front()?;
        self.bytes -= bytes;
        self.fill();
        // A burst of commands must not cost an idle session memory for ever.
        if self.queue.is_empty() && self.queue.capacity() > 4 {
            self.queue = VecDeque::new();
        }
        Some(queued)
    }

    /// The next command if it fits, see [`Intake::next`].
    pub(super) fn next_if(&mut self, fits: impl FnOnce(&Queued) -> bool) -> Option<Queued> {
        self.queue.front().is_some_and(|(_, queued)| fits(queued)).then(|| self.next()).flatten()
    }

    /// Whether an ABOR waits.
    pub(super) fn holds_abort(&self) -> bool {
        self.queue.iter().any(|(_, queued)| matches!(queued, Queued::Command(Command::Abor)))
    }

    pub(super) fn is_full(&self) -> bool {
        self.queue.len() >= MAX_COMMANDS || self.bytes >= READ_MAX
    }

    /// Whether no complete command waits.
    pub(super) fn is_idle(&self) -> bool {
        self.queue.is_empty()
    }

    /// Whether nothing at all waits, not even a part of a line: the condition of AUTH TLS.
    pub(super) fn is_empty(&self) -> bool {
        self.queue.is_empty() && self.splitter.is_empty()
    }

    /// Bytes held, in the splitter and as waiting commands.
    #[cfg(test)]
    pub(super) fn held(&self) -> usize {
        self.splitter.buffered() + self.bytes
    }

    pub(super) fn clear(&mut self) {
        self.splitter.clear();
        self.queue = VecDeque::new();
        self.bytes = 0;
    }

    fn fill(&mut self) {
        while !self.is_full() && self.cut() {}
    }

    /// Cuts and parses one line; false when none is complete.
    fn cut(&mut self) -> bool {
        let (bytes, queued) = match self.splitter.next() {
            None => return false,
            Some(Err(LineFault::TooLong)) => (0, Queued::TooLong),
            Some(Ok(mut line)) => {
                let queued = parse(&line).map_or_else(Queued::Fault, Queued::Command);
                let bytes = line.len();
                // It may be a PASS.
                line.fill(0);
                std::hint::black_box(&line);
                (bytes, queued)
            }
        };
        self.bytes += bytes;
        self.queue.push_back((bytes, queued));
        true
    }
}

/// Commands that wait at most; the bytes behind them stay uncut, then in the socket.
const MAX_COMMANDS: usize = 32;
/// What one read may bring, and the bytes of waiting commands beyond which no more are cut.
pub(super) const READ_MAX: usize = LineSplitter::UNREAD;

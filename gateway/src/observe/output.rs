//! The way of log lines out of the process: a bounded queue and one thread that writes it.
//!
//! Gets: whole lines, from any thread. Gives: the same lines in their order, never interleaved.
//! Never: blocks a caller on a reader that does not read (a stuck pipe): beyond 1 MiB lines are dropped and counted.

use std::io::{self, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// The queue. Its thread lives as long as the process.
#[derive(Debug, Default)]
pub(super) struct Output {
    queue: Mutex<Queue>,
    filled: Condvar,
    written: Condvar,
    dropped: AtomicU64,
}

#[derive(Debug, Default)]
struct Queue {
    bytes: Vec<u8>,
    /// What was taken from `bytes` is not written yet.
    writing: bool,
}

impl Output {
    /// A queue that is written to `writer`.
    ///
    /// # Errors
    /// No thread can be started.
    pub(super) fn start(writer: impl Write + Send + 'static) -> io::Result<Arc<Self>> {
        let output = Arc::new(Self::default());
        let queue = output.clone();
        std::thread::Builder::new().name("log".into()).spawn(move || queue.run(writer))?;
        Ok(output)
    }

    /// Appends a line, which ends with a line feed.
    pub(super) fn line(&self, line: &str) {
        let mut queue = self.lock();
        if queue.bytes.len() + line.len() > LONGEST {
            self.dropped.fetch_add(1, Ordering::Relaxed);
            return;
        }
        queue.bytes.extend_from_slice(line.as_bytes());
        drop(queue);
        self.filled.notify_one();
    }

    /// Lines that were dropped so far.
    pub(super) fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    /// Waits until all lines are written, at most so long.
    pub(super) fn flush(&self, longest: Duration) {
        let queue = self.lock();
        let busy = |queue: &mut Queue| queue.writing || !queue.bytes.is_empty();
        drop(self.written.wait_timeout_while(queue, longest, busy).unwrap_or_else(PoisonError::into_inner));
    }

    fn run(&self, mut writer: impl Write) {
        let mut batch = Vec::new();
        loop {
            let mut queue = self.filled.wait_while(self.lock(), |queue| queue.bytes.is_empty()).unwrap_or_else(PoisonError::into_inner);
            std::mem::swap(&mut queue.bytes, &mut batch);
            queue.writing = true;
            drop(queue);
            // A reader that went away (EPIPE) takes its lines with it; the node goes on.
            if writer.write_all(&batch).and_then(|()| writer.flush()).is_err() {
                let lost = batch.iter().filter(|byte| **byte == b'\n').count();
                self.dropped.fetch_add(u64::try_from(lost).unwrap_or(u64::MAX), Ordering::Relaxed);
            }
            batch.clear();
            self.lock().writing = false;
            self.written.notify_all();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Bytes that may wait.
const LONGEST: usize = 1024 * 1024;

#[cfg(test)]
pub(super) mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    /// A writer whose text a test can read.
    #[derive(Clone, Default)]
    pub(in crate::observe) struct Paper(Arc<Mutex<Vec<u8>>>);

    impl Paper {
        pub(in crate::observe) fn text(&self) -> String {
            String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
        }
    }

    impl Write for Paper {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            // One byte at a time would show lines that are interleaved.
            self.0.lock().unwrap().extend_from_slice(&bytes[..1]);
            Ok(1)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// A writer that waits until its other half is dropped.
    struct Stuck(std::sync::mpsc::Receiver<()>);

    impl Write for Stuck {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let _ = self.0.recv();
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn lines_of_many_threads_stay_whole_and_in_order() {
        let paper = Paper::default();
        let output = Output::start(paper.clone()).unwrap();
        std::thread::scope(|scope| {
            for name in ["a", "b", "c"] {
                let output = &output;
                scope.spawn(move || (0..200).for_each(|number| output.line(&format!("{name} {number} end\n"))));
            }
        });
        output.flush(Duration::from_secs(20));
        let text = paper.text();
        for name in ["a", "b", "c"] {
            let own: Vec<&str> = text.lines().filter(|line| line.starts_with(name)).collect();
            assert_eq!(own, (0..200).map(|number| format!("{name} {number} end")).collect::<Vec<_>>());
        }
        assert_eq!(output.dropped(), 0);
    }

    #[test]
    fn a_reader_that_does_not_read_costs_lines_not_time() {
        let (release, stuck) = std::sync::mpsc::channel();
        let output = Output::start(Stuck(stuck)).unwrap();
        let line = format!("{}\n", "x".repeat(1023));
        (0..3 * 1024).for_each(|_| output.line(&line));
        // One batch is in the thread's hands, one queue is full: of 3 MiB at least one is gone.
        assert!(output.dropped() >= 1024, "{} dropped", output.dropped());
        output.flush(Duration::from_millis(10));
        drop(release);
        output.flush(Duration::from_secs(20));
        output.line("again\n");
        assert!(output.lock().bytes.len() <= LONGEST);
    }
}

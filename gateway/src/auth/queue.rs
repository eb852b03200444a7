//! Who is next: turns within a number and a sum of memory, address after address.
//!
//! Gets: who wants a turn, how much memory it takes. Gives: turns, given back when they are dropped.
//! Never: lets one address that floods the queue keep the others waiting, or grows beyond [`MAX_WAITING`].

use std::collections::{HashMap, VecDeque};
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

/// The turns that there are. Addresses take turns; of one address, first come, first served.
#[derive(Clone)]
pub(super) struct Queue(Arc<Mutex<State>>);

/// The right to do one thing that takes so much memory.
pub(super) struct Turn {
    queue: Queue,
    memory: u32,
}

struct State {
    /// Turns and KiB that are free.
    turns: usize,
    memory: u32,
    /// KiB that there are in all.
    budget: u32,
    waiting: usize,
    /// Addresses that wait, the next one first, each once.
    order: VecDeque<Source>,
    waiters: HashMap<Source, VecDeque<Waiter>>,
}

struct Waiter {
    memory: u32,
    tell: oneshot::Sender<Turn>,
}

/// One IPv4 address, or one IPv6 /64: whoever has one address of it has them all.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct Source(IpAddr);

impl Queue {
    /// So many turns at a time, that take at most `budget` KiB together.
    pub(super) fn new(turns: usize, budget: u32) -> Self {
        let budget = budget.max(1);
        Self(Arc::new(Mutex::new(State { turns, memory: budget, budget, waiting: 0, order: VecDeque::new(), waiters: HashMap::new() })))
    }

    /// How many wait.
    pub(super) fn waiting(&self) -> usize {
        self.lock().waiting
    }

    /// A turn, when it is this one's. `None` when the queue is full: of the address that waits with most, the last one is sent away.
    pub(super) async fn turn(&self, peer: IpAddr, memory: u32) -> Option<Turn> {
        let source = Source::from(peer);
        let place = self.enter(source, memory)?;
        // Left behind when nobody waits here any longer; a turn that is under way then is given back with the receiver.
        let _leave = Leave { queue: self, source };
        place.await.ok()
    }

    fn enter(&self, source: Source, memory: u32) -> Option<oneshot::Receiver<Turn>> {
        let (tell, place) = oneshot::channel();
        let mut state = self.lock();
        let sent_away = if state.waiting < MAX_WAITING { None } else { Some(state.send_away(source)?) };
        // What is larger than all there is runs alone.
        let memory = memory.clamp(1, state.budget);
        state.waiting += 1;
        state.queue_of(source).push_back(Waiter { memory, tell });
        drop(state);
        drop(sent_away);
        self.serve();
        Some(place)
    }

    /// Gives turns to those whose turn it is.
    fn serve(&self) {
        loop {
            let next = self.lock().next();
            let Some(Waiter { memory, tell }) = next else { return };
            // Whoever has gone meanwhile lets it fall, which gives it back and serves the next.
            drop(tell.send(Turn { queue: self.clone(), memory }));
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let mut state = self.queue.lock();
        state.turns += 1;
        state.memory += self.memory;
        drop(state);
        self.queue.serve();
    }
}

impl State {
    fn queue_of(&mut self, source: Source) -> &mut VecDeque<Waiter> {
        let queue = self.waiters.entry(source).or_default();
        if queue.is_empty() {
            self.order.push_back(source);
        }
        queue
    }

    /// The next waiter, if there is a turn and memory for it; its address is the last one then. A large one is waited for, not passed by.
    fn next(&mut self) -> Option<Waiter> {
        let source = *self.order.front()?;
        let queue = self.waiters.get_mut(&source)?;
        if self.turns == 0 || queue.front()?.memory > self.memory {
            return None;
        }
        let waiter = queue.pop_front()?;
        self.turns -= 1;
        self.memory -= waiter.memory;
        self.waiting -= 1;
        self.order.rotate_left(1);
        self.tidy(source);
        Some(waiter)
    }

    /// Makes room for one of `source` if another address has more in the queue; the one to be sent away.
    fn send_away(&mut self, source: Source) -> Option<Waiter> {
        let mine = self.waiters.get(&source).map_or(0, VecDeque::len);
        let (&most, queue) = self.waiters.iter_mut().max_by_key(|(_, queue)| queue.len())?;
        if queue.len() <= mine + 1 {
            return None;
        }
        let last = queue.pop_back()?;
        self.waiting -= 1;
        self.tidy(most);
        Some(last)
    }

    /// Forgets an address with nobody left.
    fn tidy(&mut self, source: Source) {
        if self.waiters.get(&source).is_some_and(VecDeque::is_empty) {
            self.waiters.remove(&source);
            self.order.retain(|other| *other != source);
        }
    }
}

impl From<IpAddr> for Source {
    fn from(ip: IpAddr) -> Self {
        match ip.to_canonical() {
            IpAddr::V6(six) => Self(Ipv6Addr::from_bits(six.to_bits() & !u128::from(u64::MAX)).into()),
            four @ IpAddr::V4(_) => Self(four),
        }
    }
}

/// Takes whoever has stopped waiting out of the queue: also when the session that waits is ended.
struct Leave<'a> {
    queue: &'a Queue,
    source: Source,
}

impl Drop for Leave<'_> {
    fn drop(&mut self) {
        let mut state = self.queue.lock();
        let Some(queue) = state.waiters.get_mut(&self.source) else { return };
        let before = queue.len();
        queue.retain(|waiter| !waiter.tell.is_closed());
        let gone = before - queue.len();
        state.waiting -= gone;
        state.tidy(self.source);
        drop(state);
        // Whoever has gone may have been a large one that the others waited behind.
        if gone > 0 {
            self.queue.serve();
        }
    }
}

/// Logins that wait for their turn; more of them are an attack.
const MAX_WAITING: usize = 64;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use std::future::Future;
    use std::pin::Pin;
    use std::task::{Context, Poll, Waker};

    use super::*;

    type Asked<'a> = Pin<Box<dyn Future<Output = Option<Turn>> + 'a>>;

    fn ask<'a>(queue: &'a Queue, address: &str, memory: u32) -> Asked<'a> {
        let mut asked: Asked<'a> = Box::pin(queue.turn(address.parse().unwrap(), memory));
        // The first poll enters the queue; what is there at once is kept for the next.
        match look(&mut asked) {
            Poll::Ready(turn) => Box::pin(async move { turn }),
            Poll::Pending => asked,
        }
    }

    fn look(asked: &mut Asked<'_>) -> Poll<Option<Turn>> {
        asked.as_mut().poll(&mut Context::from_waker(Waker::noop()))
    }

    fn turn(asked: &mut Asked<'_>) -> Turn {
        match look(asked) {
            Poll::Ready(Some(turn)) => turn,
            Poll::Ready(None) => panic!("sent away"),
            Poll::Pending => panic!("it has to wait"),
        }
    }

    fn waits(asked: &mut Asked<'_>) -> bool {
        look(asked).is_pending()
    }

    fn all_free(queue: &Queue, turns: usize) -> bool {
        let state = queue.lock();
        state.turns == turns && state.memory == state.budget && state.waiting == 0 && state.order.is_empty() && state.waiters.is_empty()
    }

    #[test]
    fn a_flood_from_one_address_delays_others_by_one_turn() {
        let queue = Queue::new(1, u32::MAX);
        let mut running = ask(&queue, "192.0.2.1", 1);
        let running = turn(&mut running);
        let mut flood: Vec<_> = (0..60).map(|_| ask(&queue, "192.0.2.1", 1)).collect();
        let mut other = ask(&queue, "192.0.2.2", 1);
        assert_eq!(queue.waiting(), 61);
        drop(running);
        let first = turn(&mut flood[0]);
        assert!(waits(&mut flood[1]) && waits(&mut other));
        drop(first);
        let second = turn(&mut other);
        assert!(waits(&mut flood[1]));
        drop(second);
        // First come, first served within one address, to the end.
        for asked in flood.iter_mut().skip(1) {
            drop(turn(asked));
        }
        drop((flood, other));
        assert!(all_free(&queue, 1));
    }

    #[test]
    fn who_has_most_in_a_full_queue_makes_room() {
        let queue = Queue::new(1, u32::MAX);
        let mut running = ask(&queue, "192.0.2.9", 1);
        let running = turn(&mut running);
        let mut flood: Vec<_> = (0..MAX_WAITING).map(|_| ask(&queue, "192.0.2.1", 1)).collect();
        assert!(matches!(look(&mut ask(&queue, "192.0.2.1", 1)), Poll::Ready(None)), "the same address finds it full");
        let mut other = ask(&queue, "192.0.2.2", 1);
        assert!(waits(&mut other) && matches!(look(&mut flood[MAX_WAITING - 1]), Poll::Ready(None)), "the last of the flood is sent away");
        assert_eq!(queue.waiting(), MAX_WAITING);
        flood.pop();
        drop((running, flood, other));
        assert!(all_free(&queue, 1));
        // As many addresses as there are places: nobody has more than another.
        let mut running = ask(&queue, "192.0.2.9", 1);
        let _running = turn(&mut running);
        let many: Vec<_> = (0..MAX_WAITING).map(|number| ask(&queue, &format!("198.51.100.{number}"), 1)).collect();
        assert!(matches!(look(&mut ask(&queue, "192.0.2.2", 1)), Poll::Ready(None)));
        drop(many);
        assert_eq!(queue.waiting(), 0);
    }

    #[test]
    fn addresses_of_one_ipv6_network_are_one() {
        let queue = Queue::new(1, u32::MAX);
        let mut running = ask(&queue, "192.0.2.9", 1);
        let _running = turn(&mut running);
        let _waiting = ["2001:db8:0:1::1", "2001:db8:0:1:ffff::2", "2001:db8:0:2::1", "::ffff:192.0.2.1", "192.0.2.1"].map(|address| ask(&queue, address, 1));
        assert_eq!(queue.lock().order.len(), 3);
    }

    #[test]
    fn memory_is_shared_out_and_a_large_one_is_not_passed_by() {
        let queue = Queue::new(8, 1000);
        let mut large = ask(&queue, "192.0.2.1", 600);
        let large = turn(&mut large);
        let (mut second, mut small) = (ask(&queue, "192.0.2.2", 600), ask(&queue, "192.0.2.3", 100));
        assert!(waits(&mut second) && waits(&mut small));
        // Who gives up makes way.
        drop(second);
        let small = turn(&mut small);
        drop((large, small));
        let mut all = ask(&queue, "192.0.2.1", u32::MAX);
        let all = turn(&mut all);
        assert!(waits(&mut ask(&queue, "192.0.2.2", 1)), "what is larger than all there is runs alone");
        drop(all);
        assert!(all_free(&queue, 8));
    }

    #[test]
    fn a_turn_that_nobody_takes_is_given_back() {
        let queue = Queue::new(1, u32::MAX);
        let mut running = ask(&queue, "192.0.2.1", 1);
        let running = turn(&mut running);
        let given = ask(&queue, "192.0.2.2", 1);
        drop(running);
        assert_eq!(queue.lock().turns, 0, "it is under way");
        drop(given);
        assert!(all_free(&queue, 1));
    }
}

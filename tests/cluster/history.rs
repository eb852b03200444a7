//! A history of bans and its judge: what the API answered, who was let in where and when, what a test did to nodes.
//!
//! Gets: calls of the API, knocks at the doors of nodes, the moments from which a node that heard nothing may be held to what it missed.
//! Gives: every way in which that breaks the promise about bans, in words. Never: asks a node what it thinks; a client is banned where it gets no greeting.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::admin::ask;
use crate::kit::{Node, header};

/// The doors of some nodes, and the address of the balancer that they believe.
#[derive(Clone)]
pub(super) struct Doors {
    pub(super) nodes: Vec<SocketAddr>,
    pub(super) from: Ipv4Addr,
}

/// One client at one door.
#[derive(Clone, Debug)]
struct Knock {
    node: usize,
    who: Ipv4Addr,
    began: Instant,
    ended: Instant,
    let_in: bool,
}

/// A ban or an unban, and what the API said of it.
#[derive(Clone, Debug)]
pub(super) struct Said {
    pub(super) id: String,
    pub(super) asked: Instant,
    pub(super) answered: Instant,
    pub(super) state: String,
    pub(super) acknowledged: u64,
    pub(super) nodes: u64,
    pub(super) silent: BTreeSet<usize>,
    pub(super) stored: Option<bool>,
    by: usize,
    /// Of a ban that ends.
    ends: Option<Instant>,
}

/// Everything that was seen. Cheap to clone.
#[derive(Clone, Default)]
pub(super) struct History(Arc<Mutex<Seen>>);

#[derive(Default)]
struct Seen {
    knocks: Vec<Knock>,
    bans: BTreeMap<Ipv4Addr, Said>,
    unbans: BTreeMap<Ipv4Addr, Said>,
    /// From then on a node that was silent may be held to what it missed, so much later.
    back: Vec<(usize, Instant, Duration)>,
    clients: BTreeSet<Ipv4Addr>,
}

/// Knocks at all doors for all clients, again and again, until it is dropped.
pub(super) struct Watch {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Doors {
    /// Whether a node lets this client in; `None` when it does not answer, or answers something else.
    pub(super) fn knock(&self, node: usize, who: Ipv4Addr) -> Option<bool> {
        let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).expect("a socket");
        socket.bind(&SocketAddr::from((self.from, 0)).into()).expect("the balancer's address");
        socket.connect_timeout(&self.nodes[node].into(), PATIENCE).ok()?;
        let mut stream = TcpStream::from(socket);
        stream.set_read_timeout(Some(PATIENCE)).ok()?;
        stream.write_all(&self.header(node, who)).ok()?;
        let mut text = [0; 256];
        let count = stream.read(&mut text).ok()?;
        let text = String::from_utf8_lossy(&text[..count]).into_owned();
        (text.starts_with("220") || text.starts_with("421 You are banned")).then(|| text.starts_with("220"))
    }

    /// What the balancer writes ahead of a client's bytes.
    pub(super) fn header(&self, node: usize, who: Ipv4Addr) -> Vec<u8> {
        header(2, (who, 40_000).into(), self.nodes[node])
    }

    fn recorded(&self, history: &History, node: usize, who: Ipv4Addr) -> Option<bool> {
        let began = Instant::now();
        let let_in = self.knock(node, who)?;
        history.lock().knocks.push(Knock { node, who, began, ended: Instant::now(), let_in });
        Some(let_in)
    }

    /// Knocks until a node answers so; how long after `since` that was.
    pub(super) fn until(&self, history: &History, node: usize, who: Ipv4Addr, let_in: bool, since: Instant) -> Duration {
        while self.recorded(history, node, who) != Some(let_in) {
            assert!(since.elapsed() < Duration::from_secs(20), "{who} at node {node}: not within 20 s: let in: {let_in}");
            std::thread::sleep(Duration::from_millis(1));
        }
        since.elapsed()
    }
}

impl Watch {
    pub(super) fn start(doors: &Doors, history: &History) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let watch = |node: usize| {
            let (doors, history, stop) = (doors.clone(), history.clone(), stop.clone());
            std::thread::spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    let clients: Vec<Ipv4Addr> = history.lock().clients.iter().copied().collect();
                    for who in clients {
                        doors.recorded(&history, node, who);
                        std::thread::sleep(BREATH);
                    }
                    std::thread::sleep(BREATH);
                }
            })
        };
        let threads = (0..doors.nodes.len()).map(watch).collect();
        Self { stop, threads }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        self.threads.drain(..).for_each(|thread| drop(thread.join()));
    }
}

impl History {
    fn lock(&self) -> MutexGuard<'_, Seen> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A client whom nobody bans, so far.
    pub(super) fn know(&self, who: Ipv4Addr) {
        self.lock().clients.insert(who);
    }

    /// Bans a client at a node: for an hour, or for as long as is said.
    pub(super) fn ban(&self, by: (usize, &Node), who: Ipv4Addr, seconds: u64) -> Said {
        self.know(who);
        let body = json!({ "target": { "ip": who.to_string() }, "duration": format!("{seconds}s"), "reason": "a test" });
        let mut said = call(by, "POST", "/bans?wait=2s", Some(&body), |answer| answer["id"].as_str().unwrap_or_default().to_owned());
        said.ends = Some(said.asked + Duration::from_secs(seconds));
        self.lock().bans.insert(who, said.clone());
        said
    }

    /// Takes the ban of a client back.
    pub(super) fn unban(&self, by: (usize, &Node), who: Ipv4Addr) -> Said {
        let id = self.lock().bans[&who].id.clone();
        let said = call(by, "DELETE", &format!("/bans/{id}?wait=2s"), None, |_| id.clone());
        self.lock().unbans.insert(who, said.clone());
        said
    }

    /// A node is there again: started (and held to everything at once), thawed or not cut off any more.
    pub(super) fn back(&self, node: usize, within: Duration) {
        self.lock().back.push((node, Instant::now(), within));
    }

    /// Every broken promise.
    pub(super) fn judge(&self) -> Vec<String> {
        let seen = self.lock();
        let mut faults: Vec<String> = seen.bans.iter().chain(&seen.unbans).filter_map(|(who, said)| said.contradiction(*who)).collect();
        for knock in &seen.knocks {
            faults.extend(seen.fault(knock));
        }
        faults
    }

    /// Holds the history to the promise; gives how much was seen.
    pub(super) fn holds(&self) -> String {
        let faults = self.judge();
        let seen = self.lock();
        let refused = seen.knocks.iter().filter(|knock| !knock.let_in).count();
        let words = format!("{} bans, {} unbans, {} knocks, {refused} refused", seen.bans.len(), seen.unbans.len(), seen.knocks.len());
        drop(seen);
        let shown = faults.iter().take(20).cloned().collect::<Vec<_>>().join("\n");
        assert!(faults.is_empty(), "{words}; {} broken promises, the first of them:\n{shown}", faults.len());
        words
    }
}

impl Seen {
    fn fault(&self, knock: &Knock) -> Option<String> {
        let Knock { node, who, began, ended, let_in } = knock;
        let at = |when: Instant| format!("{:.3} s after the ban was asked for", when.duration_since(self.bans[who].asked).as_secs_f64());
        let Some(ban) = self.bans.get(who).filter(|ban| ban.asked <= *ended) else {
            return (!let_in).then(|| format!("{who}, whom nobody had banned, was refused at node {node}"));
        };
        let over = self.unbans.get(who).map_or(ban.ends, |unban| Some(unban.asked));
        let in_force = over.is_none_or(|over| *ended + SLACK < over);
        if *let_in {
            let heard = [self.heard(ban, *node), self.first_refusal(knock)].into_iter().flatten().min();
            return heard.filter(|heard| in_force && heard < began).map(|heard| {
                let (was, is) = (at(heard), at(*began));
                format!("{who} was let in at node {node} {is}, where the ban held {was} ({}, silent: {:?})", ban.state, ban.silent)
            });
        }
        let free = match self.unbans.get(who) {
            Some(unban) => self.heard(unban, *node),
            None => ban.ends.map(|ends| ends + SLACK),
        };
        free.filter(|free| free < began).map(|free| format!("{who} was refused at node {node} {}, free since {}", at(*began), at(free)))
    }

    /// From when on a node is held to a word: from the answer if that did not except it, else some time after it was back.
    fn heard(&self, said: &Said, node: usize) -> Option<Instant> {
        let excepted = said.silent.contains(&node) || (said.state == "local_only" && said.by != node);
        if !excepted {
            return Some(said.answered);
        }
        let back = self.back.iter().filter(|(one, when, _)| *one == node && *when >= said.asked);
        back.map(|(_, when, within)| (*when).max(said.answered) + *within).min()
    }

    /// When this door refused this client for the first time before a knock.
    fn first_refusal(&self, knock: &Knock) -> Option<Instant> {
        let earlier = self.knocks.iter().filter(|one| one.node == knock.node && one.who == knock.who && !one.let_in && one.ended < knock.began);
        earlier.map(|one| one.ended).min()
    }
}

impl Said {
    /// Whether the answer says two things at once.
    fn contradiction(&self, who: Ipv4Addr) -> Option<String> {
        let Self { state, acknowledged, nodes, silent, .. } = self;
        let sound = match state.as_str() {
            "everywhere" => silent.is_empty() && acknowledged == nodes,
            "pending" => !silent.is_empty() && acknowledged < nodes,
            "local_only" => *acknowledged == 1,
            _ => false,
        };
        (!sound).then(|| format!("{who}: {acknowledged} of {nodes} nodes, silent: {silent:?}, {state}"))
    }
}

fn call((by, node): (usize, &Node), method: &str, path: &str, body: Option<&Value>, id: impl FnOnce(&Value) -> String) -> Said {
    let asked = Instant::now();
    let answer = ask(node, method, path, "root", body);
    let answered = Instant::now();
    assert_eq!(answer.status, 200, "{method} {path}: {}", answer.body);
    let spread = &answer.body["propagation"];
    let number = |name: &str| spread[name].as_u64().unwrap_or_else(|| panic!("{name}: {spread}"));
    let names = spread["silent"].as_array().into_iter().flatten().filter_map(Value::as_str);
    let silent = names.map(|name| name.trim_start_matches("node-").parse().unwrap_or_else(|_| panic!("{name}"))).collect();
    Said {
        id: id(&answer.body),
        asked,
        answered,
        state: spread["state"].as_str().unwrap_or_default().to_owned(),
        acknowledged: number("acknowledged"),
        nodes: number("nodes"),
        silent,
        stored: spread["stored"].as_bool(),
        by,
        ends: None,
    }
}

/// The client of this number: 198.18.0.0/15 is nobody's (RFC 2544).
pub(super) fn client(number: u32) -> Ipv4Addr {
    Ipv4Addr::from_bits(Ipv4Addr::new(198, 18, 1, 0).to_bits() + number)
}

/// For one knock: a node that stands still does not answer.
const PATIENCE: Duration = Duration::from_millis(1500);
/// Between two knocks at one door.
const BREATH: Duration = Duration::from_millis(4);
/// What a ban's end may come late or early for the clock of a test.
const SLACK: Duration = Duration::from_millis(1100);

#[test]
fn the_judge_finds_each_broken_promise() {
    let start = Instant::now();
    let at = |millis: u64| start + Duration::from_millis(millis);
    let (who, other) = (client(1), client(2));
    let said = |asked: u64, state: &str, silent: &[usize]| {
        let (silent, acknowledged): (BTreeSet<usize>, u64) = (silent.iter().copied().collect(), 3 - silent.len() as u64);
        Said {
            id: String::new(),
            asked: at(asked),
            answered: at(asked + 10),
            state: state.to_owned(),
            acknowledged,
            nodes: 3,
            silent,
            stored: None,
            by: 0,
            ends: Some(at(100_000)),
        }
    };
    let judged = |ban: Said, unban: Option<Said>, back: Option<(usize, u64)>, knocks: &[(usize, Ipv4Addr, u64, bool)]| {
        let history = History::default();
        let mut seen = history.lock();
        seen.bans.insert(who, ban);
        seen.unbans.extend(unban.map(|unban| (who, unban)));
        seen.back.extend(back.map(|(node, when)| (node, at(when), Duration::from_secs(2))));
        seen.knocks.extend(knocks.iter().map(|(node, who, when, let_in)| Knock {
            node: *node,
            who: *who,
            began: at(*when),
            ended: at(when + 1),
            let_in: *let_in,
        }));
        drop(seen);
        history.judge().len()
    };
    let everywhere = || said(1000, "everywhere", &[]);
    let pending = || said(1000, "pending", &[2]);
    assert_eq!(judged(everywhere(), None, None, &[(2, who, 500, true), (2, who, 1005, true), (2, who, 2000, false), (1, other, 2000, true)]), 0);
    assert_eq!(judged(everywhere(), None, None, &[(2, who, 2000, true)]), 1, "the answer claimed too much");
    assert_eq!(judged(everywhere(), None, None, &[(2, other, 2000, false)]), 1, "somebody else was refused");
    assert_eq!(judged(everywhere(), None, None, &[(2, who, 500, false)]), 1, "refused before the ban");
    assert_eq!(judged(everywhere(), None, None, &[(2, who, 102_000, false)]), 1, "refused after its end");
    assert_eq!(judged(pending(), None, None, &[(2, who, 2000, true), (1, who, 2000, false)]), 0, "the silent one was named");
    assert_eq!(judged(pending(), None, None, &[(1, who, 2000, true)]), 1, "another one than the silent");
    assert_eq!(judged(pending(), None, None, &[(2, who, 2000, false), (2, who, 3000, true)]), 1, "it had applied it and forgot");
    assert_eq!(judged(pending(), None, Some((2, 5000)), &[(2, who, 6500, true), (2, who, 7500, false)]), 0, "within 2 s of its return");
    assert_eq!(judged(pending(), None, Some((2, 5000)), &[(2, who, 7500, true)]), 1, "later than 2 s after its return");
    let unban = || Some(said(4000, "everywhere", &[]));
    assert_eq!(judged(everywhere(), unban(), None, &[(2, who, 2000, false), (2, who, 4005, false), (2, who, 4100, true)]), 0);
    assert_eq!(judged(everywhere(), unban(), None, &[(2, who, 4100, false)]), 1, "unbanned and refused");
    assert_eq!(judged(said(1000, "everywhere", &[1]), None, None, &[]), 1, "everywhere but one");
    assert_eq!(judged(Said { acknowledged: 2, ..everywhere() }, None, None, &[]), 1, "two of three are not all");
}

//! What this node answers to its peers: one handler for each path, registered by the rooms before the node starts.
//!
//! Gets: paths, handlers, how long a body may be. Gives: the answer to a call, or a refusal with a closed set of reasons.
//! Never: more than 128 calls of one path at once, a body over its cap, a handler that runs longer than 30 s.

use std::collections::HashMap;
use std::fmt;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::observe::id::Incarnation;

/// Who calls. A peer by its keys; name and incarnation are what it says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// Its name.
    pub name: String,
    /// Its start.
    pub incarnation: Incarnation,
    /// Where the connection comes from.
    pub address: SocketAddr,
}

/// Why a call is not answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Refused {
    /// Nobody answers that path, or there is no such thing.
    #[error("there is no such thing")]
    NotFound,
    /// The body is not what the path takes.
    #[error("the call is not understood")]
    Invalid,
    /// The body is longer than the path takes.
    #[error("the call is too long")]
    TooLong,
    /// Too many calls at once.
    #[error("too many calls at once")]
    Busy,
    /// It cannot be answered now; later, or by another node, it can.
    #[error("it cannot be answered now")]
    NotNow,
    /// The node failed; its log says how.
    #[error("the node failed")]
    Fault,
}

/// A data connection from a peer: behind the byte `D`, nothing read yet.
#[derive(Debug)]
pub struct DataLink {
    /// The connection.
    pub stream: TcpStream,
    /// Where it comes from.
    pub from: SocketAddr,
    /// Held while the peer has proved nothing; drop it when it has. Strangers are bounded by it.
    pub stranger: OwnedSemaphorePermit,
}

/// All handlers of a node.
#[derive(Default)]
pub struct Handlers {
    calls: HashMap<&'static str, Call>,
    data: Option<DataHandler>,
}

/// The handler of one path.
#[derive(Clone)]
pub(super) struct Call {
    pub(super) longest: usize,
    places: Arc<Semaphore>,
    handler: CallHandler,
}

type Pending<T> = Pin<Box<dyn Future<Output = T> + Send>>;
type CallHandler = Arc<dyn Fn(Caller, Vec<u8>) -> Pending<Result<Vec<u8>, Refused>> + Send + Sync>;
type DataHandler = Arc<dyn Fn(DataLink) -> Pending<()> + Send + Sync>;

impl Handlers {
    /// Answers calls of `path` (`POST /peer/v1/PATH`) with at most `longest` bytes.
    pub fn on<F, A>(&mut self, path: &'static str, longest: usize, handler: F)
    where
        F: Fn(Caller, Vec<u8>) -> A + Send + Sync + 'static,
        A: Future<Output = Result<Vec<u8>, Refused>> + Send + 'static,
    {
        let handler = Arc::new(move |caller, body| Box::pin(handler(caller, body)) as Pending<_>);
        let former = self.calls.insert(path, Call { longest, places: Arc::new(Semaphore::new(CALLS)), handler });
        debug_assert!(former.is_none(), "{path} has two handlers");
    }

    /// Like [`Handlers::on`], with JSON both ways. Unknown fields are ignored, so that versions may mix.
    pub fn on_json<Q, R, F, A>(&mut self, path: &'static str, longest: usize, handler: F)
    where
        Q: DeserializeOwned + Send + 'static,
        R: Serialize,
        F: Fn(Caller, Q) -> A + Send + Sync + 'static,
        A: Future<Output = Result<R, Refused>> + Send + 'static,
    {
        let handler = Arc::new(handler);
        self.on(path, longest, move |caller, body| {
            let handler = handler.clone();
            async move {
                let question = serde_json::from_slice(&body).map_err(|_| Refused::Invalid)?;
                let answer = handler(caller, question).await?;
                serde_json::to_vec(&answer).map_err(|_| Refused::Fault)
            }
        });
    }

    /// Takes data connections from peers. Without a handler they are closed.
    pub fn on_data<F, A>(&mut self, handler: F)
    where
        F: Fn(DataLink) -> A + Send + Sync + 'static,
        A: Future<Output = ()> + Send + 'static,
    {
        self.data = Some(Arc::new(move |link| Box::pin(handler(link)) as Pending<()>));
    }

    /// The handler of a path.
    pub(super) fn call(&self, path: &str) -> Option<&Call> {
        self.calls.get(path)
    }

    /// Hands a data connection on.
    pub(super) async fn data(&self, link: DataLink) {
        if let Some(handler) = &self.data {
            handler(link).await;
        }
    }
}

impl Call {
    /// Answers, or refuses when too many run already.
    pub(super) async fn answer(&self, caller: Caller, body: Vec<u8>) -> Result<Vec<u8>, Refused> {
        let Ok(_place) = self.places.try_acquire() else { return Err(Refused::Busy) };
        tokio::time::timeout(LONGEST_CALL, (self.handler)(caller, body)).await.unwrap_or(Err(Refused::NotNow))
    }
}

impl Refused {
    /// All of them, with the status that carries each.
    const STATUS: [(Self, u16); 6] =
        [(Self::NotFound, 404), (Self::Invalid, 400), (Self::TooLong, 413), (Self::Busy, 429), (Self::NotNow, 503), (Self::Fault, 500)];

    /// The status of HTTP that carries it.
    pub(super) fn status(self) -> u16 {
        Self::STATUS.iter().find(|(refused, _)| *refused == self).map_or(500, |(_, status)| *status)
    }

    /// What a status other than 200 says.
    pub(super) fn of_status(status: u16) -> Self {
        Self::STATUS.iter().find(|(_, known)| *known == status).map_or(Self::Fault, |(refused, _)| *refused)
    }
}

impl fmt::Debug for Handlers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.calls.keys()).finish()
    }
}

/// Calls of one path at once.
const CALLS: usize = 128;
/// What a handler may take; callers have deadlines of their own, far below.
const LONGEST_CALL: Duration = Duration::from_secs(30);

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    fn caller() -> Caller {
        Caller { name: "a".to_owned(), incarnation: Incarnation::now(), address: "192.0.2.1:1".parse().unwrap() }
    }

    #[test]
    fn refusals_come_back_as_what_they_were() {
        for (refused, status) in Refused::STATUS {
            assert_eq!((refused.status(), Refused::of_status(status)), (status, refused));
        }
        assert_eq!(Refused::of_status(302), Refused::Fault);
    }

    #[tokio::test]
    async fn json_is_read_and_written_and_what_is_none_is_refused() {
        let mut handlers = Handlers::default();
        handlers.on_json("sum", 100, async |_, (a, b): (u8, u8)| if a == 0 { Err(Refused::NotFound) } else { Ok(a + b) });
        let call = handlers.call("sum").unwrap();
        assert_eq!(call.answer(caller(), b"[1, 2]".to_vec()).await, Ok(b"3".to_vec()));
        assert_eq!(call.answer(caller(), b"[0, 2]".to_vec()).await, Err(Refused::NotFound));
        assert_eq!(call.answer(caller(), b"[1".to_vec()).await, Err(Refused::Invalid));
        assert!(handlers.call("product").is_none());
    }

    #[tokio::test]
    async fn with_all_places_taken_a_call_is_refused_at_once() {
        let mut handlers = Handlers::default();
        let gate = Arc::new(Semaphore::new(0));
        let inside = gate.clone();
        handlers.on("slow", 10, move |_, body| {
            let gate = inside.clone();
            async move {
                let _ = gate.acquire().await;
                Ok(body)
            }
        });
        let call = handlers.call("slow").unwrap().clone();
        let running: Vec<_> = (0..CALLS)
            .map(|_| {
                let call = call.clone();
                tokio::spawn(async move { call.answer(caller(), vec![1]).await })
            })
            .collect();
        while call.places.available_permits() > 0 {
            tokio::task::yield_now().await;
        }
        assert_eq!(call.answer(caller(), vec![1]).await, Err(Refused::Busy));
        gate.add_permits(CALLS);
        for one in running {
            assert_eq!(one.await.unwrap(), Ok(vec![1]));
        }
        assert_eq!(call.answer(caller(), vec![2]).await, Ok(vec![2]));
    }
}

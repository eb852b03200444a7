//! The whole cluster asked as one: this node's own function, the same function of every other node, one deadline, one answer.
//!
//! Gets: a question. Gives: the answers, and the names of nodes that gave none; pages of lists that come from several nodes.
//! Never: fails because a node is silent; that is said in the answer.

use std::sync::Arc;
use std::time::Duration;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::Api;
use super::problems::{Problem, Refusal};
use super::shapes::List;
use crate::cluster::{Handlers, Refused};

/// Something that every node can be asked.
pub(super) trait Question: Serialize + DeserializeOwned + Clone + Send + Sync + 'static {
    /// Its path on the peer port.
    const PATH: &'static str;
    /// What a node says.
    type Answer: Serialize + DeserializeOwned + Send + 'static;

    /// What this node says.
    fn answer(self, api: Arc<Api>) -> impl Future<Output = Self::Answer> + Send;
}

/// What the nodes said.
#[derive(Clone, Debug)]
pub(super) struct Answers<A> {
    /// Of every node that answered, this one first.
    pub(super) given: Vec<A>,
    /// Those that did not.
    pub(super) silent: Vec<String>,
}

/// One entry of a list.
pub(super) trait Item: Serialize + DeserializeOwned + Send + 'static {
    /// Whether the list runs backwards.
    const NEWEST_FIRST: bool = false;
    /// What it is sorted by; unique, and the cursor behind it.
    fn key(&self) -> String;
    /// Takes in the same entry of another node.
    fn merge(&mut self, _other: Self)
    where
        Self: Sized,
    {
    }
}

/// Which part of a list.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Page {
    /// Behind the entry with this key.
    pub(super) after: Option<String>,
    /// So many at most.
    pub(super) limit: usize,
}

impl Page {
    /// The part of `items`, and whether there are more behind it.
    pub(super) fn cut<T: Item>(&self, items: Vec<T>) -> (Vec<T>, bool) {
        let mut keyed: Vec<(String, T)> = items.into_iter().map(|item| (item.key(), item)).collect();
        if let Some(after) = &self.after {
            keyed.retain(|(key, _)| if T::NEWEST_FIRST { key < after } else { key > after });
        }
        keyed.sort_by(|(a, _), (b, _)| if T::NEWEST_FIRST { b.cmp(a) } else { a.cmp(b) });
        let mut merged: Vec<(String, T)> = Vec::with_capacity(keyed.len());
        for (key, item) in keyed {
            match merged.last_mut().filter(|(last, _)| *last == key) {
                Some((_, last)) => last.merge(item),
                None => merged.push((key, item)),
            }
        }
        let more = merged.len() > self.limit;
        merged.truncate(self.limit);
        (merged.into_iter().map(|(_, item)| item).collect(), more)
    }

    /// What a node gives: one more than the page, so that the asker knows whether there are more.
    pub(super) fn share<T: Item>(&self, items: Vec<T>) -> Vec<T> {
        Self { after: self.after.clone(), limit: self.limit + 1 }.cut(items).0
    }

    /// The page of all nodes.
    pub(super) fn list<T: Item>(&self, answers: Answers<Vec<T>>) -> List<T> {
        let (items, more) = self.cut(answers.given.into_iter().flatten().collect());
        let next = items.last().map(|last| cursor(&last.key())).filter(|_| more);
        List { items, next, silent: answers.silent }
    }
}

/// A key as an opaque cursor.
pub(super) fn cursor(key: &str) -> String {
    key.bytes().map(|byte| format!("{byte:02x}")).collect()
}

/// The key in a cursor.
pub(super) fn uncursor(text: &str) -> Option<String> {
    if text.is_empty() || !text.is_ascii() || text.len() % 2 == 1 || text.len() > CURSOR {
        return None;
    }
    let bytes: Option<Vec<u8>> = text.as_bytes().chunks(2).map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()).collect();
    String::from_utf8(bytes?).ok()
}

impl Api {
    /// Asks every node.
    pub(super) async fn everywhere<Q: Question>(self: &Arc<Self>, question: Q) -> Answers<Q::Answer> {
        let mine = question.clone().answer(self.clone());
        let (mine, others) = tokio::join!(mine, self.house.cluster.ask_all_json::<Q::Answer>(Q::PATH, &question, DEADLINE));
        let mut answers = Answers { given: vec![mine], silent: Vec::new() };
        for (member, answer) in others {
            match answer {
                Ok(answer) => answers.given.push(answer),
                Err(error) => {
                    tracing::warn!(node = member.name, %error, path = Q::PATH, "a node gives no answer");
                    answers.silent.push(member.name);
                }
            }
        }
        answers.silent.sort();
        answers
    }

    /// Asks the node of this name.
    pub(super) async fn at<Q: Question>(self: &Arc<Self>, name: &str, question: Q) -> Result<Q::Answer, Refusal> {
        if name == self.node.name {
            return Ok(question.answer(self.clone()).await);
        }
        let members = self.house.cluster.members();
        let member = members.iter().find(|member| member.name == name);
        let member = member.ok_or_else(|| Refusal::because(Problem::NotFound, "no live node has this name"))?;
        let answer = self.house.cluster.ask_json(member, Q::PATH, &question, DEADLINE).await;
        answer.map_err(|error| {
            tracing::warn!(node = name, %error, path = Q::PATH, "a node gives no answer");
            Problem::Silent.into()
        })
    }
}

/// Answers this question of other nodes.
pub(super) fn answer<Q: Question>(api: &Arc<Api>, handlers: &mut Handlers) {
    let api = api.clone();
    handlers.on_json(Q::PATH, LONGEST_QUESTION, move |_, question: Q| {
        let api = api.clone();
        async move { Ok::<_, Refused>(question.answer(api).await) }
    });
}

/// Bytes of a question.
const LONGEST_QUESTION: usize = 64 * 1024;
/// For all nodes together.
pub(super) const DEADLINE: Duration = Duration::from_secs(2);
/// Longest cursor.
const CURSOR: usize = 2048;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::super::shapes::{Audit, Client, Session};
    use super::*;

    fn sessions(ids: &[&str]) -> Vec<Session> {
        ids.iter().map(|id| Session { id: (*id).to_owned(), ..Session::default() }).collect()
    }

    #[test]
    fn pages_of_several_nodes_have_every_entry_once() {
        let (one, other) = (["a", "c", "e"], ["b", "d"]);
        let mut seen = Vec::new();
        let mut page = Page { after: None, limit: 2 };
        loop {
            let given = vec![page.share(sessions(&one)), page.share(sessions(&other))];
            let list = page.list(Answers { given, silent: vec!["x".into()] });
            assert_eq!(list.silent, ["x"]);
            seen.extend(list.items.into_iter().map(|session| session.id));
            let Some(next) = list.next else { break };
            page.after = uncursor(&next);
        }
        assert_eq!(seen, ["a", "b", "c", "d", "e"]);
    }

    #[test]
    fn the_newest_come_first_where_time_is_the_order() {
        let records: Vec<Audit> = ["1", "3", "2"].iter().map(|id| Audit { id: (*id).to_owned(), ..Audit::default() }).collect();
        let (first, more) = Page { after: None, limit: 2 }.cut(records.clone());
        assert_eq!((first[0].id.as_str(), first[1].id.as_str(), more), ("3", "2", true));
        let (rest, more) = Page { after: Some("2".into()), limit: 2 }.cut(records);
        assert_eq!((rest.len(), rest[0].id.as_str(), more), (1, "1", false));
    }

    #[test]
    fn one_client_on_two_nodes_is_one_client() {
        let client = |sessions, last: &str| Client { id: "c".into(), sessions, last_seen: last.into(), ..Client::default() };
        let (merged, _) = Page { after: None, limit: 9 }.cut(vec![client(2, "2026-01-02"), client(3, "2026-01-01")]);
        assert_eq!((merged.len(), merged[0].sessions, merged[0].last_seen.as_str()), (1, 5, "2026-01-02"));
    }

    #[test]
    fn cursors_are_read_back_and_nothing_else_is() {
        assert_eq!(uncursor(&cursor("ä/1")).unwrap(), "ä/1");
        for wrong in ["x", "zz", "ff", "é", &"00".repeat(CURSOR)] {
            assert_eq!(uncursor(wrong), None, "{wrong}");
        }
    }
}

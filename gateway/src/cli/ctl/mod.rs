//! `ctl`: the admin API from the shell.
//!
//! Gets: flags, a token. Gives: tables for people, JSON or YAML for scripts, and an exit code: 0 done, 1 error, 2 usage, 3 refused, 4 unreachable.
//! Never: takes a token as an argument that other users of the host could see, or prints text of a client that could move a cursor.

mod arguments;
mod bans;
mod print;
mod table;

use std::io::IsTerminal;
use std::sync::Arc;
use std::time::Duration;

use rustls::ClientConfig;
use serde_json::Value;

pub use self::arguments::Ctl;
use self::arguments::Question;
use super::{DONE, NOT_WELL, complain, print as out};
use crate::net::http::{self, Ask, Body};

/// Where and as whom to ask.
struct Door {
    url: String,
    /// `None`: a certificate stands for it.
    token: Option<String>,
    tls: Option<Arc<ClientConfig>>,
}

/// Why there is nothing to print: words, and the exit code.
type Failure = (u8, String);

pub(super) async fn run(ctl: Ctl) -> u8 {
    match attempt(&ctl).await {
        Ok(()) => DONE,
        Err((code, words)) => {
            complain(&words);
            code
        }
    }
}

async fn attempt(ctl: &Ctl) -> Result<(), Failure> {
    let question = ctl.question()?;
    let door = Door::open(ctl)?;
    if question.stream {
        return door.follow(&question).await;
    }
    if question.raw {
        return door.copy(&question).await;
    }
    loop {
        let answer = door.ask(&question).await?;
        let failed = failed(&answer);
        let text = print::answer(&answer, &question, ctl.output);
        if ctl.watch && std::io::stdout().is_terminal() {
            // To the top, and everything below it away.
            out("\x1b[H\x1b[J");
        }
        out(&text);
        if !ctl.watch {
            return failed.map_or(Ok(()), |words| Err((NOT_WELL, words)));
        }
        tokio::time::sleep(AGAIN).await;
    }
}

/// What some nodes did not do, if there is such a thing in the answer.
fn failed(answer: &Value) -> Option<String> {
    let failed = answer.get("failed")?.as_object().filter(|failed| !failed.is_empty())?;
    Some(failed.iter().map(|(node, why)| format!("{node}: {}", why.as_str().unwrap_or_default())).collect::<Vec<_>>().join("; "))
}

impl Door {
    fn open(ctl: &Ctl) -> Result<Self, Failure> {
        let token = match (&ctl.token_file, &ctl.token) {
            (Some(file), _) => Some(std::fs::read_to_string(file).map_err(|error| (USAGE, format!("{}: cannot be read ({error})", file.display())))?),
            (None, Some(token)) => Some(token.clone()),
            (None, None) if ctl.cert.is_some() => None,
            (None, None) => {
                return Err((
                    USAGE,
                    "no token: name a file with --token-file, set FTPS_GATEWAY_ADMIN_TOKEN, or show a certificate with --cert and --key".into(),
                ));
            }
        };
        let own = ctl.cert.as_deref().zip(ctl.key.as_deref());
        let url = ctl.url.trim_end_matches('/').to_owned();
        let tls = url.starts_with("https://").then(|| http::trust(ctl.ca.as_deref(), own)).transpose().map_err(|words| (USAGE, words))?;
        Ok(Self { url, token: token.map(|token| token.trim().to_owned()), tls })
    }

    /// All pages of a list, or the one answer.
    async fn ask(&self, question: &Question) -> Result<Value, Failure> {
        let mut whole = self.once(question, None).await?;
        let mut next = whole["next"].as_str().map(str::to_owned);
        for _ in 0..PAGES {
            let Some(cursor) = next else { break };
            let mut page = self.once(question, Some(&cursor)).await?;
            next = page["next"].as_str().map(str::to_owned);
            if let (Some(items), Some(more)) = (whole["items"].as_array_mut(), page["items"].as_array_mut()) {
                items.append(more);
            }
            whole["next"] = page["next"].take();
        }
        Ok(whole)
    }

    async fn once(&self, question: &Question, cursor: Option<&str>) -> Result<Value, Failure> {
        let url = format!("{}/api/v1{}", self.url, question.target(cursor));
        let body = question.body.as_ref().map(|body| Body::json(body.to_string()));
        let ask = Ask { method: question.method, url: &url, token: self.token.as_deref(), body, tls: self.tls.clone(), ..Ask::default() };
        let (status, body) = http::send(&ask, DEADLINE).await.map_err(|error| (UNREACHABLE, error.to_string()))?;
        let answer: Value = serde_json::from_slice(&body).unwrap_or(Value::Null);
        if (200..300).contains(&status) { Ok(answer) } else { Err(refusal(status, &answer)) }
    }

    /// Prints an answer that may be long as it is.
    async fn copy(&self, question: &Question) -> Result<(), Failure> {
        let mut whole = Vec::new();
        match self.stream(question, |chunk| whole.extend_from_slice(chunk)).await? {
            (200, _) => out(&String::from_utf8_lossy(&whole)),
            (status, body) => return Err(refusal(status, &serde_json::from_slice(&body).unwrap_or(Value::Null))),
        }
        Ok(())
    }

    async fn stream(&self, question: &Question, take: impl FnMut(&[u8])) -> Result<(u16, Vec<u8>), Failure> {
        let url = format!("{}/api/v1{}", self.url, question.target(None));
        let ask = Ask { method: question.method, url: &url, token: self.token.as_deref(), tls: self.tls.clone(), ..Ask::default() };
        http::follow(&ask, DEADLINE, take).await.map_err(|error| (UNREACHABLE, error.to_string()))
    }

    /// Prints a stream of events until somebody ends it.
    async fn follow(&self, question: &Question) -> Result<(), Failure> {
        let mut kept = String::new();
        let take = |chunk: &[u8]| {
            kept.push_str(&String::from_utf8_lossy(chunk));
            while let Some((line, rest)) = kept.split_once('\n') {
                if let Some(object) = line.strip_prefix("data: ") {
                    out(&format!("{object}\n"));
                }
                kept = rest.to_owned();
            }
        };
        match self.stream(question, take).await? {
            (200, _) => Ok(()),
            (status, body) => Err(refusal(status, &serde_json::from_slice(&body).unwrap_or(Value::Null))),
        }
    }
}

/// A problem document in words.
fn refusal(status: u16, problem: &Value) -> Failure {
    let mut words = vec![problem["title"].as_str().map_or_else(|| format!("the node answers {status}"), str::to_owned)];
    words.extend(problem["detail"].as_str().map(str::to_owned));
    for error in problem["errors"].as_array().into_iter().flatten() {
        words.push(format!("{}: {}", error["pointer"].as_str().unwrap_or_default(), error["detail"].as_str().unwrap_or_default()));
    }
    let code = if matches!(status, 401 | 403 | 421 | 429) { REFUSED } else { NOT_WELL };
    (code, words.join("\n  "))
}

/// EX_USAGE of everything else is 64; here it is what `kubectl` and its like say.
pub(super) const USAGE: u8 = 2;
const REFUSED: u8 = 3;
const UNREACHABLE: u8 = 4;
/// Longer than the node waits for other nodes.
const DEADLINE: Duration = Duration::from_secs(15);
/// How often `--watch` looks.
const AGAIN: Duration = Duration::from_secs(2);
/// Pages of a thousand.
const PAGES: usize = 100;

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_problem_is_told_in_words_with_its_exit_code() {
        let (code, words) = refusal(403, &json!({ "title": "No scope", "detail": "Ask for it" }));
        assert_eq!((code, words.as_str()), (REFUSED, "No scope\n  Ask for it"));
        let (code, words) = refusal(400, &json!({ "title": "Invalid", "errors": [{ "pointer": "/default", "detail": "is wrong" }] }));
        assert_eq!((code, words.as_str()), (NOT_WELL, "Invalid\n  /default: is wrong"));
        assert_eq!(refusal(502, &Value::Null).1, "the node answers 502");
    }

    #[test]
    fn what_some_nodes_did_not_do_is_an_error() {
        assert_eq!(failed(&json!({ "nodes": ["a"], "failed": {} })), None);
        assert_eq!(failed(&json!({ "failed": { "b": "why" } })).as_deref(), Some("b: why"));
    }
}

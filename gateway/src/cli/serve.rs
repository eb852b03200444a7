//! `serve`: a configuration, or the quick start, becomes a running node.
//!
//! Gets: a file or flags. Gives: the node's life as an exit code. Never: builds the node; `node` does.

use std::path::PathBuf;
use std::sync::Arc;

use super::{DONE, FAULT, Serve, UNAVAILABLE, USAGE, complain, quick};
use crate::config;
use crate::node::{self, Plan};

pub(super) async fn run(flags: Serve) -> u8 {
    let started = match flags.config {
        Some(file) => from_file(file),
        None => quick::plan(&flags.quick),
    };
    let (plan, explain) = match started {
        Ok(started) => started,
        Err((code, message)) => {
            complain(&message);
            return code;
        }
    };
    match node::serve(plan).await {
        Ok(()) => DONE,
        Err(error) => {
            complain(&explain(&error));
            match error {
                node::Error::Listen { .. } => UNAVAILABLE,
                node::Error::Configuration(_) => USAGE,
                node::Error::Fault(_) => FAULT,
            }
        }
    }
}

/// How an error of the node is told to the person who started it.
pub(super) type Explain = Box<dyn Fn(&node::Error) -> String>;
/// What to run, or exit code and words.
pub(super) type Started = Result<(Plan, Explain), (u8, String)>;

fn from_file(file: PathBuf) -> Started {
    let loaded = config::load(&file).map_err(|problems| (USAGE, format!("the configuration is not valid\n{problems}")))?;
    let tokens = config::load_tokens(loaded.config.admin.tokens_file.as_deref()).map_err(|problems| {
        let words = problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n");
        (USAGE, format!("the tokens file is not valid\n{words}"))
    })?;
    let (users, broken) = config::load_users(&loaded.config.auth);
    let plan = Plan {
        config: loaded.config,
        hash: loaded.hash,
        source: Some(file),
        marks: loaded.marks,
        tokens,
        settings: loaded.settings,
        users: Arc::new(users),
        broken_users: broken,
        banner: None,
    };
    Ok((plan, Box::new(ToString::to_string)))
}

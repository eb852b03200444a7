//! `check-config`: everything that is wrong with a configuration and its users files.
//!
//! Gets: a file. Gives: `FILE is valid`, or every problem and their count. Never: starts anything.

use std::path::Path;

use super::{DONE, USAGE, print};
use crate::config;

pub(super) fn run(file: &Path) -> u8 {
    match config::check(file) {
        None => {
            print(&format!("{} is valid\n", file.display()));
            DONE
        }
        Some(problems) => {
            print(&format!("{problems}\n"));
            USAGE
        }
    }
}

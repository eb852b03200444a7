//! What tells one reading of a configuration from the next, key by key.
//!
//! Gets: each value as it is read. Gives: the keys whose values differ between two readings, and with them when each change acts.
//! Never: keeps a value (some are secrets), only a hash of it that lives as long as the process.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::hash::{DefaultHasher, Hash, Hasher};

use super::keys::{self, Acts, Key};

/// One mark for each key.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Marks(BTreeMap<&'static str, u64>);

impl Marks {
    /// Remembers the value of a key.
    pub(super) fn note(&mut self, key: &'static str, value: &impl Debug) {
        let mut hasher = DefaultHasher::new();
        format!("{value:?}").hash(&mut hasher);
        self.0.insert(key, hasher.finish());
    }

    /// The keys whose values in `new` are others, in the order of the alphabet.
    pub fn changed(&self, new: &Self) -> Vec<&'static Key> {
        new.0.iter().filter(|(key, mark)| self.0.get(*key) != Some(mark)).filter_map(|(key, _)| keys::row(key)).collect()
    }

    /// Takes over what acts without a restart; what does not stays as it is in force.
    pub fn take(&mut self, new: &Self) {
        for (key, mark) in &new.0 {
            if keys::row(key).is_some_and(|row| row.acts != Acts::Restart) {
                self.0.insert(key, *mark);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_waits_for_a_restart_is_said_until_it_is_taken_back() {
        let marks = |name: &str, idle: u32| {
            let mut marks = Marks::default();
            marks.note("node.name", &name);
            marks.note("limits.idle_timeout", &idle);
            marks
        };
        let names = |keys: Vec<&'static Key>| keys.into_iter().map(|key| key.name).collect::<Vec<_>>();
        let mut running = marks("a", 1);
        assert_eq!(names(running.changed(&marks("b", 2))), ["limits.idle_timeout", "node.name"]);
        running.take(&marks("b", 2));
        assert_eq!(names(running.changed(&marks("b", 2))), ["node.name"]);
        assert_eq!(names(running.changed(&marks("a", 2))), Vec::<&str>::new());
    }
}

//! What digests are allowed: by the configuration, and by its rules for paths, users and classes.
//!
//! Gets: `digests` and who asks for what. Gives: which algorithms, up to which size. Never: looks at a file.

use std::time::Duration;

use ftps_proto::digest::{Algorithm, Algorithms, Offer};
use ftps_proto::path::VirtualPath;

/// `digests:`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// `digests.enabled`.
    pub enabled: bool,
    /// `digests.algorithms`.
    pub algorithms: Algorithms,
    /// `digests.default`: what HASH uses.
    pub preferred: Algorithm,
    /// `digests.max_size`: most bytes that one digest is of.
    pub max_size: u64,
    /// `digests.cache`.
    pub cache: CacheConfig,
    /// `digests.at_upload`.
    pub at_upload: Algorithms,
    /// `digests.at_download`.
    pub at_download: Algorithms,
    /// `digests.jobs`: `None` is half of the cores, at least one.
    pub jobs: Option<usize>,
    /// `digests.rules`: each that fits acts, a later one over an earlier.
    pub rules: Vec<Rule>,
}

/// `digests.cache`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CacheConfig {
    /// How many are remembered; 0: none, on no node.
    pub entries: usize,
    /// For how long from when they were computed.
    pub max_age: Duration,
}

/// One rule: whom and what it is about, and what then holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rule {
    /// This path from the storage's root, and all below it.
    pub path: Option<VirtualPath>,
    /// This user.
    pub user: Option<String>,
    /// Users of this class.
    pub class: Option<String>,
    /// Over `digests.enabled`.
    pub enabled: Option<bool>,
    /// Over `digests.algorithms`.
    pub algorithms: Option<Algorithms>,
    /// Over `digests.max_size`.
    pub max_size: Option<u64>,
}

/// Who asks.
#[derive(Clone, Copy, Debug, Default)]
pub struct Who<'a> {
    /// The user's name; `None` before the login.
    pub user: Option<&'a str>,
    /// The user's class.
    pub class: Option<&'a str>,
}

/// What holds for one path and user.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Allowed {
    /// None when digests are off.
    pub algorithms: Algorithms,
    /// Most bytes that one digest is of.
    pub max_size: u64,
}

impl Config {
    /// What a session is offered, wherever its files are.
    pub fn offer(&self, who: Who<'_>) -> Offer {
        Offer { algorithms: self.verdict(who, None).algorithms, preferred: Some(self.preferred) }
    }

    /// What holds for this path from the storage's root.
    pub(super) fn verdict(&self, who: Who<'_>, path: Option<&VirtualPath>) -> Allowed {
        let (mut enabled, mut algorithms, mut max_size) = (self.enabled, self.algorithms, self.max_size);
        for rule in self.rules.iter().filter(|rule| rule.fits(who, path)) {
            enabled = rule.enabled.unwrap_or(enabled);
            algorithms = rule.algorithms.unwrap_or(algorithms);
            max_size = rule.max_size.unwrap_or(max_size);
        }
        Allowed { algorithms: if enabled { algorithms } else { Algorithms::NONE }, max_size }
    }

    /// Threads that compute.
    pub(super) fn threads(&self) -> usize {
        let half = || std::thread::available_parallelism().map_or(1, |cores| (cores.get() / 2).max(1));
        self.jobs.unwrap_or_else(half)
    }
}

impl Rule {
    fn fits(&self, who: Who<'_>, path: Option<&VirtualPath>) -> bool {
        let is = |wanted: &Option<String>, given: Option<&str>| wanted.as_deref().is_none_or(|wanted| given == Some(wanted));
        let below = self.path.as_ref().is_none_or(|above| path.is_some_and(|path| path.starts_with(above)));
        is(&self.user, who.user) && is(&self.class, who.class) && below
    }
}

#[cfg(test)]
pub(super) mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use ftps_proto::path::WirePath;

    use super::*;

    pub(in crate::digest) fn config() -> Config {
        Config {
            enabled: true,
            algorithms: Algorithms::ALL,
            preferred: Algorithm::Sha256,
            max_size: 10 << 30,
            cache: CacheConfig { entries: 100, max_age: Duration::from_secs(3600) },
            at_upload: Algorithms::NONE.with(Algorithm::Sha256),
            at_download: Algorithms::NONE,
            jobs: Some(1),
            rules: Vec::new(),
        }
    }

    pub(in crate::digest) fn path(text: &str) -> VirtualPath {
        VirtualPath::root().resolve(&WirePath::new(text.as_bytes()).unwrap()).unwrap()
    }

    #[test]
    fn later_rules_win_and_paths_are_whole_names() {
        let mut config = config();
        config.rules = vec![
            Rule { path: Some(path("/nfs")), enabled: Some(false), ..Rule::default() },
            Rule { path: Some(path("/nfs/fast")), enabled: Some(true), max_size: Some(5), ..Rule::default() },
            Rule { class: Some("robots".into()), algorithms: Some(Algorithms::NONE.with(Algorithm::Crc32)), ..Rule::default() },
            Rule { user: Some("eve".into()), enabled: Some(false), ..Rule::default() },
        ];
        let bob = Who { user: Some("bob"), class: None };
        let of = |who, at: &str| config.verdict(who, Some(&path(at)));
        assert_eq!(of(bob, "/nfs/x").algorithms, Algorithms::NONE);
        assert_eq!(of(bob, "/nfsx"), Allowed { algorithms: Algorithms::ALL, max_size: 10 << 30 });
        assert_eq!(of(bob, "/nfs/fast/x"), Allowed { algorithms: Algorithms::ALL, max_size: 5 });
        let robot = Who { user: Some("r2"), class: Some("robots") };
        assert_eq!(config.offer(robot).algorithms, Algorithms::NONE.with(Algorithm::Crc32));
        assert_eq!(config.offer(bob).algorithms, Algorithms::ALL, "a rule about a path says nothing about the session");
        assert_eq!(config.offer(Who { user: Some("eve"), class: Some("robots") }).first(), None);
        config.enabled = false;
        assert_eq!(config.offer(Who::default()).first(), None);
    }
}

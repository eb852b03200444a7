//! LIST, NLST, MLSD and STAT as lines: entries come from storage in pieces and leave as text, so that memory stays flat.
//!
//! Gets: a directory or one entry, a pattern, a form. Gives: text of about 32 KiB at a time.
//! Never: holds a whole directory; shows a name with control bytes.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use ftps_proto::command::ListArguments;
use ftps_proto::glob;
use ftps_proto::listing::{self, Entry, EntryKind};
use ftps_proto::machine::io::{FileError, ListForm, Outcome, Permissions};
use ftps_proto::path::VirtualPath;
use ftps_proto::time::Timestamp;

use super::Carried;
use super::login::Admittance;
use super::work::Work;
use crate::storage::{Detail, Listing, Tree};

/// The lines of one listing, to come.
#[derive(Debug)]
pub(super) struct Lines {
    listing: Option<Listing>,
    single: Option<Entry>,
    pattern: Option<Vec<u8>>,
    form: ListForm,
    all: bool,
    permissions: Permissions,
    now: Timestamp,
    entries: Vec<Entry>,
    /// Names looked at, and until when, for a pattern.
    budget: Option<(usize, Instant)>,
}

/// What a listing asks for.
#[derive(Debug)]
pub(super) struct Wanted {
    pub(super) path: VirtualPath,
    pub(super) pattern: Option<Vec<u8>>,
    pub(super) form: ListForm,
    pub(super) arguments: ListArguments,
    pub(super) permissions: Permissions,
}

impl Lines {
    /// Looks at the path: a directory is listed, a file (or a directory with `-d`) is one line.
    pub(super) fn open(tree: &Arc<Tree>, wanted: Wanted) -> Result<Self, FileError> {
        let Wanted { path, pattern, form, arguments, permissions } = wanted;
        let long_names = matches!(form, ListForm::Names) && arguments.long;
        let form = if long_names { ListForm::Long } else { form };
        let entry = tree.entry(&path)?;
        let directory = entry.kind == EntryKind::Directory;
        if matches!(form, ListForm::Facts(_)) && !directory {
            // RFC 3659 §7.2.1: MLSD is about directories.
            return Err(FileError::NotADirectory);
        }
        let opens = directory && !arguments.directory_itself;
        let detail = if matches!(form, ListForm::Names) { Detail::Names } else { Detail::Facts };
        let listing = if opens { Some(tree.list(&path, detail)?) } else { None };
        let single = match &listing {
            None => Some(Entry { name: named(&path), ..entry }),
            // RFC 3659 §7.5.1.1: `type=cdir` first, when facts are listed.
            Some(listing) if matches!(form, ListForm::Facts(_)) => Some(Entry { name: b".".to_vec(), ..listing.current()? }),
            Some(_) => None,
        };
        // What is asked for by its name is shown, also with a leading dot, as ls does.
        let asked_for = single.is_some() || pattern.as_ref().is_some_and(|pattern| pattern.starts_with(b"."));
        let all = asked_for || shows_all(form, &arguments);
        let budget = pattern.is_some().then(|| (GLOB_NAMES, Instant::now() + GLOB_TIME));
        Ok(Self { listing, single, pattern, form, all, permissions, now: now(), entries: Vec::new(), budget })
    }

    /// Appends about `most` bytes of lines; false at the end.
    pub(super) fn fill(&mut self, most: usize, out: &mut Vec<u8>) -> Result<bool, FileError> {
        if let Some(entry) = self.single.take() {
            self.write(&entry, out);
        }
        let Some(mut listing) = self.listing.take() else { return Ok(false) };
        let mut entries = std::mem::take(&mut self.entries);
        let mut more = true;
        while more && out.len() < most {
            entries.clear();
            more = listing.next(AT_A_TIME, &mut entries)?;
            for entry in &entries {
                self.write(entry, out);
            }
            more &= self.affords(entries.len());
        }
        self.entries = entries;
        self.listing = more.then_some(listing);
        Ok(more)
    }

    fn write(&self, entry: &Entry, out: &mut Vec<u8>) {
        if !self.all && entry.name.starts_with(b".") {
            return;
        }
        if self.pattern.as_ref().is_some_and(|pattern| !glob::matches(pattern, &entry.name)) {
            return;
        }
        // A name with control bytes could forge a line; it is left out.
        let _shown = match self.form {
            ListForm::Long => listing::write_long(entry, self.now, out),
            ListForm::Names => listing::write_name(&entry.name, out),
            ListForm::Facts(set) => listing::write_facts(entry, set, self.permissions, out),
        };
    }

    /// Whether a pattern may look at more names (glob bombs: CVE-2010-2632 and the like).
    fn affords(&mut self, looked_at: usize) -> bool {
        let Some((names, until)) = &mut self.budget else { return true };
        *names = names.saturating_sub(looked_at);
        *names > 0 && Instant::now() < *until
    }
}

/// The lines of `STAT path`: at most 1,000 entries, since they go over the control connection.
pub(super) fn on_control(tree: &Arc<Tree>, path: &VirtualPath) -> Result<Vec<Vec<u8>>, FileError> {
    let arguments = ListArguments { all: true, ..ListArguments::default() };
    let wanted = Wanted { path: path.clone(), pattern: None, form: ListForm::Long, arguments, permissions: Permissions::default() };
    let mut lines = Lines::open(tree, wanted)?;
    let mut text = Vec::new();
    while lines.fill(STAT_BYTES, &mut text)? && text.len() < STAT_BYTES {}
    Ok(text
        .split(|byte| *byte == b'\n')
        .map(|line| line.strip_suffix(b"\r").unwrap_or(line))
        .filter(|line| !line.is_empty())
        .take(1000)
        .map(<[u8]>::to_vec)
        .collect())
}

/// SITE WHO: the sessions of the user who asks.
pub(super) fn who(carried: &Carried, account: Option<&Admittance>) -> Work {
    let own = account.map(|account| account.user.name.to_string()).unwrap_or_default();
    let mine = carried.house.live.entries().into_iter().filter(|entry| entry.user().as_deref() == Some(own.as_str()));
    let node = carried.house.cluster.me().name;
    let line = |entry: Arc<crate::live::Entry>| {
        let state = if entry.is_transferring() { "transfer" } else { "idle" };
        format!("{} {} {} {}s {node}", entry.id, entry.peer.ip(), state, entry.since.elapsed().as_secs()).into_bytes()
    };
    let lines: Vec<Vec<u8>> = mine.take(100).map(line).collect();
    Work::Job(Box::pin(async move { Outcome::Lines(lines).into() }))
}

/// MLSD and NLST show every name; LIST hides leading dots unless asked, as ls does.
fn shows_all(form: ListForm, arguments: &ListArguments) -> bool {
    match form {
        ListForm::Facts(_) => true,
        ListForm::Long | ListForm::Names => arguments.all || !matches!(form, ListForm::Long),
    }
}

fn named(path: &VirtualPath) -> Vec<u8> {
    path.name().unwrap_or(b"/").to_vec()
}

fn now() -> Timestamp {
    let age = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp { seconds: i64::try_from(age.as_secs()).unwrap_or(i64::MAX), nanos: age.subsec_nanos() }
}

/// Entries read at a time.
const AT_A_TIME: usize = 256;
/// Names a pattern may look at, and for how long.
const GLOB_NAMES: usize = 100_000;
const GLOB_TIME: Duration = Duration::from_secs(2);
/// About 1,000 lines.
const STAT_BYTES: usize = 128 * 1024;

//! How much memory this process may have.
//!
//! Gets: what the kernel says about the host and the control group. Gives: the smallest bound. Never: looks again; it is asked once, at start.

use std::path::Path;

/// Bytes that the process may take before the kernel kills it: the host's memory, or less by its control group (v2 or v1). `None` where /proc is not there.
pub(super) fn bound() -> Option<u64> {
    let read = |path: &Path| std::fs::read_to_string(path).ok();
    let host = read(Path::new("/proc/meminfo")).and_then(|text| total(&text));
    let group = read(Path::new("/proc/self/cgroup")).unwrap_or_default();
    let limits = limit_files(&group).into_iter().filter_map(|path| read(Path::new(&path))?.trim().parse().ok());
    limits.chain(host).min()
}

/// `MemTotal:` of /proc/meminfo.
fn total(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}

/// The files that may hold a bound: of the group and of all groups around it. `max` in them is none.
fn limit_files(cgroup: &str) -> Vec<String> {
    let mut files = Vec::new();
    for line in cgroup.lines() {
        let mut parts = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(group)) = (parts.next(), parts.next()) else { continue };
        let (base, file) = match controllers {
            "" => ("/sys/fs/cgroup", "memory.max"),
            controllers if controllers.split(',').any(|name| name == "memory") => ("/sys/fs/cgroup/memory", "memory.limit_in_bytes"),
            _ => continue,
        };
        files.extend(Path::new(group).ancestors().map(|group| format!("{base}{}/{file}", group.display().to_string().trim_end_matches('/'))));
    }
    files
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    #[test]
    fn this_process_has_a_bound() {
        assert!(bound().is_some_and(|bytes| bytes > 16 << 20));
        assert_eq!(total("MemFree: 1 kB\nMemTotal:       16384 kB\n"), Some(16 << 20));
        assert_eq!(total("MemTotal: many\n"), None);
    }

    #[test]
    fn a_group_is_bounded_by_all_around_it() {
        assert_eq!(
            limit_files("0::/kubepods/pod1\n"),
            ["/sys/fs/cgroup/kubepods/pod1/memory.max", "/sys/fs/cgroup/kubepods/memory.max", "/sys/fs/cgroup/memory.max"]
        );
        assert_eq!(limit_files("3:cpu:/a\n2:memory:/\n"), ["/sys/fs/cgroup/memory/memory.limit_in_bytes"]);
        assert!(limit_files("nothing\n").is_empty());
    }
}

//! Memory limits of this process's control groups, cgroups(7).

use std::fs;
use std::path::{Path, PathBuf};

/// The files that list the groups of this process, and where they are mounted.
const GROUPS: &str = "/proc/self/cgroup";
const MOUNTS: &str = "/proc/self/mountinfo";

/// A limit of a control group, and the file that holds it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CgroupLimit {
    /// The limit, in the unit of its file.
    pub max: u64,
    /// The file.
    pub file: PathBuf,
}

/// Finds the lowest memory limit, in bytes, of the process's group and its ancestors. `None` if none of them has a
/// limit.
pub fn memory() -> Option<CgroupLimit> {
    // memory.high does not refuse memory, but throttles a group until it barely runs.
    let second = lowest("cgroup2", "", &["memory.max", "memory.high"]);
    let first = lowest("cgroup", "memory", &["memory.limit_in_bytes"]);
    second.into_iter().chain(first).min_by_key(|bound| bound.max)
}

/// Returns how many bytes of memory the groups have left. `None` if none of them has a limit. The page cache counts as
/// free, because the kernel can reclaim it.
pub fn available() -> Option<u64> {
    let bounds = bounds("cgroup2", "", &["memory.max", "memory.high"]);
    let second = bounds.into_iter().flatten().map(|bound| left(&bound, "memory.current", ""));
    let bounds = self::bounds("cgroup", "memory", &["memory.limit_in_bytes"]);
    let first = bounds.into_iter().flatten().map(|bound| left(&bound, "memory.usage_in_bytes", "total_"));
    second.chain(first).min()
}

/// Returns how much of a limit is left. `used` names the file with the group's use, `prefix` the prefix in
/// memory.stat.
fn left(bound: &CgroupLimit, used: &str, prefix: &str) -> u64 {
    let read = |file: &str| fs::read_to_string(bound.file.with_file_name(file)).unwrap_or_default();
    let used = read(used).trim().parse().unwrap_or(0);
    let kept: u64 = read("memory.stat")
        .lines()
        .filter_map(|line| line.strip_prefix(prefix)?.split_once(' '))
        .filter(|(name, _)| matches!(*name, "active_file" | "inactive_file"))
        .filter_map(|(_, bytes)| bytes.parse::<u64>().ok())
        .sum();
    bound.max.saturating_sub(u64::saturating_sub(used, kept))
}

fn lowest(kind: &str, controller: &str, files: &[&str]) -> Option<CgroupLimit> {
    bounds(kind, controller, files)?.into_iter().min_by_key(|bound| bound.max)
}

fn bounds(kind: &str, controller: &str, files: &[&str]) -> Option<Vec<CgroupLimit>> {
    let (groups, mounts) = (fs::read_to_string(GROUPS).ok()?, fs::read_to_string(MOUNTS).ok()?);
    let directories = directories(&groups, &mounts, kind, controller)?;
    let bound = |file: PathBuf| {
        let text = fs::read_to_string(&file).ok()?;
        // Version 2 writes `max` for no limit, version 1 a number beyond any memory.
        let max = text.trim().parse().ok().filter(|max| *max < 1 << 60)?;
        Some(CgroupLimit { max, file })
    };
    let files = directories.iter().flat_map(|directory| files.iter().map(|file| directory.join(file)));
    Some(files.filter_map(bound).collect())
}

/// Lists the visible directories of the process's group and its ancestors, in the hierarchy of this kind.
fn directories(groups: &str, mounts: &str, kind: &str, controller: &str) -> Option<Vec<PathBuf>> {
    let own = groups.lines().find_map(|line| {
        let mut parts = line.splitn(3, ':').skip(1);
        let controllers = parts.next()?;
        let found = controllers == controller || controllers.split(',').any(|one| one == controller);
        parts.next().filter(|_| found)
    })?;
    let (root, point) = mounts.lines().find_map(|line| {
        // proc_pid_mountinfo(5): the fourth and fifth words are root and mount point. After ` - ` follow the type, the
        // source and the options of the file system.
        let (words, behind) = line.split_once(" - ")?;
        let mut words = words.split(' ').skip(3);
        let mut behind = behind.split(' ');
        let of_kind = behind.next()? == kind;
        let options = behind.nth(1)?;
        let here = of_kind && (controller.is_empty() || options.split(',').any(|one| one == controller));
        here.then_some((words.next()?, words.next()?))
    })?;
    // The mount may show only a part of the hierarchy, as in a container; groups outside it are not visible.
    let below = Path::new(own).strip_prefix(root).unwrap_or(Path::new(""));
    let whole = Path::new(point).components().chain(below.components()).collect::<PathBuf>();
    Some(whole.ancestors().take_while(|path| path.starts_with(point)).map(Path::to_owned).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_group_uses_is_not_left_and_what_the_kernel_keeps_of_files_is() {
        let dir = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| fs::write(dir.path().join(name), text).unwrap();
        let bound = CgroupLimit { max: 4 << 30, file: dir.path().join("memory.max") };
        assert_eq!(left(&bound, "memory.current", ""), 4 << 30);

        write("memory.current", &format!("{}\n", 3_u64 << 30));
        write(
            "memory.stat",
            "anon 5\nfile 1073741824\ninactive_file 1073741824\nactive_file 0\ntotal_inactive_file 7\n",
        );

        assert_eq!(left(&bound, "memory.current", ""), 2 << 30);
        assert_eq!(left(&bound, "memory.current", "total_"), (1 << 30) + 7);
        assert_eq!(left(&CgroupLimit { max: 1 << 30, ..bound }, "memory.current", ""), 0);
    }

    fn found(groups: &str, mounts: &str, kind: &str, controller: &str) -> Vec<String> {
        let directories = directories(groups, mounts, kind, controller).unwrap_or_default();
        directories.iter().map(|path| path.display().to_string()).collect()
    }

    const BOTH: &str = "30 24 0:26 / /sys/fs/cgroup/unified rw,nosuid - cgroup2 cgroup2 rw,nsdelegate\n\
        33 24 0:29 / /sys/fs/cgroup/memory rw,nosuid - cgroup cgroup rw,memory\n";

    #[test]
    fn the_group_and_those_above_it_are_found_in_either_version() {
        let groups = "4:memory:/system.slice/p.service\n1:name=systemd:/x\n0::/system.slice/p.service\n";

        assert_eq!(
            found(groups, BOTH, "cgroup2", ""),
            [
                "/sys/fs/cgroup/unified/system.slice/p.service",
                "/sys/fs/cgroup/unified/system.slice",
                "/sys/fs/cgroup/unified"
            ]
        );
        assert_eq!(
            found(groups, BOTH, "cgroup", "memory")[0],
            "/sys/fs/cgroup/memory/system.slice/p.service"
        );
        assert!(found("0::/\n", BOTH, "cgroup", "memory").is_empty());
    }

    #[test]
    fn a_container_sees_its_own_part_of_the_hierarchy() {
        let mounts = "33 24 0:29 /docker/abc /sys/fs/cgroup/memory ro - cgroup cgroup rw,memory\n";

        assert_eq!(
            found("4:memory:/docker/abc/inner\n", mounts, "cgroup", "memory"),
            ["/sys/fs/cgroup/memory/inner", "/sys/fs/cgroup/memory"]
        );
        assert_eq!(found("4:memory:/elsewhere\n", mounts, "cgroup", "memory"), ["/sys/fs/cgroup/memory"]);
    }
}

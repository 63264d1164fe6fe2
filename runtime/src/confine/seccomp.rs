//! System calls that a process gives up (seccomp).

use std::collections::BTreeMap;

use anyhow::{Context as _, Result};
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
    apply_filter, sock_filter,
};

/// A set of system calls to give up.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SyscallSet {
    /// Calls that the daemon does not need: to change the kernel, mounts, clock or users, to inspect other processes,
    /// and calls with a history of kernel vulnerabilities.
    Daemon,
    /// The same, and calls for sockets, other programs and other processes.
    Compiler,
}

/// Calls that fail with EPERM.
///
/// A deny list, not an allow list: the C library, the allocator and wasmtime change the calls they use between
/// versions. A call missing from an allow list would fail on some hosts only. openat2, memfd_create and
/// process_madvise are not denied: mounts and compiled code depend on them.
#[rustfmt::skip]
const DAEMON: &[i64] = &[
    // The kernel itself, its modules and its clock.
    libc::SYS_init_module, libc::SYS_finit_module, libc::SYS_delete_module, libc::SYS_kexec_load,
    libc::SYS_reboot, libc::SYS_syslog, libc::SYS_acct, libc::SYS_swapon, libc::SYS_swapoff,
    libc::SYS_sethostname, libc::SYS_setdomainname, libc::SYS_settimeofday, libc::SYS_clock_settime,
    libc::SYS_clock_adjtime, libc::SYS_adjtimex, libc::SYS_quotactl, libc::SYS_nfsservctl,
    libc::SYS_lookup_dcookie, libc::SYS_vhangup,
    // Mounts and namespaces.
    libc::SYS_mount, libc::SYS_umount2, libc::SYS_pivot_root, libc::SYS_chroot, libc::SYS_unshare,
    libc::SYS_setns, libc::SYS_open_tree, libc::SYS_move_mount, libc::SYS_fsopen, libc::SYS_fsconfig,
    libc::SYS_fsmount, libc::SYS_fspick, libc::SYS_mount_setattr, libc::SYS_name_to_handle_at,
    libc::SYS_open_by_handle_at, libc::SYS_mknodat, libc::SYS_fanotify_init, libc::SYS_fanotify_mark,
    // Other processes and their memory.
    libc::SYS_ptrace, libc::SYS_process_vm_readv, libc::SYS_process_vm_writev, libc::SYS_kcmp,
    libc::SYS_pidfd_getfd, libc::SYS_move_pages, libc::SYS_migrate_pages, libc::SYS_perf_event_open,
    // Other users.
    libc::SYS_setuid, libc::SYS_setgid, libc::SYS_setreuid, libc::SYS_setregid, libc::SYS_setresuid,
    libc::SYS_setresgid, libc::SYS_setfsuid, libc::SYS_setfsgid, libc::SYS_setgroups,
    // Large kernel interfaces that the daemon does not use.
    libc::SYS_bpf, libc::SYS_userfaultfd, libc::SYS_io_uring_setup, libc::SYS_io_uring_enter,
    libc::SYS_io_uring_register, libc::SYS_add_key, libc::SYS_request_key, libc::SYS_keyctl,
    libc::SYS_personality, libc::SYS_memfd_secret,
    #[cfg(target_arch = "x86_64")] libc::SYS_mknod,
    #[cfg(target_arch = "x86_64")] libc::SYS_iopl,
    #[cfg(target_arch = "x86_64")] libc::SYS_ioperm,
    #[cfg(target_arch = "x86_64")] libc::SYS_modify_ldt,
    #[cfg(target_arch = "x86_64")] libc::SYS_uselib,
    #[cfg(target_arch = "x86_64")] libc::SYS_ustat,
    #[cfg(target_arch = "x86_64")] libc::SYS_sysfs,
    #[cfg(target_arch = "x86_64")] libc::SYS_kexec_file_load,
];

/// Calls that a compiling child process does not need either.
#[rustfmt::skip]
const COMPILER: &[i64] = &[
    libc::SYS_socket, libc::SYS_socketpair, libc::SYS_connect, libc::SYS_bind, libc::SYS_listen,
    libc::SYS_accept, libc::SYS_accept4, libc::SYS_sendto, libc::SYS_sendmsg, libc::SYS_sendmmsg,
    libc::SYS_execve, libc::SYS_execveat, libc::SYS_unlinkat, libc::SYS_renameat2, libc::SYS_linkat,
    libc::SYS_symlinkat, libc::SYS_mkdirat, libc::SYS_fchmodat, libc::SYS_fchownat, libc::SYS_fchmod,
    libc::SYS_fchown, libc::SYS_pidfd_open, libc::SYS_pidfd_send_signal, libc::SYS_inotify_init1,
];

/// Gives up system calls, and returns their number.
///
/// # Errors
/// The kernel has no seccomp, or the filter does not support this processor.
pub fn refuse(calls: SyscallSet) -> Result<usize> {
    let refused: &[&[i64]] = match calls {
        SyscallSet::Daemon => &[DAEMON],
        SyscallSet::Compiler => &[DAEMON, COMPILER],
    };
    let mut rules: BTreeMap<i64, Vec<SeccompRule>> =
        refused.iter().copied().flatten().map(|call| (*call, Vec::new())).collect();
    let count = rules.len();
    rules.insert(libc::SYS_clone, vec![in_a_new_user_namespace()?]);
    apply(rules, libc::EPERM)?;
    // The flags of clone3 lie in memory, which a filter cannot read. On ENOSYS, C libraries assume an old kernel and
    // use clone(2).
    apply(BTreeMap::from([(libc::SYS_clone3, Vec::new())]), libc::ENOSYS)?;
    #[cfg(target_arch = "x86_64")]
    refuse_x32()?;
    Ok(count)
}

/// Refuses all calls under x32 numbers. They are the same calls under other numbers, and a filter sees the same
/// architecture for them.
#[cfg(target_arch = "x86_64")]
fn refuse_x32() -> Result<()> {
    // The kernel's asm/unistd.h: __X32_SYSCALL_BIT. No native number is as high.
    const X32: u32 = 0x4000_0000;
    let step = |code: u32, jt, jf, k| sock_filter { code: code as u16, jt, jf, k };
    // bpf(4) and seccomp(2): the call number is the first word of a filter's input.
    let program = [
        step(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0, 0),
        step(libc::BPF_JMP | libc::BPF_JGE | libc::BPF_K, 0, 1, X32),
        step(libc::BPF_RET | libc::BPF_K, 0, 0, libc::SECCOMP_RET_ERRNO | libc::EPERM.cast_unsigned()),
        step(libc::BPF_RET | libc::BPF_K, 0, 0, libc::SECCOMP_RET_ALLOW),
    ];
    apply_filter(&program).context("seccomp")
}

/// A process has every capability in a new user namespace, so clone(2) may not make one.
fn in_a_new_user_namespace() -> Result<SeccompRule> {
    let flag = libc::CLONE_NEWUSER as u64;
    let masked = SeccompCmpOp::MaskedEq(flag);
    Ok(SeccompRule::new(vec![SeccompCondition::new(0, SeccompCmpArgLen::Qword, masked, flag)?])?)
}

fn apply(rules: BTreeMap<i64, Vec<SeccompRule>>, errno: i32) -> Result<()> {
    let refuse = SeccompAction::Errno(errno.cast_unsigned());
    let arch = std::env::consts::ARCH.try_into().context("seccomp")?;
    let filter = SeccompFilter::new(rules, SeccompAction::Allow, refuse, arch).context("seccomp")?;
    let program: BpfProgram = filter.try_into().context("seccomp")?;
    apply_filter(&program).context("seccomp")
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::io::Errno;
    use std::os::fd::OwnedFd;

    /// Runs a closure in a thread that has given up calls.
    fn without<T: Send>(calls: SyscallSet, run: impl FnOnce() -> T + Send) -> T {
        std::thread::scope(|scope| {
            let confined = scope.spawn(move || {
                refuse(calls).unwrap();
                run()
            });
            confined.join().unwrap()
        })
    }

    fn socket() -> rustix::io::Result<OwnedFd> {
        use rustix::net::{AddressFamily, SocketType};
        rustix::net::socket(AddressFamily::UNIX, SocketType::STREAM, None)
    }

    #[test]
    fn what_was_given_up_is_refused_and_the_rest_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().to_owned();

        let (made, opened, thread) = without(SyscallSet::Daemon, move || {
            let mode = rustix::fs::Mode::RUSR;
            let made =
                rustix::fs::mknodat(rustix::fs::CWD, path.join("fifo"), rustix::fs::FileType::Fifo, mode, 0);
            let how = rustix::fs::ResolveFlags::BENEATH;
            let directory = std::fs::File::open(&path).unwrap();
            let opened = rustix::fs::openat2(
                directory,
                ".",
                rustix::fs::OFlags::RDONLY,
                rustix::fs::Mode::empty(),
                how,
            );
            (made, opened.map(drop), std::thread::spawn(|| 7).join().unwrap())
        });

        assert_eq!(made, Err(Errno::PERM));
        assert_eq!(opened, Ok(()));
        assert_eq!(thread, 7);
    }

    #[test]
    #[cfg(target_arch = "x86_64")]
    fn no_call_has_a_second_number() {
        let number = |call: i64| call | 0x4000_0000;
        let under_x32 = |call: i64| {
            // SAFETY: neither getpid(2) nor unshare(2) without flags touches memory; both are named here.
            let outcome = unsafe { libc::syscall(number(call), 0) };
            (outcome, std::io::Error::last_os_error().raw_os_error())
        };

        let (harmless, listed) =
            without(SyscallSet::Daemon, || (under_x32(libc::SYS_getpid), under_x32(libc::SYS_unshare)));

        assert_eq!((harmless, listed), ((-1, Some(libc::EPERM)), (-1, Some(libc::EPERM))));
    }

    #[test]
    fn a_compiler_has_no_sockets_and_starts_no_programs() {
        assert!(without(SyscallSet::Daemon, socket).is_ok());
        assert_eq!(without(SyscallSet::Compiler, socket).map(drop), Err(Errno::PERM));
        let started = without(SyscallSet::Compiler, || std::process::Command::new("/bin/true").status());
        assert_eq!(started.unwrap_err().kind(), std::io::ErrorKind::PermissionDenied);
    }
}

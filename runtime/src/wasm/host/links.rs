//! Checks symbolic links that a guest creates, renames or hard-links: none may lead out of its mount.
//!
//! The kernel follows no link out of a mount when it resolves a path for a guest, whatever created the link. But
//! operators, backups and other handlers read the same directories. So a guest may not make a link that leads out from
//! its place. An absolute link is refused, and so is a link that starts with more `..` than there are directories above
//! it. A `..` after a name is refused as well, because the name may be another link. Links within a directory that is
//! moved are not checked; they are still not followed.

use wasmtime::component::{self, Resource};
use wasmtime::{AsContextMut as _, Caller, Extern, Linker, Result, StoreContextMut, bail};
use wasmtime_wasi::WasiView;
use wasmtime_wasi::filesystem::{Descriptor, WasiFilesystemCtxView, WasiFilesystemView as _};
use wasmtime_wasi::p1::WasiP1Ctx;
use wasmtime_wasi::p1::types::{Errno, Error, Fd, Lookupflags};
use wasmtime_wasi::p1::wasi_snapshot_preview1::{self as preview1, WasiSnapshotPreview1 as _};
use wasmtime_wasi::p2::FsError;
use wasmtime_wasi::p2::bindings::filesystem::types::{ErrorCode, HostDescriptor as _, PathFlags};
use wiggle::{GuestMemory, GuestPtr};

use super::interfaces;
use super::tmp::Tmp;

/// The longest path on Linux, including its NUL: PATH_MAX.
const LONGEST: usize = 4096;

/// Returns the topmost directory that a link's target climbs to, as a path from where the link is made. Returns `None`
/// if it does not climb.
///
/// # Errors
/// The target leads out wherever the link is, or could.
fn summit(target: &str, path: &str) -> std::result::Result<Option<String>, LinkRefusal> {
    if target.starts_with('/') {
        return Err(LinkRefusal::Out);
    }
    let mut names = target.split('/').filter(|name| !matches!(*name, "" | ".")).peekable();
    let mut climbs = 0;
    while names.next_if_eq(&"..").is_some() {
        climbs += 1;
    }
    if names.any(|name| name == "..") {
        return Err(LinkRefusal::Out);
    }
    let parent = path.trim_end_matches('/').rsplit_once('/').map_or(".", |(parent, _)| parent);
    Ok((climbs > 0).then(|| parent.to_owned() + &"/..".repeat(climbs)))
}

/// Why a link is refused.
enum LinkRefusal {
    Out,
}

/// The state that these functions work on.
type LinkParts<'s> = (&'s mut WasiP1Ctx, Option<&'s mut Tmp>);

/// Guards the three functions of core modules that put a link somewhere. With a job's own `/tmp`, they also refuse to
/// move entries into it or out of it, and count those that are made there.
pub(in crate::wasm) fn guard_core<T: Send + 'static>(
    linker: &mut Linker<T>,
    module: &str,
    parts: impl for<'s> Fn(&'s mut T) -> LinkParts<'s> + Copy + Send + Sync + 'static,
) -> Result<()> {
    linker.allow_shadowing(true);
    type Symlink = (i32, i32, i32, i32, i32);
    linker.func_wrap_async(module, "path_symlink", move |mut caller: Caller<'_, T>, given: Symlink| {
        Box::new(async move {
            let (target, target_length, fd, path, length) = given;
            let (mut guest, wasi, tmp) = Guest::of(&mut caller, parts)?;
            if let (Some(target), Some(path)) = (guest.text(target, target_length), guest.text(path, length))
                && let Err(errno) = guest.admit(wasi, &target, fd, &path).await?
            {
                return Ok(errno);
            }
            if let Err(errno) = takes(tmp, fd).await {
                return Ok(errno);
            }
            wasi.set_hostcall_fuel(guest.fuel);
            let memory = &mut guest.memory;
            preview1::path_symlink(wasi, memory, target, target_length, fd, path, length).await
        })
    })?;
    type Rename = (i32, i32, i32, i32, i32, i32);
    linker.func_wrap_async(module, "path_rename", move |mut caller: Caller<'_, T>, given: Rename| {
        Box::new(async move {
            let (fd, old, old_length, new_fd, new, new_length) = given;
            let (mut guest, wasi, tmp) = Guest::of(&mut caller, parts)?;
            if is_between(tmp.as_deref(), fd, new_fd) {
                return Ok(Errno::Xdev as i32);
            }
            if let Err(errno) = guest.place(wasi, (fd, old, old_length), (new_fd, new, new_length)).await? {
                return Ok(errno);
            }
            wasi.set_hostcall_fuel(guest.fuel);
            let memory = &mut guest.memory;
            preview1::path_rename(wasi, memory, fd, old, old_length, new_fd, new, new_length).await
        })
    })?;
    type Link = (i32, i32, i32, i32, i32, i32, i32);
    linker.func_wrap_async(module, "path_link", move |mut caller: Caller<'_, T>, given: Link| {
        Box::new(async move {
            let (fd, flags, old, old_length, new_fd, new, new_length) = given;
            let (mut guest, wasi, tmp) = Guest::of(&mut caller, parts)?;
            if is_between(tmp.as_deref(), fd, new_fd) {
                return Ok(Errno::Xdev as i32);
            }
            if let Err(errno) = guest.place(wasi, (fd, old, old_length), (new_fd, new, new_length)).await? {
                return Ok(errno);
            }
            if let Err(errno) = takes(tmp, new_fd).await {
                return Ok(errno);
            }
            wasi.set_hostcall_fuel(guest.fuel);
            let memory = &mut guest.memory;
            preview1::path_link(wasi, memory, fd, flags, old, old_length, new_fd, new, new_length).await
        })
    })?;
    linker.allow_shadowing(false);
    Ok(())
}

/// Reports whether exactly one of two descriptors is in the job's own `/tmp`.
fn is_between(tmp: Option<&Tmp>, one: i32, other: i32) -> bool {
    tmp.is_some_and(|tmp| tmp.is_between(one.cast_unsigned(), other.cast_unsigned()))
}

/// Counts one more entry of the job's own `/tmp`, if the descriptor is in it.
async fn takes(tmp: Option<&mut Tmp>, fd: i32) -> CallErrno {
    let Some(tmp) = tmp.filter(|tmp| tmp.holds(fd.cast_unsigned())) else { return Ok(()) };
    tmp.take_entry().await.map_err(|_| Errno::Nospc as i32)
}

/// The guest's memory and fuel during one call of a core module.
struct Guest<'a> {
    memory: GuestMemory<'a>,
    fuel: usize,
}

/// An `errno` of WASI preview 1, if the call is refused.
type CallErrno = std::result::Result<(), i32>;

impl<'a> Guest<'a> {
    fn of<T>(
        caller: &'a mut Caller<'_, T>,
        parts: impl for<'s> Fn(&'s mut T) -> LinkParts<'s>,
    ) -> Result<(Guest<'a>, &'a mut WasiP1Ctx, Option<&'a mut Tmp>)> {
        let Some(Extern::Memory(memory)) = caller.get_export("memory") else {
            bail!("exports no memory");
        };
        let fuel = caller.as_context_mut().hostcall_fuel();
        let (memory, state) = memory.data_and_store_mut(caller);
        let (wasi, tmp) = parts(state);
        Ok((Guest { memory: GuestMemory::Unshared(memory), fuel }, wasi, tmp))
    }

    /// Reads a path. Returns `None` if it is not a path or is too long; the call itself reports that.
    fn text(&self, at: i32, length: i32) -> Option<String> {
        let (at, length) = (at.cast_unsigned(), length.cast_unsigned());
        let fits = usize::try_from(length).is_ok_and(|length| length < LONGEST);
        let text = fits.then(|| self.memory.as_cow_str(GuestPtr::<str>::new((at, length))).ok());
        text.flatten().map(|text| text.into_owned())
    }

    /// Checks the target of a link that is to be at a path.
    async fn admit(&self, wasi: &mut WasiP1Ctx, target: &str, fd: i32, path: &str) -> Result<CallErrno> {
        let summit = match summit(target, path) {
            Ok(None) => return Ok(Ok(())),
            Ok(Some(summit)) => summit,
            Err(LinkRefusal::Out) => return Ok(Err(Errno::Perm as i32)),
        };
        let (mut own, at) = own(&summit, 0);
        wasi.set_hostcall_fuel(self.fuel);
        let memory = &mut GuestMemory::Unshared(&mut own);
        let climbed = wasi.path_filestat_get(memory, Fd::from(fd), Lookupflags::SYMLINK_FOLLOW, at).await;
        match climbed {
            Ok(_) => Ok(Ok(())),
            Err(refusal) => errno(refusal).map(|errno| Err(errno as i32)),
        }
    }

    /// Checks a move: a link may go to the new path unless it would lead out from there.
    async fn place(
        &self,
        wasi: &mut WasiP1Ctx,
        (fd, old, old_length): (i32, i32, i32),
        (new_fd, new, new_length): (i32, i32, i32),
    ) -> Result<CallErrno> {
        let (Some(old), Some(new)) = (self.text(old, old_length), self.text(new, new_length)) else {
            return Ok(Ok(()));
        };
        let (mut own, at) = own(&old, LONGEST);
        let target = GuestPtr::<u8>::new(0);
        wasi.set_hostcall_fuel(self.fuel);
        let memory = &mut GuestMemory::Unshared(&mut own);
        let length = match wasi.path_readlink(memory, Fd::from(fd), at, target, LONGEST as u32).await {
            Ok(length) => length as usize,
            Err(refusal) => match errno(refusal)? {
                // It is not a link.
                Errno::Inval => return Ok(Ok(())),
                // It does not exist, or it is a link that is absolute or not UTF-8.
                errno => return Ok(Err(errno as i32)),
            },
        };
        match std::str::from_utf8(&own[..length]) {
            Ok(target) => self.admit(wasi, target, new_fd, &new).await,
            Err(_) => Ok(Err(Errno::Perm as i32)),
        }
    }
}

/// Makes a memory for a call of our own: `room` bytes for the result, followed by a path.
fn own(path: &str, room: usize) -> (Vec<u8>, GuestPtr<str>) {
    let mut memory = vec![0; room];
    memory.extend_from_slice(path.as_bytes());
    // Guests' paths are shorter than LONGEST, and so are those made from one and a target.
    (memory, GuestPtr::new((room as u32, path.len() as u32)))
}

/// Returns the `errno` of a refusal, or an error if it must end the guest.
fn errno(refusal: Error) -> Result<Errno> {
    refusal.downcast()
}

/// Guards the three functions of components that put a link somewhere. With a job's own `/tmp`, they also refuse to
/// move entries into it or out of it, and count those that are made there.
pub(in crate::wasm) fn guard_components<T: WasiView + 'static>(
    linker: &mut component::Linker<T>,
    tmp: impl Fn(&mut T) -> Option<&mut Tmp> + Copy + Send + Sync + 'static,
) -> Result<()> {
    type Dir = Resource<Descriptor>;
    linker.allow_shadowing(true);
    let mut types = linker.instance(interfaces::FILES)?;
    types.func_wrap_async(
        "[method]descriptor.symlink-at",
        move |mut store: StoreContextMut<'_, T>, (dir, target, path): (Dir, String, String)| {
            Box::new(async move {
                let mut files = store.data_mut().filesystem();
                if let Err(refused) = admit(&mut files, &target, &dir, &path).await {
                    return said(Err(refused));
                }
                if let Err(full) = takes_for_component(tmp(store.data_mut()), &dir).await {
                    return Ok((Err(full),));
                }
                said(store.data_mut().filesystem().symlink_at(dir, target, path).await)
            })
        },
    )?;
    types.func_wrap_async(
        "[method]descriptor.rename-at",
        move |mut store: StoreContextMut<'_, T>, (dir, old, new_dir, new): (Dir, String, Dir, String)| {
            Box::new(async move {
                if tmp(store.data_mut()).is_some_and(|tmp| tmp.is_between(dir.rep(), new_dir.rep())) {
                    return Ok((Err(ErrorCode::CrossDevice),));
                }
                let mut files = store.data_mut().filesystem();
                let moved = match place(&mut files, (&dir, &old), (&new_dir, &new)).await {
                    Ok(()) => files.rename_at(dir, old, new_dir, new).await,
                    refused => refused,
                };
                said(moved)
            })
        },
    )?;
    types.func_wrap_async(
        "[method]descriptor.link-at",
        move |mut store: StoreContextMut<'_, T>,
              (dir, flags, old, new_dir, new): (Dir, PathFlags, String, Dir, String)| {
            Box::new(async move {
                if tmp(store.data_mut()).is_some_and(|tmp| tmp.is_between(dir.rep(), new_dir.rep())) {
                    return Ok((Err(ErrorCode::CrossDevice),));
                }
                let mut files = store.data_mut().filesystem();
                if let Err(refused) = place(&mut files, (&dir, &old), (&new_dir, &new)).await {
                    return said(Err(refused));
                }
                if let Err(full) = takes_for_component(tmp(store.data_mut()), &new_dir).await {
                    return Ok((Err(full),));
                }
                said(store.data_mut().filesystem().link_at(dir, flags, old, new_dir, new).await)
            })
        },
    )?;
    linker.allow_shadowing(false);
    Ok(())
}

/// Counts one more entry of the job's own `/tmp`, if the descriptor is in it.
async fn takes_for_component(
    tmp: Option<&mut Tmp>,
    dir: &Resource<Descriptor>,
) -> std::result::Result<(), ErrorCode> {
    let Some(tmp) = tmp.filter(|tmp| tmp.holds(dir.rep())) else { return Ok(()) };
    tmp.take_entry().await.map_err(ErrorCode::from)
}

/// The return type of these functions of components.
type LinkResult = Result<(std::result::Result<(), ErrorCode>,)>;

fn said(outcome: std::result::Result<(), FsError>) -> LinkResult {
    match outcome {
        Ok(()) => Ok((Ok(()),)),
        Err(refusal) => refusal.downcast().map(|code| (Err(code),)),
    }
}

/// Checks the target of a link that is to be at a path.
async fn admit(
    files: &mut WasiFilesystemCtxView<'_>,
    target: &str,
    dir: &Resource<Descriptor>,
    path: &str,
) -> std::result::Result<(), FsError> {
    match summit(target, path) {
        Ok(None) => Ok(()),
        Ok(Some(summit)) => {
            let dir = Resource::new_borrow(dir.rep());
            files.stat_at(dir, PathFlags::SYMLINK_FOLLOW, summit).await.map(drop)
        }
        Err(LinkRefusal::Out) => Err(ErrorCode::NotPermitted.into()),
    }
}

/// Checks a move: a link may go to the new path unless it would lead out from there.
async fn place(
    files: &mut WasiFilesystemCtxView<'_>,
    (dir, old): (&Resource<Descriptor>, &str),
    (new_dir, new): (&Resource<Descriptor>, &str),
) -> std::result::Result<(), FsError> {
    match files.readlink_at(Resource::new_borrow(dir.rep()), old.to_owned()).await {
        Ok(target) => admit(files, &target, new_dir, new).await,
        Err(refusal) => match refusal.downcast().map_err(FsError::trap)? {
            // It is not a link.
            ErrorCode::Invalid => Ok(()),
            // It does not exist, or it is a link that is absolute or not UTF-8.
            code => Err(code.into()),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_climbs_by_the_dots_at_its_start_and_by_no_others() {
        for (target, path, wanted) in [
            ("x", "link", None),
            ("./x/y", "a/link", None),
            ("", "link", None),
            ("../x", "a/link", Some("a/..")),
            (".././../x", "a/b/link/", Some("a/b/../..")),
            ("..", "link", Some("./..")),
            ("..x/...", "link", None),
        ] {
            let found = summit(target, path).map_err(|_| ()).unwrap();
            assert_eq!(found.as_deref(), wanted, "{target} at {path}");
        }
        for target in ["/", "/etc/passwd", "x/..", "../x/../y", "x/./../../y"] {
            assert!(summit(target, "a/link").is_err(), "{target}");
        }
    }
}

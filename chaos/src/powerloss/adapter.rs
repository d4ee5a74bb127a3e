use super::{
    content::Content,
    disk::{Disk, Kind, Node, ROOT},
    machine::{Machine, State},
};
use fuser::{
    BsdFileFlags, Errno, FileAttr, FileHandle, FileType, Filesystem, FopenFlags, Generation,
    INodeNo, LockOwner, OpenFlags, RenameFlags, ReplyAttr, ReplyCreate, ReplyData, ReplyDirectory,
    ReplyEmpty, ReplyEntry, ReplyOpen, ReplyStatfs, ReplyWrite, Request, TimeOrNow, WriteFlags,
};
use nix::fcntl::OFlag;
use std::{
    ffi::OsStr,
    sync::Arc,
    thread,
    time::{Duration, SystemTime},
};

/// Translates the kernel's requests into operations of the [`Machine`].
///
/// Nothing is cached by the kernel: attributes and names live for zero seconds and files are opened for direct I/O, so
/// that each write arrives when it is made, and no page outlives a power cut.
#[derive(Debug)]
pub(super) struct Adapter(pub(super) Arc<Machine>);

const TTL: Duration = Duration::ZERO;
/// Inode numbers are never used twice, so one generation is enough.
const GENERATION: Generation = Generation(0);
const BLOCK_BYTES: u32 = 4096;
const NAME_BYTES_MAX: u32 = 255;

impl Filesystem for Adapter {
    fn lookup(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        entry(
            self.look(|state| {
                let inode = state.disk.lookup(parent.0, name)?;
                attributes(&state.disk, inode)
            }),
            reply,
        );
    }

    fn getattr(&self, _: &Request, inode: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        attr(self.look(|state| attributes(&state.disk, inode.0)), reply);
    }

    fn setattr(
        &self,
        _: &Request,
        inode: INodeNo,
        mode: Option<u32>,
        _: Option<u32>,
        _: Option<u32>,
        size: Option<u64>,
        _: Option<TimeOrNow>,
        _: Option<TimeOrNow>,
        _: Option<SystemTime>,
        _: Option<FileHandle>,
        _: Option<SystemTime>,
        _: Option<SystemTime>,
        _: Option<SystemTime>,
        _: Option<BsdFileFlags>,
        reply: ReplyAttr,
    ) {
        let changed = self.look(|state| {
            if let Some(size) = size {
                state.begin_operation()?;
                state.disk.resize(inode.0, size)?;
            }
            if let Some(mode) = mode {
                state.disk.set_mode(inode.0, permissions(mode, 0))?;
            }
            attributes(&state.disk, inode.0)
        });
        attr(changed, reply);
    }

    fn mknod(
        &self,
        _: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        umask: u32,
        _: u32,
        reply: ReplyEntry,
    ) {
        let kind = match mode & FORMAT_MASK {
            FORMAT_FILE => Kind::File(Content::default()),
            FORMAT_SOCKET => Kind::Socket,
            _ => return reply.error(Errno::EPERM),
        };
        entry(self.make(parent, name, kind, permissions(mode, umask)), reply);
    }

    fn mkdir(
        &self,
        _: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        umask: u32,
        reply: ReplyEntry,
    ) {
        entry(self.make(parent, name, Kind::Directory, permissions(mode, umask)), reply);
    }

    fn unlink(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        empty(self.operate(|state| state.disk.unlink(parent.0, name)), reply);
    }

    fn rmdir(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        empty(self.operate(|state| state.disk.remove_directory(parent.0, name)), reply);
    }

    fn rename(
        &self,
        _: &Request,
        parent: INodeNo,
        name: &OsStr,
        new_parent: INodeNo,
        new_name: &OsStr,
        flags: RenameFlags,
        reply: ReplyEmpty,
    ) {
        let renamed = self.operate(|state| {
            if flags.contains(RenameFlags::RENAME_NOREPLACE)
                && state.disk.lookup(new_parent.0, new_name).is_ok()
            {
                return Err(Errno::EEXIST);
            }
            if !RenameFlags::RENAME_NOREPLACE.contains(flags) {
                return Err(Errno::EINVAL);
            }
            state.disk.rename((parent.0, name), (new_parent.0, new_name))
        });
        empty(renamed, reply);
    }

    fn open(&self, _: &Request, inode: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        match self.look(|state| state.disk.opened(inode.0)) {
            Ok(()) => reply.opened(FileHandle(0), FopenFlags::FOPEN_DIRECT_IO),
            Err(error) => reply.error(error),
        }
    }

    fn create(
        &self,
        _: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        umask: u32,
        _: i32,
        reply: ReplyCreate,
    ) {
        let created =
            self.make(parent, name, Kind::File(Content::default()), permissions(mode, umask));
        let opened = created.and_then(|attributes| {
            self.look(|state| state.disk.opened(attributes.ino.0))?;
            Ok(attributes)
        });
        match opened {
            Ok(attributes) => {
                reply.created(
                    &TTL,
                    &attributes,
                    GENERATION,
                    FileHandle(0),
                    FopenFlags::FOPEN_DIRECT_IO,
                );
            }
            Err(error) => reply.error(error),
        }
    }

    fn read(
        &self,
        _: &Request,
        inode: INodeNo,
        _: FileHandle,
        offset: u64,
        size: u32,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyData,
    ) {
        let read = self.look(|state| {
            let offset = usize::try_from(offset).map_err(|_| Errno::EFBIG)?;
            Ok(state.disk.content(inode.0)?.read(offset, size as usize).to_vec())
        });
        match read {
            Ok(bytes) => reply.data(&bytes),
            Err(error) => reply.error(error),
        }
    }

    fn write(
        &self,
        _: &Request,
        inode: INodeNo,
        _: FileHandle,
        offset: u64,
        data: &[u8],
        _: WriteFlags,
        flags: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        let length = u32::try_from(data.len()).expect("the kernel sends at most 16 MiB");
        let written = self.operate(|state| {
            if state.faults.write_error {
                return Err(Errno::EIO);
            }
            state.disk.write(inode.0, offset, data)?;
            state.stats.writes += 1;
            state.stats.bytes_written += u64::from(length);
            // O_SYNC contains O_DSYNC.
            if flags.0 & OFlag::O_DSYNC.bits() == 0 { Ok(()) } else { sync(state, inode.0) }
        });
        match written {
            Ok(()) => reply.written(length),
            Err(error) => reply.error(error),
        }
    }

    fn flush(&self, _: &Request, _: INodeNo, _: FileHandle, _: LockOwner, reply: ReplyEmpty) {
        reply.ok();
    }

    fn release(
        &self,
        _: &Request,
        inode: INodeNo,
        _: FileHandle,
        _: OpenFlags,
        _: Option<LockOwner>,
        _: bool,
        reply: ReplyEmpty,
    ) {
        self.0.lock().disk.released(inode.0);
        reply.ok();
    }

    fn fsync(&self, _: &Request, inode: INodeNo, _: FileHandle, _: bool, reply: ReplyEmpty) {
        let stall = match self.0.begin_stall() {
            Ok(None) => return empty(self.operate(|state| sync(state, inode.0)), reply),
            Ok(Some(stall)) => stall,
            Err(error) => return reply.error(error),
        };
        let machine = Arc::clone(&self.0);
        thread::spawn(move || {
            machine.stall(stall);
            empty(Self(machine).operate(|state| sync(state, inode.0)), reply);
        });
    }

    fn fsyncdir(&self, _: &Request, inode: INodeNo, _: FileHandle, _: bool, reply: ReplyEmpty) {
        let synced = self.operate(|state| {
            state.disk.sync_directory(inode.0)?;
            state.stats.directory_syncs += 1;
            Ok(())
        });
        empty(synced, reply);
    }

    fn fallocate(
        &self,
        _: &Request,
        inode: INodeNo,
        _: FileHandle,
        offset: u64,
        length: u64,
        mode: i32,
        reply: ReplyEmpty,
    ) {
        let allocated = self.operate(|state| {
            let end = offset.checked_add(length).ok_or(Errno::EFBIG)?;
            if mode != 0 {
                return Err(Errno::EOPNOTSUPP);
            }
            if (state.disk.node(inode.0)?.len() as u64) < end {
                state.disk.resize(inode.0, end)?;
            }
            Ok(())
        });
        empty(allocated, reply);
    }

    fn readdir(
        &self,
        _: &Request,
        inode: INodeNo,
        _: FileHandle,
        offset: u64,
        mut reply: ReplyDirectory,
    ) {
        let listed = self.look(|state| {
            let mut entries = Vec::new();
            for (inode, name) in state.disk.list(inode.0, offset)? {
                entries.push((inode, file_type(state.disk.node(inode)?), name));
            }
            Ok(entries)
        });
        match listed {
            Ok(entries) => {
                for (inode, file_type, name) in entries {
                    if reply.add(INodeNo(inode), inode, file_type, name) {
                        break;
                    }
                }
                reply.ok();
            }
            Err(error) => reply.error(error),
        }
    }

    fn statfs(&self, _: &Request, _: INodeNo, reply: ReplyStatfs) {
        let (used, capacity) = {
            let state = self.0.lock();
            (state.disk.used_bytes(), state.disk.capacity_bytes())
        };
        let blocks = |bytes: u64| bytes / u64::from(BLOCK_BYTES);
        let free = blocks(capacity.saturating_sub(used));
        reply.statfs(blocks(capacity), free, free, 0, 0, BLOCK_BYTES, NAME_BYTES_MAX, BLOCK_BYTES);
    }
}

impl Adapter {
    /// Does what is no storage operation, if there is power.
    fn look<T>(&self, act: impl FnOnce(&mut State) -> Result<T, Errno>) -> Result<T, Errno> {
        let mut state = self.0.lock();
        state.powered()?;
        act(&mut state)
    }

    /// Does one storage operation, if there is power for it.
    fn operate<T>(&self, act: impl FnOnce(&mut State) -> Result<T, Errno>) -> Result<T, Errno> {
        let mut state = self.0.lock();
        state.begin_operation()?;
        act(&mut state)
    }

    fn make(
        &self,
        parent: INodeNo,
        name: &OsStr,
        kind: Kind,
        mode: u16,
    ) -> Result<FileAttr, Errno> {
        if name.len() > NAME_BYTES_MAX as usize {
            return Err(Errno::ENAMETOOLONG);
        }
        self.operate(|state| {
            let inode = state.disk.create(parent.0, name, kind, mode)?;
            attributes(&state.disk, inode)
        })
    }
}

fn sync(state: &mut State, inode: u64) -> Result<(), Errno> {
    if state.faults.fsync_fails() {
        state.disk.content(inode)?.sync_failed();
        return Err(Errno::EIO);
    }
    state.disk.sync(inode)?;
    state.stats.syncs += 1;
    Ok(())
}

fn attributes(disk: &Disk, inode: u64) -> Result<FileAttr, Errno> {
    let node = disk.node(inode)?;
    let size = node.len() as u64;
    Ok(FileAttr {
        ino: INodeNo(inode),
        size,
        blocks: size.div_ceil(512),
        atime: SystemTime::UNIX_EPOCH,
        mtime: SystemTime::UNIX_EPOCH,
        ctime: SystemTime::UNIX_EPOCH,
        crtime: SystemTime::UNIX_EPOCH,
        kind: file_type(node),
        perm: node.mode,
        nlink: if inode == ROOT { 2 } else { 1 },
        uid: 0,
        gid: 0,
        rdev: 0,
        blksize: BLOCK_BYTES,
        flags: 0,
    })
}

fn file_type(node: &Node) -> FileType {
    match node.kind {
        Kind::File(_) => FileType::RegularFile,
        Kind::Directory => FileType::Directory,
        Kind::Socket => FileType::Socket,
    }
}

/// The permission bits of a new node.
fn permissions(mode: u32, umask: u32) -> u16 {
    u16::try_from(mode & !umask & 0o7777).expect("twelve bits fit")
}

fn empty(done: Result<(), Errno>, reply: ReplyEmpty) {
    match done {
        Ok(()) => reply.ok(),
        Err(error) => reply.error(error),
    }
}

fn entry(found: Result<FileAttr, Errno>, reply: ReplyEntry) {
    match found {
        Ok(attributes) => reply.entry(&TTL, &attributes, GENERATION),
        Err(error) => reply.error(error),
    }
}

fn attr(found: Result<FileAttr, Errno>, reply: ReplyAttr) {
    match found {
        Ok(attributes) => reply.attr(&TTL, &attributes),
        Err(error) => reply.error(error),
    }
}

/// The bits of a mode that name the kind of a node, and the two kinds that `mknod` makes here (inode(7)).
const FORMAT_MASK: u32 = 0o170_000;
const FORMAT_FILE: u32 = 0o100_000;
const FORMAT_SOCKET: u32 = 0o140_000;

use super::{
    content::{Content, Lost},
    loss::{Dice, Loss},
    names::{Edit, Entries, NameRule, Names},
};
use fuser::Errno;
use std::{
    collections::{BTreeMap, BTreeSet},
    ffi::{OsStr, OsString},
};

/// The root directory's inode, fixed by FUSE.
pub(super) const ROOT: u64 = 1;

/// The whole file system as a value: no clock, no I/O, randomness only from a seed.
#[derive(Debug)]
pub(super) struct Disk {
    nodes: BTreeMap<u64, Node>,
    names: Names,
    name_rule: NameRule,
    capacity_bytes: u64,
    inode_last: u64,
}

/// A file, a directory or a socket.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) kind: Kind,
    /// Permission bits. They are durable at once: no test here asks for more.
    pub(super) mode: u16,
    opened: u32,
}

#[derive(Debug)]
pub(super) enum Kind {
    File(Content),
    Directory,
    Socket,
}

impl Node {
    pub(super) fn len(&self) -> usize {
        match &self.kind {
            Kind::File(content) => content.len(),
            Kind::Directory | Kind::Socket => 0,
        }
    }
}

impl Disk {
    pub(super) fn new(capacity_bytes: u64, name_rule: NameRule) -> Self {
        let mut disk = Self {
            nodes: BTreeMap::new(),
            names: Names::default(),
            name_rule,
            capacity_bytes,
            inode_last: ROOT,
        };
        disk.nodes.insert(ROOT, Node { kind: Kind::Directory, mode: 0o755, opened: 0 });
        disk.names.add_directory(ROOT);
        disk
    }

    /// The node with this number; one from before a power cut is `EIO`, since its machine is gone.
    pub(super) fn node(&self, inode: u64) -> Result<&Node, Errno> {
        self.nodes.get(&inode).ok_or(Errno::EIO)
    }

    pub(super) fn entries(&self, directory: u64) -> Result<&Entries, Errno> {
        self.node(directory)?;
        self.names.entries(directory).ok_or(Errno::ENOTDIR)
    }

    pub(super) fn lookup(&self, directory: u64, name: &OsStr) -> Result<u64, Errno> {
        self.entries(directory)?.get(name).copied().ok_or(Errno::ENOENT)
    }

    pub(super) fn create(
        &mut self,
        directory: u64,
        name: &OsStr,
        kind: Kind,
        mode: u16,
    ) -> Result<u64, Errno> {
        if self.entries(directory)?.contains_key(name) {
            return Err(Errno::EEXIST);
        }
        self.inode_last += 1;
        let inode = self.inode_last;
        if matches!(kind, Kind::Directory) {
            self.names.add_directory(inode);
        }
        self.nodes.insert(inode, Node { kind, mode, opened: 0 });
        self.names.change(vec![Edit { directory, name: name.to_owned(), inode: Some(inode) }]);
        Ok(inode)
    }

    pub(super) fn unlink(&mut self, directory: u64, name: &OsStr) -> Result<(), Errno> {
        let inode = self.lookup(directory, name)?;
        if matches!(self.node(inode)?.kind, Kind::Directory) {
            return Err(Errno::EISDIR);
        }
        self.remove_name(directory, name);
        Ok(())
    }

    pub(super) fn remove_directory(&mut self, directory: u64, name: &OsStr) -> Result<(), Errno> {
        let inode = self.lookup(directory, name)?;
        if !self.entries(inode)?.is_empty() {
            return Err(Errno::ENOTEMPTY);
        }
        self.remove_name(directory, name);
        Ok(())
    }

    fn remove_name(&mut self, directory: u64, name: &OsStr) {
        self.names.change(vec![Edit { directory, name: name.to_owned(), inode: None }]);
        self.collect();
    }

    /// Renames atomically; an existing file or empty directory under the new name is replaced.
    pub(super) fn rename(&mut self, from: (u64, &OsStr), to: (u64, &OsStr)) -> Result<(), Errno> {
        let inode = self.lookup(from.0, from.1)?;
        if let Some(replaced) = self.entries(to.0)?.get(to.1).copied() {
            if replaced == inode {
                return Ok(());
            }
            if self.names.entries(replaced).is_some_and(|entries| !entries.is_empty()) {
                return Err(Errno::ENOTEMPTY);
            }
        }
        self.names.change(vec![
            Edit { directory: from.0, name: from.1.to_owned(), inode: None },
            Edit { directory: to.0, name: to.1.to_owned(), inode: Some(inode) },
        ]);
        self.collect();
        Ok(())
    }

    pub(super) fn write(&mut self, inode: u64, offset: u64, data: &[u8]) -> Result<(), Errno> {
        let end = offset.checked_add(data.len() as u64).ok_or(Errno::EFBIG)?;
        self.make_room(inode, end)?;
        let offset = usize::try_from(offset).map_err(|_| Errno::EFBIG)?;
        self.content(inode)?.write(offset, data);
        Ok(())
    }

    pub(super) fn resize(&mut self, inode: u64, size: u64) -> Result<(), Errno> {
        self.make_room(inode, size)?;
        let size = usize::try_from(size).map_err(|_| Errno::EFBIG)?;
        self.content(inode)?.resize(size);
        Ok(())
    }

    /// Refuses to let a file grow to `size` beyond the capacity.
    fn make_room(&self, inode: u64, size: u64) -> Result<(), Errno> {
        let length = self.node(inode)?.len() as u64;
        let grown = size.saturating_sub(length);
        if grown > 0 && self.used_bytes().saturating_add(grown) > self.capacity_bytes {
            return Err(Errno::ENOSPC);
        }
        Ok(())
    }

    pub(super) fn used_bytes(&self) -> u64 {
        self.nodes.values().map(|node| node.len() as u64).sum()
    }

    pub(super) fn capacity_bytes(&self) -> u64 {
        self.capacity_bytes
    }

    /// A smaller capacity than what is used keeps the files, but lets none grow.
    pub(super) fn set_capacity_bytes(&mut self, capacity_bytes: u64) {
        self.capacity_bytes = capacity_bytes;
    }

    pub(super) fn set_mode(&mut self, inode: u64, mode: u16) -> Result<(), Errno> {
        self.nodes.get_mut(&inode).ok_or(Errno::EIO)?.mode = mode & 0o7777;
        Ok(())
    }

    pub(super) fn content(&mut self, inode: u64) -> Result<&mut Content, Errno> {
        match &mut self.nodes.get_mut(&inode).ok_or(Errno::EIO)?.kind {
            Kind::File(content) => Ok(content),
            Kind::Directory => Err(Errno::EISDIR),
            Kind::Socket => Err(Errno::EINVAL),
        }
    }

    /// fsync and fdatasync of a file: its bytes and its size.
    pub(super) fn sync(&mut self, inode: u64) -> Result<(), Errno> {
        self.content(inode)?.sync();
        if self.name_rule == NameRule::AnySync {
            self.names.sync_all();
        }
        Ok(())
    }

    /// fsync of a directory: the names in it, not the bytes of the files that they lead to.
    pub(super) fn sync_directory(&mut self, inode: u64) -> Result<(), Errno> {
        self.entries(inode)?;
        match self.name_rule {
            NameRule::DirectorySync => self.names.sync(inode),
            NameRule::AnySync => self.names.sync_all(),
        }
        self.collect();
        Ok(())
    }

    pub(super) fn opened(&mut self, inode: u64) -> Result<(), Errno> {
        self.nodes.get_mut(&inode).ok_or(Errno::EIO)?.opened += 1;
        Ok(())
    }

    pub(super) fn released(&mut self, inode: u64) {
        if let Some(node) = self.nodes.get_mut(&inode) {
            node.opened = node.opened.saturating_sub(1);
            self.collect();
        }
    }

    /// Power is gone: every file and directory falls back to what is durable plus what the loss lets survive. Each
    /// surviving inode gets a new number, so that no descriptor or cache from before reaches it.
    pub(super) fn lose(&mut self, loss: Loss) -> (Lost, u64) {
        let mut dice = Dice::new(loss);
        let mut lost = Lost::default();
        for node in self.nodes.values_mut() {
            node.opened = 0;
            if let Kind::File(content) = &mut node.kind {
                let of_file = content.lose(&mut dice);
                lost.changes += of_file.changes;
                lost.bytes += of_file.bytes;
            }
        }
        let pending = self.names.pending();
        let kept = dice.names_kept(pending);
        self.names.lose_all_but(kept);
        self.collect();
        self.renumber();
        (lost, (pending - kept) as u64)
    }

    /// Drops what neither a name nor an open descriptor leads to, durable names included; what only a dropped directory
    /// led to goes with it.
    fn collect(&mut self) {
        loop {
            let before = self.nodes.len();
            let referenced = self.names.referenced();
            self.nodes.retain(|inode, node| {
                *inode == ROOT || node.opened > 0 || referenced.contains(inode)
            });
            let nodes: BTreeSet<u64> = self.nodes.keys().copied().collect();
            self.names.retain(|inode| nodes.contains(&inode));
            if self.nodes.len() == before {
                return;
            }
        }
    }

    fn renumber(&mut self) {
        let mut numbers = BTreeMap::from([(ROOT, ROOT)]);
        for inode in self.nodes.keys().filter(|inode| **inode != ROOT) {
            self.inode_last += 1;
            numbers.insert(*inode, self.inode_last);
        }
        self.names.renumber(|inode| numbers[&inode]);
        self.nodes = std::mem::take(&mut self.nodes)
            .into_iter()
            .map(|(inode, node)| (numbers[&inode], node))
            .collect();
    }

    /// The names in `directory` whose inode is above `after`, in the order of inodes: a place to go on from that
    /// stays right while names come and go.
    pub(super) fn list(&self, directory: u64, after: u64) -> Result<Vec<(u64, OsString)>, Errno> {
        let entries = self.entries(directory)?.iter().filter(|(_, inode)| **inode > after);
        let mut listed: Vec<_> = entries.map(|(name, inode)| (*inode, name.clone())).collect();
        listed.sort_unstable();
        Ok(listed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn disk() -> Disk {
        Disk::new(1 << 20, NameRule::DirectorySync)
    }

    fn create(disk: &mut Disk, directory: u64, name: &str) -> u64 {
        disk.create(directory, OsStr::new(name), Kind::File(Content::default()), 0o644).unwrap()
    }

    fn names(disk: &Disk, directory: u64) -> Vec<String> {
        disk.list(directory, 0)
            .unwrap()
            .into_iter()
            .map(|(_, name)| name.into_string().unwrap())
            .collect()
    }

    #[test]
    fn a_synced_file_without_a_synced_name_is_gone() {
        let mut disk = disk();
        let file = create(&mut disk, ROOT, "db");
        disk.write(file, 0, b"synced").unwrap();
        disk.sync(file).unwrap();

        disk.lose(Loss::Everything);

        assert_eq!(names(&disk, ROOT), Vec::<String>::new());
        assert_eq!(disk.used_bytes(), 0);
    }

    #[test]
    fn any_sync_keeps_the_name_under_the_gentle_rule() {
        let mut disk = Disk::new(1 << 20, NameRule::AnySync);
        let file = create(&mut disk, ROOT, "db");
        disk.write(file, 0, b"synced").unwrap();
        disk.sync(file).unwrap();

        disk.lose(Loss::Everything);

        let file = disk.lookup(ROOT, OsStr::new("db")).unwrap();
        assert_eq!(disk.content(file).unwrap().read(0, 100), b"synced");
    }

    #[test]
    fn a_synced_name_without_synced_bytes_is_an_empty_file() {
        let mut disk = disk();
        let file = create(&mut disk, ROOT, "db");
        disk.write(file, 0, b"lost").unwrap();
        disk.sync_directory(ROOT).unwrap();

        disk.lose(Loss::Everything);

        let file = disk.lookup(ROOT, OsStr::new("db")).unwrap();
        assert_eq!(disk.content(file).unwrap().len(), 0);
    }

    #[test]
    fn an_unsynced_rename_and_removal_are_undone() {
        let mut disk = disk();
        create(&mut disk, ROOT, "old");
        create(&mut disk, ROOT, "removed");
        disk.sync_directory(ROOT).unwrap();
        disk.rename((ROOT, OsStr::new("old")), (ROOT, OsStr::new("new"))).unwrap();
        disk.unlink(ROOT, OsStr::new("removed")).unwrap();
        assert_eq!(names(&disk, ROOT), ["new"]);

        disk.lose(Loss::Everything);

        assert_eq!(names(&disk, ROOT), ["old", "removed"]);
    }

    #[test]
    fn a_name_in_a_directory_whose_own_name_is_lost_is_lost() {
        let mut disk = disk();
        let inner = disk.create(ROOT, OsStr::new("inner"), Kind::Directory, 0o755).unwrap();
        create(&mut disk, inner, "file");
        disk.sync_directory(inner).unwrap();

        disk.lose(Loss::Everything);

        assert_eq!(names(&disk, ROOT), Vec::<String>::new());
        assert_eq!(disk.nodes.len(), 1);
    }

    #[test]
    fn a_rename_across_directories_is_in_one_of_them_after_every_cut() {
        for synced in [None, Some(0), Some(1)] {
            for seed in 0..16 {
                let mut disk = disk();
                let directories = ["left", "right"].map(|name| {
                    disk.create(ROOT, OsStr::new(name), Kind::Directory, 0o755).unwrap()
                });
                create(&mut disk, directories[0], "file");
                disk.sync_directory(ROOT).unwrap();
                disk.sync_directory(directories[0]).unwrap();
                let name = OsStr::new("file");
                disk.rename((directories[0], name), (directories[1], name)).unwrap();
                if let Some(side) = synced {
                    disk.sync_directory(directories[side]).unwrap();
                }

                disk.lose(Loss::Subset { seed });

                let [left, right] = ["left", "right"]
                    .map(|name| names(&disk, disk.lookup(ROOT, OsStr::new(name)).unwrap()).len());
                assert_eq!(left + right, 1);
                assert!(synced.is_none() || right == 1, "a synced rename was undone");
            }
        }
    }

    #[test]
    fn descriptors_from_before_a_cut_are_dead() {
        let mut disk = disk();
        let file = create(&mut disk, ROOT, "db");
        disk.sync_directory(ROOT).unwrap();

        disk.lose(Loss::Everything);

        assert!(disk.write(file, 0, b"from the past").is_err());
    }

    #[test]
    fn a_full_disk_refuses_growth_and_allows_overwriting() {
        let mut disk = Disk::new(8, NameRule::DirectorySync);
        let file = create(&mut disk, ROOT, "db");
        disk.write(file, 0, b"12345678").unwrap();

        assert!(disk.write(file, 8, b"9").is_err());
        assert!(disk.write(file, 0, b"87654321").is_ok());
    }
}

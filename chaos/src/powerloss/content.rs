use super::loss::{Dice, Fate};

/// One file's bytes: what programs see, what the platter holds, and the changes that lie between.
#[derive(Debug, Default)]
pub(super) struct Content {
    live: Vec<u8>,
    durable: Vec<u8>,
    pending: Vec<Change>,
}

#[derive(Debug)]
enum Change {
    Write { offset: usize, data: Vec<u8> },
    Resize { size: usize },
}

/// What a power cut took from a file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Lost {
    pub(super) changes: u64,
    pub(super) bytes: u64,
}

impl Content {
    pub(super) fn len(&self) -> usize {
        self.live.len()
    }

    /// The bytes from `offset`, at most `length`, fewer at the end of the file.
    pub(super) fn read(&self, offset: usize, length: usize) -> &[u8] {
        let start = offset.min(self.live.len());
        let end = offset.saturating_add(length).min(self.live.len());
        &self.live[start..end]
    }

    pub(super) fn write(&mut self, offset: usize, data: &[u8]) {
        overwrite(&mut self.live, offset, data);
        self.pending.push(Change::Write { offset, data: data.to_vec() });
    }

    pub(super) fn resize(&mut self, size: usize) {
        self.live.resize(size, 0);
        self.pending.push(Change::Resize { size });
    }

    /// Makes every change so far durable.
    pub(super) fn sync(&mut self) {
        for change in self.pending.drain(..) {
            change.apply(&mut self.durable);
        }
    }

    /// A sync that failed: Linux marks the pages clean, so that the changes stay readable, no later sync writes them,
    /// and a power cut takes them. A program that retries and then acknowledges loses data.
    pub(super) fn sync_failed(&mut self) {
        self.pending.clear();
    }

    /// Power is gone: what no sync covered meets its fate.
    pub(super) fn lose(&mut self, dice: &mut Dice) -> Lost {
        let mut lost = Lost::default();
        for change in self.pending.drain(..) {
            match dice.fate() {
                Fate::Kept => change.apply(&mut self.durable),
                Fate::Lost => lost.add(&change),
                Fate::Torn(sector) => {
                    lost.add(&change);
                    change.apply_torn(&mut self.durable, sector.bytes(), dice);
                }
            }
        }
        self.live.clone_from(&self.durable);
        lost
    }
}

impl Change {
    fn apply(self, image: &mut Vec<u8>) {
        match self {
            Self::Write { offset, data } => overwrite(image, offset, &data),
            Self::Resize { size } => image.resize(size, 0),
        }
    }

    /// Applies the surviving sectors of a write, cut at the multiples of `sector` in the file. A resize is one number
    /// in an inode, which no drive tears: it is lost.
    fn apply_torn(self, image: &mut Vec<u8>, sector: usize, dice: &mut Dice) {
        let Self::Write { offset, data } = self else { return };
        let mut start = 0;
        while start < data.len() {
            let end = (start + sector - (offset + start) % sector).min(data.len());
            if dice.sector_survives() {
                overwrite(image, offset + start, &data[start..end]);
            }
            start = end;
        }
    }
}

impl Lost {
    fn add(&mut self, change: &Change) {
        self.changes += 1;
        if let Change::Write { data, .. } = change {
            self.bytes += data.len() as u64;
        }
    }
}

/// Writes `data` at `offset`, filling a gap before it with zeros as a file system does.
fn overwrite(image: &mut Vec<u8>, offset: usize, data: &[u8]) {
    let end = offset + data.len();
    if image.len() < end {
        image.resize(end, 0);
    }
    image[offset..end].copy_from_slice(data);
}

#[cfg(test)]
mod tests {
    use super::super::loss::{Loss, Sector};
    use super::*;

    #[test]
    fn synced_bytes_survive_and_later_ones_do_not() {
        let mut content = Content::default();
        content.write(0, b"kept");
        content.sync();
        content.write(0, b"lost and longer");

        let lost = content.lose(&mut Dice::new(Loss::Everything));

        assert_eq!(content.read(0, 100), b"kept");
        assert_eq!(lost, Lost { changes: 1, bytes: 15 });
    }

    #[test]
    fn a_failed_sync_leaves_bytes_readable_but_never_durable() {
        let mut content = Content::default();
        content.write(0, b"page");
        content.sync_failed();
        content.sync();
        assert_eq!(content.read(0, 100), b"page");

        content.lose(&mut Dice::new(Loss::Everything));

        assert_eq!(content.len(), 0);
    }

    #[test]
    fn an_unsynced_truncation_is_undone() {
        let mut content = Content::default();
        content.write(0, b"0123456789");
        content.sync();
        content.resize(3);

        content.lose(&mut Dice::new(Loss::Everything));

        assert_eq!(content.read(0, 100), b"0123456789");
    }

    #[test]
    fn a_torn_write_keeps_whole_sectors_of_the_new_or_the_old_bytes() {
        let mut torn = 0;
        for seed in 0..64 {
            let mut content = Content::default();
            content.write(0, &[1; 4096]);
            content.sync();
            content.write(100, &[2; 3900]);

            content.lose(&mut Dice::new(Loss::Torn { seed, sector: Sector::Bytes512 }));

            let image = content.read(0, 4096);
            let new = |at: usize| image[at] == 2;
            assert!(!new(99) && !new(4000), "bytes outside of the write changed");
            for start in (0..4096).step_by(512) {
                let inside: Vec<_> = (start.max(100)..(start + 512).min(4000)).map(new).collect();
                assert!(inside.iter().all(|byte| *byte == inside[0]), "a sector is torn");
            }
            let count = image.iter().filter(|byte| **byte == 2).count();
            torn += usize::from(count > 0 && count < 3900);
        }
        assert!(torn > 10, "only {torn} of 64 cuts tore the write");
    }
}

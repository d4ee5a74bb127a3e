use rand::{RngExt, SeedableRng, rngs::StdRng};

/// What a power cut does to the changes that no sync covered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loss {
    /// All of them are gone: a drive that had written nothing back yet.
    Everything,
    /// Each write and resize survives with even odds, in any combination within a file; names survive as a prefix of
    /// the order in which they were changed, as a metadata journal commits them.
    Subset {
        /// Chooses the survivors; the same seed over the same operations loses the same changes.
        seed: u64,
    },
    /// As [`Loss::Subset`], but one write in three is torn too: each of its sectors survives or not by itself.
    Torn {
        /// Chooses the survivors and the torn writes.
        seed: u64,
        /// The unit that the drive writes whole.
        sector: Sector,
    },
}

/// The unit that a drive writes whole or not at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sector {
    /// 512 bytes, the smallest that any drive promises.
    Bytes512,
    /// 4 KiB, the page and the sector of current drives.
    Bytes4096,
}

impl Sector {
    pub(super) fn bytes(self) -> usize {
        match self {
            Self::Bytes512 => 512,
            Self::Bytes4096 => 4096,
        }
    }
}

/// The fate of one change at a power cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    Lost,
    Kept,
    Torn(Sector),
}

/// Draws the fates of one power cut.
#[derive(Debug)]
pub(super) struct Dice {
    loss: Loss,
    random: StdRng,
}

impl Dice {
    pub(super) fn new(loss: Loss) -> Self {
        let seed = match loss {
            Loss::Everything => 0,
            Loss::Subset { seed } | Loss::Torn { seed, .. } => seed,
        };
        Self { loss, random: StdRng::seed_from_u64(seed) }
    }

    /// What becomes of one write or resize.
    pub(super) fn fate(&mut self) -> Fate {
        match self.loss {
            Loss::Everything => Fate::Lost,
            Loss::Subset { .. } if self.random.random_bool(0.5) => Fate::Kept,
            Loss::Subset { .. } => Fate::Lost,
            Loss::Torn { sector, .. } => match self.random.random_range(0..3) {
                0 => Fate::Lost,
                1 => Fate::Kept,
                _ => Fate::Torn(sector),
            },
        }
    }

    /// Whether one sector of a torn write survives.
    pub(super) fn sector_survives(&mut self) -> bool {
        self.random.random_bool(0.5)
    }

    /// How many of `changes` name changes had reached the journal.
    pub(super) fn names_kept(&mut self, changes: usize) -> usize {
        match self.loss {
            Loss::Everything => 0,
            Loss::Subset { .. } | Loss::Torn { .. } => self.random.random_range(0..=changes),
        }
    }
}

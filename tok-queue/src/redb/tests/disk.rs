//! A disk in memory, which loses what is not synced when the power fails, and fails when told to.

use std::{
    collections::BTreeSet,
    io,
    ops::Range,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use redb::{Builder, StorageBackend};
use tok_core::testkit::sim::Rng;

use crate::redb::{error::Cause, store::Opener};

/// What a disk writes whole or not at all.
const SECTOR: usize = 512;
/// What a file system gives to files.
const BLOCK: usize = 4096;

pub(super) struct Disk(Mutex<State>);

struct State {
    /// What is read.
    image: Vec<u8>,
    /// What is there after a power failure, whatever else.
    durable: Vec<u8>,
    /// What was done since, in order, and may be there or not.
    pending: Vec<Pending>,
    /// Blocks that were written to; a file's length alone takes no room.
    blocks: BTreeSet<usize>,
    rng: Rng,
    /// Handles of another number see a disk without power.
    power: u64,
    trouble: Trouble,
}

enum Pending {
    Write(usize, Vec<u8>),
    Length(usize),
}

/// What goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Trouble {
    Nothing,
    /// The power fails after so many operations.
    Cut(u64),
    /// After so many operations so many fail.
    Errors {
        after: u64,
        count: u64,
    },
    /// There are no more blocks than the file has and so many.
    Full {
        blocks: usize,
    },
}

/// The disk as an open file sees it.
#[derive(Debug)]
struct Handle {
    disk: Arc<Disk>,
    power: u64,
}

impl Disk {
    /// A disk with an empty file of redb: files get their name when they are that.
    pub(super) fn new(seed: u64) -> Arc<Self> {
        let state = State {
            image: Vec::new(),
            durable: Vec::new(),
            pending: Vec::new(),
            blocks: BTreeSet::new(),
            rng: Rng::new(seed),
            power: 0,
            trouble: Trouble::Nothing,
        };
        let disk = Arc::new(Self(Mutex::new(state)));
        disk.opener()(&Builder::new(), true).and_then(|db| Ok(db.close()?)).expect("an empty file");
        disk
    }

    pub(super) fn opener(self: &Arc<Self>) -> Opener {
        let disk = Arc::clone(self);
        Box::new(move |builder, _| {
            let power = disk.lock().power;
            let handle = Handle { disk: Arc::clone(&disk), power };
            builder.create_with_backend(handle).map_err(Cause::from)
        })
    }

    /// Has something go wrong from now on.
    pub(super) fn set(&self, trouble: Trouble) {
        let state = &mut *self.lock();
        state.trouble = match trouble {
            Trouble::Full { blocks } => Trouble::Full { blocks: state.blocks.len() + blocks },
            trouble => trouble,
        };
    }

    pub(super) fn is_off(&self) -> bool {
        self.lock().trouble == Trouble::Cut(0)
    }

    /// Turns the power off if it is on, and on again: of what was not synced each sector is there or not.
    pub(super) fn power_cycle(&self) {
        let state = &mut *self.lock();
        let mut image = std::mem::take(&mut state.durable);
        // Some failures lose nearly all, some nearly nothing.
        let kept = state.rng.below(11);
        for pending in std::mem::take(&mut state.pending) {
            pending.apply(&mut image, || state.rng.below(10) < kept);
        }
        state.durable.clone_from(&image);
        state.image = image;
        state.power += 1;
        state.trouble = Trouble::Nothing;
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Debug for Disk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Disk").field(&self.lock().trouble).finish()
    }
}

impl Pending {
    /// Does as much of it as `survives`, which is asked for each sector.
    fn apply(self, image: &mut Vec<u8>, mut survives: impl FnMut() -> bool) {
        match self {
            Self::Length(len) if survives() => image.resize(len, 0),
            Self::Length(_) => {}
            Self::Write(offset, data) => {
                for sector in sectors(offset, data.len()).filter(|_| survives()) {
                    put(image, sector.start, &data[sector.start - offset..sector.end - offset]);
                }
            }
        }
    }
}

/// The range of a write, cut where sectors end.
fn sectors(offset: usize, len: usize) -> impl Iterator<Item = Range<usize>> {
    let end = offset + len;
    let mut start = offset;
    std::iter::from_fn(move || {
        let sector = start..end.min((start / SECTOR + 1) * SECTOR);
        start = sector.end;
        (!sector.is_empty()).then_some(sector)
    })
}

fn put(image: &mut Vec<u8>, offset: usize, data: &[u8]) {
    let end = offset + data.len();
    if image.len() < end {
        image.resize(end, 0);
    }
    image[offset..end].copy_from_slice(data);
}

impl State {
    /// Whether the next operation fails.
    fn next(&mut self, power: u64) -> io::Result<()> {
        if power != self.power {
            return Err(io::Error::other("the power is off"));
        }
        match &mut self.trouble {
            Trouble::Nothing | Trouble::Full { .. } => Ok(()),
            Trouble::Cut(0) => Err(io::Error::other("the power is off")),
            Trouble::Cut(after) => {
                *after -= 1;
                Ok(())
            }
            Trouble::Errors { after: 0, count: 0 } => {
                self.trouble = Trouble::Nothing;
                Ok(())
            }
            Trouble::Errors { after: 0, count } => {
                *count -= 1;
                Err(io::Error::other("the disk failed"))
            }
            Trouble::Errors { after, .. } => {
                *after -= 1;
                Ok(())
            }
        }
    }

    fn write(&mut self, offset: usize, data: &[u8]) -> io::Result<()> {
        for block in offset / BLOCK..(offset + data.len()).div_ceil(BLOCK) {
            let is_full = matches!(self.trouble, Trouble::Full { blocks } if self.blocks.len() >= blocks);
            if is_full && !self.blocks.contains(&block) {
                return Err(io::ErrorKind::StorageFull.into());
            }
            self.blocks.insert(block);
        }
        put(&mut self.image, offset, data);
        self.pending.push(Pending::Write(offset, data.to_vec()));
        Ok(())
    }
}

impl StorageBackend for Handle {
    fn len(&self) -> io::Result<u64> {
        let mut state = self.disk.lock();
        state.next(self.power)?;
        Ok(state.image.len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let mut state = self.disk.lock();
        state.next(self.power)?;
        let offset = offset as usize;
        let bytes = state.image.get(offset..offset + out.len()).ok_or(io::ErrorKind::UnexpectedEof)?;
        out.copy_from_slice(bytes);
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let mut state = self.disk.lock();
        state.next(self.power)?;
        let len = len as usize;
        state.image.resize(len, 0);
        state.blocks.split_off(&len.div_ceil(BLOCK));
        state.pending.push(Pending::Length(len));
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        let state = &mut *self.disk.lock();
        state.next(self.power)?;
        for pending in state.pending.drain(..) {
            pending.apply(&mut state.durable, || true);
        }
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let state = &mut *self.disk.lock();
        let offset = offset as usize;
        let Err(error) = state.next(self.power) else { return state.write(offset, data) };
        if self.power == state.power {
            // A write that fails has done a part.
            let part = state.rng.below(data.len() as u64 + 1) as usize;
            let end = (offset + part) / SECTOR * SECTOR;
            let _ = state.write(offset, &data[..end.saturating_sub(offset)]);
        }
        Err(error)
    }
}

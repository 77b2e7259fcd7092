//! The file: opened, checked, closed, and opened again after a failure.

use std::{
    fs::{self, File},
    io,
    panic::{AssertUnwindSafe, catch_unwind},
    path::Path,
    process,
    sync::{
        PoisonError, RwLock, RwLockReadGuard,
        atomic::{AtomicU32, Ordering},
    },
};

use redb::{
    Builder, Database, ReadTransaction, ReadableDatabase, ReadableTable, TableError, TableHandle,
    WriteTransaction, backends::FileBackend,
};

use super::{
    error::{Cause, Failure},
    schema::{META, Meta, SCHEMA, Tables},
    time::{Clocks, FileTime, Mark},
};

/// Opens the storage; the flag says whether to make it if there is none.
pub(super) type Opener = Box<dyn Fn(&Builder, bool) -> Result<Database, Cause> + Send + Sync>;

/// How to open.
#[derive(Clone, Copy, Debug)]
pub(super) struct Options {
    pub(super) cache_bytes: usize,
    pub(super) fast_recovery: bool,
    pub(super) verify: bool,
    pub(super) compact: bool,
}

/// The database, which is absent from a failure until it could be opened again.
pub(super) struct Store {
    opener: Opener,
    options: Options,
    /// How often the file has been opened by a queue, this one included.
    opening: u64,
    time: FileTime,
    db: RwLock<Option<Database>>,
}

impl Store {
    pub(super) fn open(opener: Opener, options: Options, clocks: Clocks) -> Result<Self, Cause> {
        let (db, opening, time) = guarded(|| {
            let mut builder = builder(options);
            builder.set_check_integrity_on_open(options.verify);
            let mut db = opener(&builder, true)?;
            check(&db.begin_read().map_err(Failure::from)?, true)?;
            if options.compact {
                db.compact().map_err(|error| Cause::from(Failure::Storage(error.into())))?;
            }
            let (opening, time) = begin_opening(&db, clocks)?;
            Ok((db, opening, time))
        })?;
        Ok(Self { opener, options, opening, time, db: RwLock::new(Some(db)) })
    }

    /// Closes the file, which releases its lock, and opens it again, which repairs what a failure left. Reads under
    /// way end before.
    pub(super) fn reopen(&self) -> Result<(), Cause> {
        self.close();
        let db = guarded(|| {
            let db = (self.opener)(&builder(self.options), false)?;
            check(&db.begin_read().map_err(Failure::from)?, false)?;
            Ok(db)
        })?;
        *self.db.write().unwrap_or_else(PoisonError::into_inner) = Some(db);
        Ok(())
    }

    /// Closes the file. What is committed and not yet durable is made so, unless there was a failure.
    pub(super) fn close(&self) {
        let db = self.db.write().unwrap_or_else(PoisonError::into_inner).take();
        // redb's state may be what a panic left of it, and what cannot be written now is not needed to open again.
        let _ = catch_unwind(AssertUnwindSafe(|| db.map(Database::close)));
    }

    pub(super) fn opening(&self) -> u64 {
        self.opening
    }

    pub(super) fn time(&self) -> &FileTime {
        &self.time
    }

    /// Notes in the file what time it is there.
    pub(super) fn save_time(&self) -> Result<(), Failure> {
        let txn = self.begin_write()?;
        self.time.mark().write(&mut txn.open_table(META)?)?;
        Ok(txn.commit()?)
    }

    pub(super) fn begin_write(&self) -> Result<WriteTransaction, Failure> {
        let mut txn = self.lock().as_ref().ok_or(Failure::Closed)?.begin_write()?;
        txn.set_quick_repair(self.options.fast_recovery);
        Ok(txn)
    }

    /// Runs `read` on the newest state. The file stays open meanwhile.
    pub(super) fn read<T>(
        &self,
        read: impl FnOnce(&ReadTransaction) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        let db = self.lock();
        read(&db.as_ref().ok_or(Failure::Closed)?.begin_read()?)
    }

    fn lock(&self) -> RwLockReadGuard<'_, Option<Database>> {
        self.db.read().unwrap_or_else(PoisonError::into_inner)
    }
}

fn builder(options: Options) -> Builder {
    let mut builder = Builder::new();
    builder.set_cache_size(options.cache_bytes);
    builder
}

/// Opens the file at `path`.
pub(super) fn open_file(path: &Path, builder: &Builder, create: bool) -> Result<Database, Cause> {
    if create && !path.try_exists()? {
        make_file(path, builder)?;
    }
    let file = File::options().read(true).write(true).open(path)?;
    Ok(builder.create_with_backend(FileBackend::new(file)?)?)
}

/// Makes an empty database under another name and gives it its own when it is whole: redb refuses a file that a crash
/// left half made.
fn make_file(path: &Path, builder: &Builder) -> Result<(), Cause> {
    static NEXT: AtomicU32 = AtomicU32::new(0);

    let mut name = path.file_name().ok_or(io::ErrorKind::InvalidInput).map_err(io::Error::from)?.to_owned();
    name.push(format!(".new-{}-{}", process::id(), NEXT.fetch_add(1, Ordering::Relaxed)));
    let temporary = path.with_file_name(name);
    let mut options = File::options();
    options.read(true).write(true).create_new(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt;
        // Messages are private.
        options.mode(0o600);
    }
    // Left by a process that had our id.
    let _ = fs::remove_file(&temporary);
    let file = options.open(&temporary)?;
    let made = FileBackend::new(file)
        .and_then(|file| builder.create_with_backend(file)?.close())
        .map_err(Cause::from)
        .and_then(|()| match fs::hard_link(&temporary, path) {
            // Another queue was faster, and its file stays.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
            // Not every file system has links.
            Err(_) => Ok(fs::rename(&temporary, path)?),
            Ok(()) => Ok(sync_directory(path)?),
        });
    let _ = fs::remove_file(&temporary);
    made
}

/// Makes the name of a new file durable; its bytes alone would not bring it back after a power failure.
fn sync_directory(path: &Path) -> io::Result<()> {
    if cfg!(unix) {
        let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
        File::open(parent.unwrap_or(Path::new(".")))?.sync_all()?;
    }
    Ok(())
}

/// redb trusts a file that was closed in order, and can panic over one that something else has altered.
fn guarded<T>(open: impl FnOnce() -> Result<T, Cause>) -> Result<T, Cause> {
    catch_unwind(AssertUnwindSafe(open)).unwrap_or_else(|panic| {
        let message = panic.downcast_ref::<String>().map(String::as_str);
        let message = message.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or_default();
        Err(Cause::Damaged(format!("redb panicked: {message}")))
    })
}

/// Whether the database is a queue's, or empty where that is as good.
fn check(txn: &ReadTransaction, may_be_empty: bool) -> Result<(), Cause> {
    const OTHER: Cause = Cause::Foreign("a redb database of another program");

    let meta = match txn.open_table(META) {
        Ok(meta) => meta,
        Err(TableError::Storage(error)) => return Err(error.into()),
        Err(TableError::TableDoesNotExist(_)) => {
            let mut tables = txn.list_tables().map_err(Failure::from)?.map(|table| table.name().to_owned());
            let mut multimaps = txn.list_multimap_tables().map_err(Failure::from)?;
            let is_empty = tables.next().is_none() && multimaps.next().is_none();
            return if is_empty && may_be_empty { Ok(()) } else { Err(OTHER) };
        }
        Err(_) => return Err(OTHER),
    };
    match meta.get(Meta::SCHEMA).map_err(Failure::from)?.map(|schema| schema.value()) {
        Some(SCHEMA) => Ok(()),
        Some(newer) if newer > SCHEMA => Err(Cause::Newer(newer)),
        _ => Err(OTHER),
    }
}

/// Counts an opening, and sets up a new file. What cannot be written fails here and not at the first message.
fn begin_opening(db: &Database, clocks: Clocks) -> Result<(u64, FileTime), Failure> {
    let txn = db.begin_write()?;
    let opened = {
        let mut tables = Tables::open(&txn)?;
        let before = tables.meta.get(Meta::OPENING)?.map_or(0, |number| number.value());
        let opening = before.wrapping_add(1);
        tables.meta.insert(Meta::SCHEMA, SCHEMA)?;
        tables.meta.insert(Meta::OPENING, opening)?;
        let time = FileTime::after(Mark::read(&tables.meta)?, clocks);
        time.mark().write(&mut tables.meta)?;
        (opening, time)
    };
    txn.commit()?;
    Ok(opened)
}

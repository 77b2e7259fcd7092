//! What is opened, and what is refused with an error that says why.

use std::{
    fs,
    io::{self, BufRead, BufReader},
    path::Path,
    process::{Command, Stdio},
    time::Duration,
};

use redb::{Database, MultimapTableDefinition, TableDefinition};
use tok_core::{
    ConfigError, Uid,
    queue::{Limit, Seq},
    testkit::{queue::block_on, sim::Rng},
};
use tok_queue::{OpenError, RedbQueue};

use super::support::{Folder, HOUR, enqueue, entry, read};

fn error(path: &Path) -> OpenError {
    RedbQueue::builder().open(path).expect_err("it must be refused")
}

/// The error and its causes.
fn text(error: &OpenError) -> String {
    let cause = std::error::Error::source(error).map(ToString::to_string).unwrap_or_default();
    format!("{error}: {cause}")
}

fn write(path: &Path, table: &str, rows: &[(&str, u64)]) {
    let db = Database::create(path).unwrap();
    let txn = db.begin_write().unwrap();
    let definition: TableDefinition<'_, &str, u64> = TableDefinition::new(table);
    {
        let mut table = txn.open_table(definition).unwrap();
        for (key, value) in rows {
            table.insert(key, value).unwrap();
        }
    }
    txn.commit().unwrap();
}

#[test]
fn limits_of_zero_are_refused() {
    let folder = Folder::new();
    for (builder, name) in [
        (RedbQueue::builder().max_messages(0), "max_messages"),
        (RedbQueue::builder().max_bytes(0), "max_bytes"),
        (RedbQueue::builder().max_total_bytes(0), "max_total_bytes"),
    ] {
        let error = builder.open(folder.file()).unwrap_err();
        let OpenError::Config(ConfigError::Invalid { setting, .. }) = error else { panic!("{error}") };
        assert_eq!(setting, name);
    }
    assert!(!folder.file().exists(), "nothing is made for a configuration that cannot work");
}

#[test]
fn a_missing_file_is_made_for_its_owner_alone_and_nothing_else_is_left() {
    let folder = Folder::new();
    drop(folder.open());
    let names: Vec<_> = fs::read_dir(folder.path()).unwrap().map(|file| file.unwrap().file_name()).collect();
    assert_eq!(names, ["queue.redb"]);
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        assert_eq!(fs::metadata(folder.file()).unwrap().permissions().mode() & 0o777, 0o600);
    }
}

#[test]
fn an_empty_file_and_an_empty_database_are_as_good_as_none() {
    let folder = Folder::new();
    fs::write(folder.file(), "").unwrap();
    drop(folder.open());
    drop(folder.open());
    let empty = folder.path().join("empty.redb");
    drop(Database::create(&empty).unwrap());
    drop(RedbQueue::builder().open(&empty).unwrap());
    drop(RedbQueue::builder().open(&empty).unwrap());
}

#[test]
fn a_newer_schema_is_refused_by_name() {
    let folder = Folder::new();
    write(&folder.file(), "tok-queue", &[("schema", 2)]);
    let error = error(&folder.file());
    assert!(matches!(error, OpenError::Newer { found: 2, .. }), "{error}");
    assert!(text(&error).contains("schema 2"), "{error}");
}

#[test]
fn what_is_no_queue_is_refused_and_stays_as_it_is() {
    let folder = Folder::new();
    let text_file = folder.path().join("text");
    let contents = "not a queue\n".repeat(1000);
    fs::write(&text_file, &contents).unwrap();
    assert!(matches!(error(&text_file), OpenError::Foreign { .. }));
    assert_eq!(fs::read_to_string(&text_file).unwrap(), contents);

    let [other, unmarked, multimap, wrong_types] =
        ["other", "unmarked", "multimap", "types"].map(|name| folder.path().join(name));
    write(&other, "accounts", &[("alice", 1)]);
    write(&unmarked, "tok-queue", &[("opening", 1)]);
    for (path, name) in [(&multimap, "accounts"), (&wrong_types, "tok-queue")] {
        let db = Database::create(path).unwrap();
        let txn = db.begin_write().unwrap();
        if path == &multimap {
            drop(txn.open_multimap_table(MultimapTableDefinition::<u8, u8>::new(name)).unwrap());
        } else {
            drop(txn.open_table(TableDefinition::<u8, u8>::new(name)).unwrap());
        }
        txn.commit().unwrap();
    }
    for path in [&other, &unmarked, &multimap, &wrong_types] {
        let error = error(path);
        assert!(matches!(error, OpenError::Foreign { .. }), "{}: {error}", path.display());
    }
    let db = Database::create(&other).unwrap();
    let txn = db.begin_write().unwrap();
    let accounts = txn.open_table(TableDefinition::<&str, u64>::new("accounts")).unwrap();
    assert_eq!(redb::ReadableTable::get(&accounts, "alice").unwrap().unwrap().value(), 1);
}

#[test]
fn what_the_system_refuses_says_which_file_and_why() {
    let folder = Folder::new();
    for path in [folder.path().to_owned(), folder.path().join("missing").join("queue.redb")] {
        let error = error(&path);
        assert!(matches!(error, OpenError::Io { .. }), "{error}");
        assert!(text(&error).starts_with(path.to_str().unwrap()), "{error}");
    }
}

#[test]
fn one_file_is_one_queue_within_a_process() {
    let folder = Folder::new();
    let queue = folder.open();
    assert!(matches!(error(&folder.file()), OpenError::InUse { .. }));
    enqueue(&queue, &Uid::from("alice"), &[entry(1, None)]).unwrap();
    drop(queue);
    assert_eq!(read(&folder.open(), &Uid::from("alice")).len(), 1);
}

/// A process of this test's own: the test itself, which finds the path in its environment.
#[test]
fn one_file_is_one_queue_among_processes() {
    const PATH: &str = "TOK_TEST_FILE_IN_USE";

    if let Some(path) = std::env::var_os(PATH) {
        let _queue = RedbQueue::builder().open(path).unwrap();
        println!("\nopen");
        // Until the other side goes away.
        io::stdin().lines().for_each(drop);
        return;
    }
    let folder = Folder::new();
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "files::one_file_is_one_queue_among_processes", "--nocapture"])
        .env(PATH, folder.file())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    assert!(lines.any(|line| line.unwrap() == "open"), "the other process has it open");
    let error = error(&folder.file());
    drop(child.stdin.take());
    lines.for_each(drop);
    assert!(child.wait().unwrap().success());
    assert!(matches!(error, OpenError::InUse { .. }), "{error}");
    drop(folder.open());
}

/// A file with messages of 40 users, closed in order.
fn filled(folder: &Folder) -> Vec<u8> {
    let queue = folder.open();
    for user in 0..40_u128 {
        let batch: Vec<_> = (0..10)
            .map(|i| entry(user * 10 + i, Some(if i % 2 == 0 { Duration::ZERO } else { HOUR })))
            .collect();
        enqueue(&queue, &Uid::from(user), &batch).unwrap();
    }
    drop(queue);
    fs::read(folder.file()).unwrap()
}

#[test]
fn a_file_that_lost_its_end_is_refused() {
    let folder = Folder::new();
    let whole = filled(&folder);
    for len in [100, 320, 4096, whole.len() / 2, whole.len() - 4096] {
        fs::write(folder.file(), &whole[..len]).unwrap();
        let error = error(&folder.file());
        assert!(matches!(error, OpenError::Damaged { .. }), "{len} bytes: {error}");
    }
}

/// Whatever is altered, with `verify` the file is as it was or refused; without, operations answer or fail, and nothing
/// panics.
#[test]
fn altered_bytes_are_found() {
    let folder = Folder::new();
    let whole = filled(&folder);
    let mut refused = 0;
    for seed in 0..100 {
        let mut rng = Rng::new(seed);
        let mut altered = whole.clone();
        for _ in 0..=rng.below(64) {
            altered[rng.below(whole.len() as u64) as usize] ^= 1 + rng.below(255) as u8;
        }
        println!("seed {seed}");
        fs::write(folder.file(), &altered).unwrap();
        match RedbQueue::builder().verify(true).open(folder.file()) {
            Ok(queue) => {
                for user in 0..40_u128 {
                    let ids: Vec<_> =
                        read(&queue, &Uid::from(user)).iter().map(|(_, it)| it.id.as_u128()).collect();
                    assert_eq!(ids, Vec::from_iter(user * 10..user * 10 + 10));
                }
            }
            Err(OpenError::Damaged { .. } | OpenError::Foreign { .. }) => refused += 1,
            Err(error) => panic!("{error}"),
        }

        fs::write(folder.file(), &altered).unwrap();
        if let Ok(queue) = RedbQueue::builder().open(folder.file()) {
            use tok_core::Queue;
            for user in 0..40_u128 {
                let uid = Uid::from(user);
                let _ = block_on(queue.peek(&uid, Seq::START, Limit::default()));
                let _ = block_on(queue.size(&uid));
            }
            let _ = enqueue(&queue, &Uid::from("alice"), &[entry(1, None)]);
            let _ = block_on(queue.ack(&Uid::from(1), Seq::new(u64::MAX), super::support::EPOCH));
            let _ = block_on(queue.sweep(100));
            let _ = block_on(queue.usage());
        }
    }
    assert!(refused > 10, "only {refused} were refused");
}

//! Every target on the committed corpus, and on inputs made from it: the same in every run. `TOK_FUZZ_CASES=N` runs so many
//! for each target, from another seed each time.

use std::{env, fs, path::PathBuf};

use fuzz::{TARGETS, target};
use proptest::{
    collection::vec,
    prelude::*,
    sample::{Index, select},
    test_runner::{Config, RngSeed, TestError, TestRunner},
};

macro_rules! targets {
    ($($test:ident $name:literal)*) => {
        $(#[test]
        fn $test() {
            check($name);
        })*

        #[test]
        fn every_target_is_tested_and_has_a_corpus() {
            let named: Vec<&str> = TARGETS.iter().map(|target| target.name).collect();
            assert_eq!(named, [$($name),*]);
            let mut folders: Vec<String> = fs::read_dir(corpus()).unwrap().map(|folder| {
                folder.unwrap().file_name().into_string().unwrap()
            }).collect();
            folders.sort();
            let mut named: Vec<String> = named.into_iter().map(str::to_owned).collect();
            named.sort();
            assert_eq!(folders, named);
        }
    };
}

targets! {
    tcp_frames "tcp-frames"
    tcp_login "tcp-login"
    ws_upgrade "ws-upgrade"
    ws_tokio_tungstenite "ws-tokio-tungstenite"
    ws_async_tungstenite "ws-async-tungstenite"
    ws_tokio_websockets "ws-tokio-websockets"
    cluster_frames "cluster-frames"
    tokens "tokens"
    records "records"
    operations "operations"
}

fn corpus() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("corpus")
}

fn check(name: &str) {
    let run = target(name).unwrap().run;
    let mut seeds = Vec::new();
    for file in fs::read_dir(corpus().join(name)).unwrap() {
        let path = file.unwrap().path();
        let seed = fs::read(&path).unwrap();
        // The test's own output names the file where it fails.
        println!("{}", path.display());
        run(&seed);
        seeds.push(seed);
    }
    assert!(!seeds.is_empty(), "{name} has no corpus");

    let wanted = env::var("TOK_FUZZ_CASES").ok().and_then(|cases| cases.parse().ok());
    let config = Config {
        cases: wanted.unwrap_or(1000),
        rng_seed: if wanted.is_some() { RngSeed::Random } else { RngSeed::Fixed(1) },
        // What fails becomes a test with a name.
        failure_persistence: None,
        ..Config::default()
    };
    let result = TestRunner::new(config).run(&inputs(seeds), |input| {
        run(&input);
        Ok(())
    });
    match result {
        Ok(()) => {}
        Err(TestError::Fail(why, input)) => panic!("{name}: {why}\nb\"{}\"", input.escape_ascii()),
        Err(error) => panic!("{name}: {error}"),
    }
}

/// Any bytes, and files of the corpus one behind the other with some bytes changed.
fn inputs(seeds: Vec<Vec<u8>>) -> impl Strategy<Value = Vec<u8>> {
    let edit = (any::<Index>(), 0..3_u8, byte());
    let edited = (vec(select(seeds), 1..4), vec(edit, 0..8)).prop_map(|(seeds, edits)| {
        let mut input = seeds.concat();
        for (at, what, byte) in edits {
            let at = at.index(input.len() + 1);
            match what {
                0 if at < input.len() => input[at] = byte,
                1 if at < input.len() => drop(input.remove(at)),
                _ => input.insert(at, byte),
            }
        }
        input
    });
    prop_oneof![1 => vec(byte(), 0..64), 3 => edited]
}

/// Mostly what numbers and lengths end with.
fn byte() -> impl Strategy<Value = u8> {
    prop_oneof![
        2 => any::<u8>(),
        1 => select(vec![0, 1, 2, 3, 4, 125, 126, 127, 128, 254, 255]),
        1 => select(b"&=|%+-_ \r\n:,aA0".to_vec()),
    ]
}

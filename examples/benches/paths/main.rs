//! The hot paths of the workspace, each by itself: `cargo bench -p examples --bench paths [FILTER]`.
//!
//! `paths --count NAME RUNS` runs one so many times and nothing else, for a tool that counts instructions:
//! `cargo xtask bench --instructions`. `paths --list-paths` lists them.

mod hub;
mod wire;

use divan::{Bencher, counter::ItemsCount};

/// What is run, and how many messages one run is.
struct Path {
    name: &'static str,
    messages: u32,
    make: fn() -> Box<dyn FnMut()>,
}

const fn path(name: &'static str, messages: u32, make: fn() -> Box<dyn FnMut()>) -> Path {
    Path { name, messages, make }
}

fn all() -> impl Iterator<Item = &'static Path> {
    hub::PATHS.iter().chain(wire::PATHS)
}

fn find(name: &str) -> &'static Path {
    all()
        .find(|path| path.name == name)
        .unwrap_or_else(|| panic!("there is no path {name}; see --list-paths"))
}

#[divan::bench(args = all().map(|path| path.name))]
fn paths(bencher: Bencher<'_, '_>, name: &str) {
    let path = find(name);
    bencher.counter(ItemsCount::new(path.messages)).bench_local((path.make)());
}

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["--list-paths"] => all().for_each(|path| println!("{} {}", path.messages, path.name)),
        ["--count", name, runs] => {
            let runs: usize = runs.parse().expect("a number of runs");
            let mut run = (find(name).make)();
            (0..runs).for_each(|_| run());
        }
        _ => divan::main(),
    }
}

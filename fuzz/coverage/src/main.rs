//! One program for all targets: `TOK_FUZZ_TARGET` names the one to run.

#![no_main]

use std::{
    alloc::{GlobalAlloc, Layout, System},
    sync::OnceLock,
};

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    static TARGET: OnceLock<fn(&[u8])> = OnceLock::new();
    let run = TARGET.get_or_init(|| {
        let name = std::env::var("TOK_FUZZ_TARGET").expect("TOK_FUZZ_TARGET names the target");
        fuzz::target(&name).expect("TOK_FUZZ_TARGET names a target that there is").run
    });
    run(data);
});

/// Inputs have a few KiB: whoever asks for so much at once asks for what an input only announces.
const MAX_ALLOCATION: usize = 1 << 20;

struct Modest;

#[global_allocator]
static MODEST: Modest = Modest;

// SAFETY: what is not refused is done by the system's allocator. A refusal ends the process.
unsafe impl GlobalAlloc for Modest {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        check(layout.size());
        // SAFETY: the caller's promises are passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        check(layout.size());
        // SAFETY: the caller's promises are passed on.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        check(size);
        // SAFETY: the caller's promises are passed on.
        unsafe { System.realloc(block, layout, size) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: the caller's promises are passed on.
        unsafe { System.dealloc(block, layout) }
    }
}

fn check(bytes: usize) {
    if bytes > MAX_ALLOCATION {
        // A panic would allocate, and come back here; libFuzzer reports an abort with the input.
        eprintln!("{bytes} bytes were asked for at once");
        std::process::abort();
    }
}

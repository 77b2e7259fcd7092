//! The power fails at a random point: what was answered for is there.

use super::{
    disk::{Disk, Trouble},
    driver::{Answer, Driver, Step},
    model::{Model, When},
    seeds,
};
use crate::redb::store::Options;
use tok_core::testkit::sim::Rng;

/// Some files are repaired at once when they are opened, and some caches hold hardly anything.
pub(super) fn options(rng: &mut Rng) -> Options {
    Options {
        cache_bytes: [1 << 14, 1 << 20][rng.below(2) as usize],
        fast_recovery: rng.below(3) == 0,
        verify: rng.below(4) == 0,
        compact: rng.below(4) == 0,
    }
}

#[test]
fn what_was_answered_for_survives_power_cuts() {
    seeds("what_was_answered_for_survives_power_cuts", |seed| {
        let mut rng = Rng::new(seed);
        let options = options(&mut rng);
        let disk = Disk::new(rng.next());
        let mut model = Model::new(rng.next());
        for _ in 0..4 {
            disk.set(Trouble::Cut(rng.below(400)));
            let when = run(&disk, options, &mut model, &mut rng);
            if when == When::PowerFailed {
                disk.power_cycle();
            }
            check(&disk, options, &mut model, when);
        }
        sweep_everything(&disk, options, &model);
        model.done
    });
}

/// Works until the power fails, or ends before.
fn run(disk: &std::sync::Arc<Disk>, options: Options, model: &mut Model, rng: &mut Rng) -> When {
    let Ok(mut driver) = Driver::open(disk, options) else {
        assert!(disk.is_off(), "only the power is in the way");
        return When::PowerFailed;
    };
    let groups = rng.below(40);
    for _ in 0..groups {
        let steps = model.steps();
        let answers = driver.group(steps.clone());
        model.take(&steps, answers);
        if disk.is_off() {
            return When::PowerFailed;
        }
        match rng.below(8) {
            0 => {
                driver.sync();
                if disk.is_off() {
                    return When::PowerFailed;
                }
                model.forget_acked();
            }
            1 => {
                disk.set(Trouble::Nothing);
                model.compare(&driver, When::Open);
                disk.set(Trouble::Cut(rng.below(400)));
            }
            _ => {}
        }
    }
    if rng.below(2) == 0 {
        return When::PowerFailed;
    }
    driver.close();
    if disk.is_off() { When::PowerFailed } else { When::Ended }
}

fn check(disk: &std::sync::Arc<Disk>, options: Options, model: &mut Model, when: When) {
    disk.set(Trouble::Nothing);
    let driver = Driver::open(disk, options).expect("the file opens");
    model.compare(&driver, when);
    driver.close();
}

/// Everything that expires does, and that is all.
pub(super) fn sweep_everything(disk: &std::sync::Arc<Disk>, options: Options, model: &Model) {
    let mut driver = Driver::open(disk, options).expect("the file opens");
    let answers = driver.group(vec![Step::Sweep(u64::MAX, usize::MAX)]);
    let [Answer::Sweep(Ok(swept))] = answers.as_slice() else { panic!("a sweep gave {answers:?}") };
    let (mut expired, mut left) = (swept.expired.clone(), model.left());
    expired.sort_by_key(|(_, entry)| entry.id);
    left.sort_by_key(|(_, entry)| entry.id);
    assert_eq!(expired, left);
    driver.close();
}

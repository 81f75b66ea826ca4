//! Fuzzing for a bounded time: cases from one seed until the time is up; one that fails is made small and told with its seed.

use std::{
    fmt::Debug,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use proptest::{
    strategy::Strategy,
    test_runner::{Config, RngAlgorithm, TestError, TestRng, TestRunner},
};

/// How long a fuzzer runs where `FUZZ_SECONDS` does not say it.
const SECONDS: f64 = 2.0;

/// How long each fuzzer is to run.
pub(crate) fn time() -> Duration {
    let seconds = std::env::var("FUZZ_SECONDS").ok().map(|text| text.parse().expect("FUZZ_SECONDS is a number"));
    Duration::from_secs_f64(seconds.unwrap_or(SECONDS))
}

/// The seed that was asked for, else one of the clock's.
fn seed() -> u64 {
    match std::env::var("FUZZ_SEED") {
        Ok(text) => text.parse().expect("FUZZ_SEED is a number"),
        Err(_) => SystemTime::now().duration_since(UNIX_EPOCH).map_or(1, |since| since.as_nanos() as u64 >> 10),
    }
}

/// What is by chance in a case.
fn rng(seed: u64) -> TestRng {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    TestRng::from_seed(RngAlgorithm::ChaCha, &bytes)
}

/// Tries cases until the time is up, at least one. Each has a seed of its own, and the first that of the run: the seed
/// that a failure tells is `FUZZ_SEED` of its repetition.
pub(crate) fn fuzz<S: Strategy>(name: &str, strategy: &S, test: impl Fn(S::Value))
where
    S::Value: Debug,
{
    let (began, time, first) = (Instant::now(), time(), seed());
    let (mut seed, mut cases) = (first, 0_u64);
    while cases == 0 || began.elapsed() < time {
        let config =
            Config { failure_persistence: None, max_shrink_time: 20_000, max_shrink_iters: 2_000, ..Config::default() };
        let mut runner = TestRunner::new_with_rng(config, rng(seed));
        let case = strategy.new_tree(&mut runner).expect("a case");
        let tried = runner.run_one(case, |value| {
            test(value);
            Ok(())
        });
        match tried {
            Ok(_) => {}
            Err(TestError::Abort(why)) => panic!("fuzz {name}, FUZZ_SEED={seed}: {why}"),
            Err(TestError::Fail(why, value)) => {
                panic!("fuzz {name}, after {cases} cases, FUZZ_SEED={seed}: {why}\nthe least that does it: {value:?}")
            }
        }
        cases += 1;
        // Any other seed will do: an odd constant of SplitMix64.
        seed = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    }
    eprintln!("fuzz {name}: {cases} cases in {:.1} s from FUZZ_SEED={first}", began.elapsed().as_secs_f64());
}

//! The demo and the benchmark, in small.

use super::{code, errors, jeton, parsed};

#[tokio::test]
async fn the_demo_proves_its_ledger_over_a_killed_leader() {
    let words = "demo --seconds 10 --users 60 --families 400 --callers 16 --seed 7 -o json";
    let output = jeton(words, "").await;
    let report = parsed(&output);
    assert_eq!((report["ok"].as_bool(), code(&output)), (Some(true), 0), "{}", errors(&output));
    assert!(report["leader_kills"].as_u64() >= Some(1));
    assert!(report["reused"].as_u64() >= Some(1));
    assert_eq!(report["lost"], 0);
}

#[tokio::test]
async fn the_benchmark_checks_its_own_results() {
    let words = "bench rotate --in-flight 16 --families 200 --seconds 1 --warmup 0 -o json";
    let output = jeton(words, "").await;
    assert_eq!(code(&output), 0, "{}", errors(&output));
    let report = parsed(&output);
    assert!(report["ops_per_s"].as_f64().unwrap() > 0.0, "{report}");
    assert!(report["log_syncs"].as_u64().unwrap() > 0, "{report}");
    assert!(report["p50_us"].as_u64() <= report["p999_us"].as_u64(), "{report}");
    assert!(errors(&output).contains("at the generation that was acknowledged"));
}

//! The demo and the benchmarks, in small.

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

#[tokio::test]
async fn the_benchmark_of_a_revocation_judges_every_answer() {
    let words = "bench revoke --in-flight 8 --families 1000 --seconds 1 --warmup 0 -o json";
    let output = jeton(words, "").await;
    assert_eq!(code(&output), 0, "{}", errors(&output));
    let report = parsed(&output);
    assert_eq!((report["families"].as_u64(), report["revoked"].as_u64()), (Some(1_000), Some(500)));
    assert_eq!((&report["wrongly_saved"], &report["wrongly_killed"]), (&0.into(), &0.into()));
    for when in ["before", "during", "after"] {
        assert!(report[when]["rotations_per_s"].as_f64().unwrap() > 0.0, "{when}: {report}");
    }
    assert!(report["refused"].as_u64() >= Some(500), "each is asked once more: {report}");
    assert!(report["moved_in"].as_u64() > Some(0), "{report}");
    assert!(errors(&output).contains("swept: 500 families marked"), "{}", errors(&output));
}

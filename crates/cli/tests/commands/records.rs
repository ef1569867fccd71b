//! Records from the shell.

use super::{cluster, code, errors, jeton, json};

#[tokio::test]
async fn a_code_is_consumed_once_on_the_command_line() {
    let cluster = cluster(1).await;
    let at = cluster.endpoints().join(",");
    json("tenant create default", &at).await;
    let put = "record put code c --value grant --lifetime 1m --create-only --if client=web";
    let (made, exit) = json(put, &at).await;
    assert_eq!((made["version"].as_u64(), exit), (Some(1), 0));
    assert!(made["position"].is_string(), "positions are strings: {made}");
    assert_eq!(code(&jeton(put, &at).await), 1, "there is one");

    let (wrong, exit) = json("record consume code c --if client=evil", &at).await;
    assert_eq!((wrong["reason"].as_str(), exit), (Some("PRECONDITION_FAILED"), 1));
    let (first, exit) = json("record consume code c --if client=web", &at).await;
    assert_eq!((first["value"].as_str(), exit), (Some("grant"), 0));
    let (again, exit) = json("record consume code c --if client=web", &at).await;
    assert_eq!((again["reason"].as_str(), exit), (Some("ALREADY"), 1));
    let (shown, _) = json("record get code c", &at).await;
    assert!(shown["consumed_at_unix_ms"].is_u64(), "{shown}");

    for key in ["a", "b", "c"] {
        json(&format!("record put consent {key} --value {key} --index alice"), &at).await;
    }
    let (page, _) = json("record find consent alice --page-size 2", &at).await;
    assert_eq!(page["records"].as_array().unwrap().len(), 2, "{page}");
    let next = page["next_page"].as_str().unwrap();
    let (rest, _) = json(&format!("record find consent alice --page {next}"), &at).await;
    assert_eq!(rest["records"].as_array().unwrap().len(), 1, "{rest}");
    json("record delete --all-of alice consent", &at).await;
    let (none, _) = json("record find consent alice", &at).await;
    assert!(none["records"].as_array().unwrap().is_empty(), "{none}");
}

#[tokio::test]
async fn kinds_guesses_and_proofs_on_the_command_line() {
    let cluster = cluster(1).await;
    let at = cluster.endpoints().join(",");
    json("tenant create default", &at).await;
    let set = "record kind set device --misses 1 --misses-per-tenant 9 --window 1m";
    let (kinds, exit) = json(set, &at).await;
    assert_eq!((kinds["kinds"][0]["misses_per_guesser"].as_u64(), exit), (Some(1), 0));
    json("record put device d --value grant --lifetime 1m --index WDJB", &at).await;
    let bare = jeton("record get device d", &at).await;
    assert_eq!(code(&bare), 2, "{}", errors(&bare));
    let (found, exit) = json("record look-up device WDJB --index --guesser ip", &at).await;
    assert_eq!((found["value"].as_str(), exit), (Some("grant"), 0));
    for _ in 0..2 {
        let missed = jeton("record look-up device AAAA --index --guesser ip", &at).await;
        assert_eq!(code(&missed), 1, "{}", errors(&missed));
    }
    let late = jeton("record look-up device WDJB --index --guesser ip", &at).await;
    assert!(errors(&late).contains("too many"), "{}", errors(&late));

    let seen = "record seen-once dpop --issuer web --id j --expires-at 9999999999999";
    assert_eq!(code(&jeton(seen, &at).await), 2, "too far away");
    let seen = "record seen-once dpop --issuer web --id j --expires-at 1";
    let (past, exit) = json(seen, &at).await;
    assert_eq!((past["result"].as_str(), exit), (Some("EXPIRED"), 1));
    let (none, _) = json("record collect-expired device", &at).await;
    assert_eq!(none["count"].as_u64(), Some(0));
}

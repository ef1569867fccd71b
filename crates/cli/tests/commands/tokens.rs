//! Tenants and tokens from the shell.

use super::{cluster, code, errors, jeton, jeton_with, json, parsed};

#[tokio::test]
async fn a_token_lives_and_dies_on_the_command_line() {
    let cluster = cluster(1).await;
    let at = cluster.endpoints().join(",");
    let (tenant, exit) = json("tenant create acme --grace 0s --rotations-per-s 0", &at).await;
    assert_eq!((tenant["tenant"].as_str(), exit), (Some("acme"), 0));
    let again = jeton("tenant create acme", &at).await;
    assert_eq!(code(&again), 1, "{}", errors(&again));

    let create = "token create --tenant acme --subject alice --client web --grace 30s";
    let (first, exit) = json(create, &at).await;
    assert_eq!(exit, 0);
    assert!(first["position"].is_string(), "positions are strings: {first}");
    let token = first["token"].as_str().unwrap();

    let rotate = "token rotate --tenant acme --client web - -o json";
    let second = parsed(&jeton_with(rotate, &at, token).await);
    let once_more = parsed(&jeton_with(rotate, &at, &format!("{token}\n")).await);
    assert_eq!(second["result"], "ROTATED");
    assert_eq!(once_more["result"], "REPLAYED");
    assert_eq!(second["token"], once_more["token"], "the identical successor");

    let validate = "token validate --tenant acme -o json -";
    let newest = second["token"].as_str().unwrap();
    let valid = jeton_with(validate, &at, newest).await;
    assert_eq!((code(&valid), parsed(&valid)["result"].as_str()), (0, Some("ACTIVE")));
    let (family, _) =
        json(&format!("family get --tenant acme {}", first["family"].as_str().unwrap()), &at).await;
    assert_eq!(
        (family["generation"].as_u64(), family["state"].as_str()),
        (Some(1), Some("ACTIVE"))
    );

    let (revoked, exit) = json("revoke --tenant acme --subject alice", &at).await;
    assert_eq!((revoked["result"].as_str(), exit), (Some("REVOKED"), 0));
    let dead = jeton_with(rotate, &at, newest).await;
    assert_eq!((code(&dead), parsed(&dead)["reason"].as_str()), (1, Some("REVOKED")));
}

#[tokio::test]
async fn a_stolen_token_kills_its_family() {
    let cluster = cluster(1).await;
    let at = cluster.endpoints().join(",");
    json("tenant create acme --rotations-per-s 0", &at).await;
    let create = "token create --tenant acme --subject alice --client web --grace 0s";
    let (first, _) = json(create, &at).await;
    let rotate = "token rotate --tenant acme --client web -o json -";
    let stolen = first["token"].as_str().unwrap();
    let second = parsed(&jeton_with(rotate, &at, stolen).await);
    let third = parsed(&jeton_with(rotate, &at, second["token"].as_str().unwrap()).await);
    assert_eq!(third["generation"], 2);
    let caught = jeton_with(rotate, &at, stolen).await;
    assert_eq!((code(&caught), parsed(&caught)["reason"].as_str()), (1, Some("REUSED")));
    let owner = jeton_with(rotate, &at, third["token"].as_str().unwrap()).await;
    assert_eq!(parsed(&owner)["cause"], "REUSE");
}

#[tokio::test]
async fn settings_change_only_where_they_are_named() {
    let cluster = cluster(1).await;
    let at = cluster.endpoints().join(",");
    let (made, _) = json("tenant create acme --grace 10s", &at).await;
    let (set, exit) = json("tenant set acme --shadow true", &at).await;
    assert_eq!(exit, 0);
    assert_eq!(set["grace_default_ms"], 10_000);
    assert_eq!((made["shadow"].as_bool(), set["shadow"].as_bool()), (Some(false), Some(true)));
    let version = made["version"].as_u64().unwrap();
    let late = jeton(&format!("tenant set acme --shadow false --if-version {version}"), &at).await;
    assert_eq!(code(&late), 1, "{}", errors(&late));
    assert_eq!(code(&jeton("tenant set acme", &at).await), 2, "nothing to change");
    let (key, _) = json("tenant rotate-key acme", &at).await;
    assert_ne!(key["kid"], made["kid"]);
    let (list, _) = json("tenant list", &at).await;
    assert_eq!(list["tenants"][0]["kid"], key["kid"]);
}

#[tokio::test]
async fn opaque_tokens_are_minted_rotated_adopted_and_revoked() {
    let cluster = cluster(1).await;
    let at = cluster.endpoints().join(",");
    json("tenant create acme --rotations-per-s 0 --ancestors-max 16", &at).await;
    let create = "token create --tenant acme --subject alice --client web --opaque";
    let (first, exit) = json(create, &at).await;
    assert_eq!(exit, 0);
    let token = first["token"].as_str().unwrap();
    assert!(!token.starts_with("jrt_") && token.len() == 64);

    let rotate = "token rotate --tenant acme --client web - -o json";
    let adopt = "token rotate --tenant acme --client web --adopt - -o json";
    let second = parsed(&jeton_with(rotate, &at, token).await);
    let sibling = parsed(&jeton_with(rotate, &at, token).await);
    let loser = parsed(&jeton_with(adopt, &at, token).await);
    assert_eq!(
        (second["result"].as_str(), second["generation"].as_u64()),
        (Some("ROTATED"), Some(1))
    );
    assert_eq!(
        (sibling["result"].as_str(), &sibling["token"]),
        (Some("REPLAYED"), &second["token"])
    );
    assert_eq!(
        (loser["result"].as_str(), loser["generation"].as_u64()),
        (Some("ADOPTED"), Some(1))
    );
    assert_ne!(loser["token"], second["token"]);

    let validate = "token validate --tenant acme -o json -";
    for held in [&second, &loser] {
        let valid = jeton_with(validate, &at, held["token"].as_str().unwrap()).await;
        assert_eq!(parsed(&valid)["opaque"].as_bool(), Some(true));
    }
    let nobodys = jeton_with(rotate, &at, &"0".repeat(64)).await;
    assert_eq!((code(&nobodys), parsed(&nobodys)["reason"].as_str()), (1, Some("NOT_FOUND")));
    assert_eq!(code(&jeton_with(rotate, &at, "short").await), 2, "no token at all");
    let revoke = "token revoke --tenant acme --client web - -o json";
    let revoked = parsed(&jeton_with(revoke, &at, token).await);
    assert_eq!(revoked["result"], "REVOKED");
    let native = "token create --tenant acme --subject alice --client web";
    let (native, _) = json(native, &at).await;
    let refused = jeton_with(adopt, &at, native["token"].as_str().unwrap()).await;
    assert_eq!(code(&refused), 2, "native tokens are not adopted");
}

#[tokio::test]
async fn families_are_capped_listed_and_counted() {
    let cluster = cluster(1).await;
    let at = cluster.endpoints().join(",");
    json("tenant create acme --families-max-soft 3", &at).await;
    let create = "token create --tenant acme --subject alice --client web --attribute region=eu";
    let mut made = Vec::new();
    for n in 0..4 {
        let (family, exit) =
            json(&format!("{create} --cap 3 --cap-scope subject-client"), &at).await;
        assert_eq!(exit, 0);
        assert_eq!(family["over_soft_quota"].as_bool(), (n == 3).then_some(true), "{family}");
        made.push(family);
    }
    assert_eq!(made[3]["evicted"][0], made[0]["family"]);
    let denied = jeton(&format!("{create} --cap 1 --cap-policy deny"), &at).await;
    assert_eq!(code(&denied), 1);
    assert!(errors(&denied).contains("the cap of 1 allows"), "{}", errors(&denied));
    assert_eq!(code(&jeton(&format!("{create} --cap-policy deny"), &at).await), 2, "of which cap?");

    let (page, _) = json("token list --tenant acme --subject alice --limit 2", &at).await;
    assert_eq!(page["families"].as_array().unwrap().len(), 2);
    let next = page["next_page"].as_str().unwrap();
    let rest = format!("token list --tenant acme --subject alice --limit 2 --page {next}");
    let (rest, _) = json(&rest, &at).await;
    assert_eq!(rest["families"][0]["family"], made[3]["family"]);
    assert!(rest["next_page"].is_null());

    let count = async |filter: &str| {
        let (count, exit) = json(&format!("token count --tenant acme {filter}"), &at).await;
        assert_eq!((exit, count["at_least"].as_bool()), (0, Some(false)));
        count["families"].as_u64().unwrap()
    };
    assert_eq!(count("--subject alice").await, 3);
    assert_eq!(count("--subject alice --dead").await, 4);
    assert_eq!(count("--client web --attribute region=us").await, 0);
    assert_eq!(count("--client web --attribute region=eu").await, 3);
    assert_eq!(code(&jeton("token count --tenant acme", &at).await), 2, "of which families?");
    assert_eq!(code(&jeton("token list --tenant acme --client web --limit 1001", &at).await), 2);
}

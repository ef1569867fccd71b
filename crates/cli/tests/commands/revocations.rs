//! Revocations of all that matches from the shell.

use tokio::time::Instant;

use super::{PATIENCE, cluster, code, errors, jeton, jeton_with, json, parsed};

#[tokio::test]
async fn a_region_is_counted_revoked_and_followed_on_the_command_line() {
    let cluster = cluster(1).await;
    let at = cluster.endpoints().join(",");
    json("tenant create acme", &at).await;
    let create = "token create --tenant acme --subject alice --client web";
    let (eu, _) =
        json(&format!("{create} --attribute region=eu --attribute ip=10.1.2.3"), &at).await;
    let (us, _) =
        json(&format!("{create} --attribute region=us --attribute ip=10.1.2.3"), &at).await;
    let (kept, _) = json(&format!("{create} --attribute region=eu"), &at).await;
    let name = |made: &serde_json::Value| made["family"].as_str().unwrap().to_owned();

    let (dry, exit) = json("revoke --tenant acme --ip 10.0.0.0/8 --dry-run", &at).await;
    assert_eq!((dry["result"].as_str(), exit), (Some("DRY_RUN"), 0));
    assert_eq!((&dry["matched"]["families"], &dry["matched"]["exact"]), (&2.into(), &true.into()));

    let except = format!("--except-family {} --except-session nobody", name(&kept));
    let revoke = format!("revoke --tenant acme --region eu {except} --reason law --wait-all");
    let (revoked, exit) = json(&revoke, &at).await;
    assert_eq!((revoked["result"].as_str(), exit), (Some("REVOKED"), 0));
    assert_eq!((&revoked["matched"]["families"], &revoked["predicate"]), (&1.into(), &true.into()));
    assert_eq!(revoked["kept_families"][0], name(&kept));
    assert_eq!(revoked["kept_sessions"].as_array().map(Vec::len), Some(0), "nobody is alive");
    assert_eq!(revoked["everywhere"]["all"], true);
    for (made, state) in [(&eu, "DEAD"), (&us, "ACTIVE"), (&kept, "ACTIVE")] {
        let (family, _) = json(&format!("family get --tenant acme {}", name(made)), &at).await;
        assert_eq!(family["state"], state, "{family}");
    }

    let position = revoked["position"].as_str().unwrap();
    let show = format!("revocation show --tenant acme {position}");
    let deadline = Instant::now() + PATIENCE;
    let done = loop {
        let (shown, exit) = json(&show, &at).await;
        assert_eq!((exit, &shown["reason"]), (0, &"law".into()), "{shown}");
        if shown["state"] == "DONE" {
            break shown;
        }
        assert_eq!(shown["state"], "SWEEPING");
        assert!(Instant::now() < deadline, "the sweep doesn't end: {shown}");
    };
    assert_eq!(
        (&done["sweep"]["families_marked"], &done["criteria"][0]),
        (&1.into(), &"region=eu".into())
    );

    let (cut, _) = json("revoke --tenant acme --subject alice", &at).await;
    let show = format!("revocation show --tenant acme {}", cut["position"].as_str().unwrap());
    assert_eq!(json(&show, &at).await.0["state"], "CUTOFF");

    let future = jeton("revoke --tenant acme --created-before 99999999999", &at).await;
    assert!(code(&future) != 0 && errors(&future).contains("future"), "{}", errors(&future));
    let ambiguous = jeton("revoke --tenant acme --ip 10.1.0.0/8", &at).await;
    assert!(errors(&ambiguous).contains("10.0.0.0/8"), "{}", errors(&ambiguous));
    let nothing = jeton("revocation show --tenant acme 12", &at).await;
    assert_eq!(code(&nothing), 1, "{}", errors(&nothing));
}

#[tokio::test]
async fn addresses_and_regions_are_given_where_revocations_go_by_them() {
    let cluster = cluster(1).await;
    let at = cluster.endpoints().join(",");
    json("tenant create acme --rotations-per-s 0", &at).await;
    let create = "token create --tenant acme --subject alice --client web";
    let (office, _) = json(&format!("{create} --ip 10.1.2.3 --region eu"), &at).await;
    let (home, _) = json(&format!("{create} --ip 192.168.0.1 --region us"), &at).await;
    let create = "session create --tenant acme --subject alice";
    json(&format!("{create} --ip 10.1.2.3 --region us at-work"), &at).await;
    json(&format!("{create} --region eu at-home"), &at).await;

    let matches = async |criteria: &str| {
        let (dry, _) = json(&format!("revoke --tenant acme --dry-run {criteria}"), &at).await;
        (dry["matched"]["families"].as_u64(), dry["matched"]["sessions"].as_u64())
    };
    assert_eq!(matches("--ip 10.0.0.0/8").await, (Some(1), Some(1)));
    assert_eq!(matches("--region eu").await, (Some(1), Some(1)));
    assert_eq!(matches("--region us --ip 10.0.0.0/8").await, (Some(0), Some(1)));

    // Who is seen elsewhere is known by that.
    let rotate = async |made: &serde_json::Value, ip: &str| {
        let rotate = format!("token rotate --tenant acme --client web --ip {ip} -o json -");
        parsed(&jeton_with(&rotate, &at, made["token"].as_str().unwrap()).await)
    };
    assert_eq!(rotate(&home, "10.9.9.9").await["result"], "ROTATED");
    assert_eq!(matches("--ip 10.0.0.0/8").await, (Some(2), Some(1)));
    assert_eq!(rotate(&office, "192.168.0.2").await["result"], "ROTATED");
    assert_eq!(matches("--ip 10.0.0.0/8").await, (Some(1), Some(1)));
}

//! Access tokens from the shell.

use super::{cluster, code, errors, jeton, json};

#[tokio::test]
async fn an_access_token_is_revoked_and_checked_on_the_command_line() {
    let cluster = cluster(1).await;
    let at = cluster.endpoints().join(",");
    json("tenant create acme", &at).await;
    let check = "check --tenant acme --jti t1 --client web --max-age 1m";
    let (active, exit) = json("check --tenant acme --jti t1 --client web", &at).await;
    assert_eq!((active["result"].as_str(), exit), (Some("ACTIVE"), 0));
    assert!(active["position"].is_string(), "positions are strings: {active}");

    let (expired, exit) =
        json("revoke --tenant acme --jti t1 --client web --expires-at 1", &at).await;
    assert_eq!((expired["result"].as_str(), exit), (Some("UNKNOWN"), 0));
    let (revoked, exit) = json("revoke --tenant acme --jti t1 --client web", &at).await;
    assert_eq!((revoked["result"].as_str(), exit), (Some("REVOKED"), 0));
    let (denied, exit) = json("check --tenant acme --jti t1 --client web", &at).await;
    assert_eq!((denied["result"].as_str(), exit), (Some("DENIED"), 1));
    assert_eq!((&denied["basis"], &denied["cause"]), (&"JTI".into(), &"ACCESS_TOKEN".into()));
    assert_eq!(denied["revoked_position"], revoked["position"]);
    let (soon, exit) = json(check, &at).await;
    assert!(soon["result"] == "DENIED" && exit == 1, "its own node holds it: {soon}");

    let nobody = jeton("check --tenant nobody --jti t1 --client web", &at).await;
    assert_eq!(code(&nobody), 1, "{}", errors(&nobody));
}

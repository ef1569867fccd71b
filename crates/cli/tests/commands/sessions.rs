//! Sessions and suspensions from the shell.

use super::{cluster, code, errors, jeton, jeton_with, json, parsed};

#[tokio::test]
async fn a_session_lives_and_ends_on_the_command_line() {
    let cluster = cluster(1).await;
    let at = cluster.endpoints().join(",");
    json("tenant create acme --rotations-per-s 0", &at).await;
    let create = "session create --tenant acme --subject alice --device laptop --idle 1h sid-1";
    let (made, exit) = json(create, &at).await;
    assert_eq!((made["session"].as_str(), exit), (Some("sid-1"), 0));
    assert!(made["position"].is_string(), "positions are strings: {made}");
    let again = jeton(create, &at).await;
    assert_eq!(code(&again), 1, "{}", errors(&again));

    let bound = "token create --tenant acme --subject alice --client web --session sid-1";
    let (token, exit) = json(bound, &at).await;
    assert_eq!(exit, 0, "{token}");
    let (family, _) =
        json(&format!("family get --tenant acme {}", token["family"].as_str().unwrap()), &at).await;
    assert_eq!(family["session"], "sid-1");

    let touch = "session touch --tenant acme sid-1 --at-version 1 --attribute acr=2";
    let (touched, exit) = json(touch, &at).await;
    assert_eq!((touched["version"].as_u64(), exit), (Some(2), 0));
    assert_eq!(code(&jeton(touch, &at).await), 1, "the version has moved on");
    let (session, _) = json("session get --tenant acme sid-1", &at).await;
    assert_eq!((session["state"].as_str(), session["clients"].as_u64()), (Some("ACTIVE"), Some(1)));
    assert_eq!(session["attributes"]["acr"], "2");

    let (ended, exit) = json("session end --tenant acme sid-1 --reason logout", &at).await;
    assert_eq!((ended["result"].as_str(), exit), (Some("ENDED"), 0));
    assert_eq!(ended["notify"], serde_json::json!(["web"]));
    let rotate = "token rotate --tenant acme --client web -o json -";
    let dead = jeton_with(rotate, &at, token["token"].as_str().unwrap()).await;
    assert_eq!((code(&dead), parsed(&dead)["cause"].as_str()), (1, Some("SESSION")));
    let late = jeton(bound, &at).await;
    assert_eq!(code(&late), 1, "{}", errors(&late));
    let (again, exit) = json("session end --tenant acme sid-1", &at).await;
    assert_eq!((again["result"].as_str(), exit), (Some("ALREADY"), 0));
    let (unknown, exit) = json("session end --tenant acme nobody", &at).await;
    assert_eq!((unknown["result"].as_str(), exit), (Some("UNKNOWN"), 0));

    let (alive, _) = json("session list --tenant acme alice", &at).await;
    assert_eq!(alive["sessions"].as_array().map(Vec::len), Some(0));
    let (all, _) = json("session list --tenant acme alice --ended", &at).await;
    assert_eq!(all["sessions"][0]["dead"]["cause"], "SESSION");
    assert_eq!(code(&jeton("session get --tenant acme nobody", &at).await), 1);
}

#[tokio::test]
async fn what_is_suspended_on_the_command_line_lives_again() {
    let cluster = cluster(1).await;
    let at = cluster.endpoints().join(",");
    json("tenant create acme --rotations-per-s 0", &at).await;
    let (token, _) = json("token create --tenant acme --subject alice --client web", &at).await;
    let (token, family) = (token["token"].as_str().unwrap(), token["family"].as_str().unwrap());
    let validate = "token validate --tenant acme -o json -";
    let roots = ["--subject alice".into(), "--client web".into(), "--tenant-wide".into()];
    for root in roots.into_iter().chain([format!("--family {family}")]) {
        let suspend = format!("suspend --tenant acme --reason fraud {root}");
        let (held, exit) = json(&suspend, &at).await;
        assert_eq!((held["result"].as_str(), exit), (Some("SUSPENDED"), 0), "{root}");
        assert_eq!(json(&suspend, &at).await.0["already"], true);
        let dead = jeton_with(validate, &at, token).await;
        assert_eq!((code(&dead), parsed(&dead)["cause"].as_str()), (1, Some("SUSPENSION")));
        let (held, exit) = json(&format!("resume --tenant acme {root}"), &at).await;
        assert_eq!((held["result"].as_str(), exit), (Some("RESUMED"), 0), "{root}");
        assert_eq!(code(&jeton_with(validate, &at, token).await), 0);
    }
    let (required, exit) = json("reauthenticate --tenant acme alice", &at).await;
    assert_eq!((required["result"].as_str(), exit), (Some("REQUIRED"), 0));
    // It says nothing of when alice was authenticated.
    assert_eq!(code(&jeton_with(validate, &at, token).await), 0);
}

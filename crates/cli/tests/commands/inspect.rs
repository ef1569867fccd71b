//! Looking into the directory of a node that was killed.

use serde_json::Value;

use super::{PATIENCE, cluster, code, errors, jeton, jeton_with, json, parsed};

/// The lines that a command printed, each JSON.
fn lines(output: &std::process::Output) -> Vec<Value> {
    let text = String::from_utf8(output.stdout.clone()).expect("UTF-8");
    text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

#[tokio::test]
async fn the_directory_of_a_killed_node_is_looked_into() {
    let mut cluster = cluster(1).await;
    let at = cluster.endpoints().join(",");
    json("tenant create acme --grace 1h --rotations-per-s 0", &at).await;
    json("tenant create other", &at).await;
    let create = "token create --tenant acme --subject alice --client web --attribute region=eu";
    let (first, _) = json(create, &at).await;
    let token = first["token"].as_str().unwrap();
    let rotate = "token rotate --tenant acme --client web -o json -";
    let second = parsed(&jeton_with(rotate, &at, token).await);
    json("token create --tenant other --subject bob --client web", &at).await;
    json("record put code c --tenant acme --value hunter2 --lifetime 1h", &at).await;
    json("session create --tenant acme s1 --subject alice", &at).await;

    let dir = cluster.data_dir(0).display().to_string();
    let running = jeton(&format!("inspect {dir}"), "").await;
    assert_eq!(code(&running), 3);
    assert!(errors(&running).contains("in use by another process"), "{}", errors(&running));
    cluster.kill(0).await.unwrap();

    let (whole, exit) = json(&format!("inspect {dir} --replay"), "").await;
    assert_eq!((whole["result"].as_str(), exit), (Some("WHOLE"), 0), "{whole}");
    assert_eq!(whole["tenants"], serde_json::json!(["acme", "other"]));
    assert_eq!(whole["kinds"]["family"]["rows"], 2);
    assert_eq!(whole["state"]["members"][0]["voter"], true);
    assert_eq!(whole["state"]["applied"], whole["log"]["committed"]);
    assert!(whole["state"]["position"].is_string());
    let table = jeton(&format!("inspect {dir}"), "").await;
    assert!(String::from_utf8_lossy(&table.stdout).contains("WHOLE"));

    // Rows, of all tenants or of one; never what could be used.
    let families = jeton(&format!("inspect {dir} --replay --rows family"), "").await;
    assert_eq!(lines(&families).len(), 2);
    let of_acme = jeton(&format!("inspect {dir} --replay --rows family --tenant acme"), "").await;
    let of_acme = lines(&of_acme);
    assert_eq!(of_acme.len(), 1);
    assert_eq!(of_acme[0]["family"], first["family"]);
    assert_eq!(of_acme[0]["row"]["subject"], "alice");
    assert_eq!(of_acme[0]["row"]["head"]["generation"], "1");
    assert_eq!(of_acme[0]["row"]["head"]["digest"], "(16 bytes)");
    let seal = of_acme[0]["row"]["head"]["seal"].as_str().unwrap();
    assert!(seal.starts_with('(') && seal.ends_with(" bytes)"), "{seal}");
    let keys = jeton(&format!("inspect {dir} --replay --rows tenant_keys --limit 1"), "").await;
    let keys = lines(&keys);
    assert_eq!((keys.len(), &keys[0]["row"]["keys"][0]["material"]), (1, &"(32 bytes)".into()));
    for (kind, tally) in whole["kinds"].as_object().unwrap() {
        let rows = jeton(&format!("inspect {dir} --replay --rows {kind}"), "").await;
        assert_eq!(code(&rows), 0, "{kind}: {}", errors(&rows));
        assert_eq!(tally["rows"], lines(&rows).len(), "{kind}");
        let text = String::from_utf8(rows.stdout).unwrap();
        assert!(!text.contains("damaged"), "{text}");
        for secret in ["hunter2", token, second["token"].as_str().unwrap()] {
            assert!(!text.contains(secret), "{kind} shows {secret}: {text}");
        }
    }

    // The log, entry by entry.
    let entries = lines(&jeton(&format!("inspect {dir} --log -o json"), "").await);
    let rotations = entries.iter().filter(|entry| entry["commands"]["rotate"] == 1);
    assert_eq!(rotations.count(), 1);
    assert_eq!(entries.last().unwrap()["index"], whole["log"]["last"]);
    let one = lines(&jeton(&format!("inspect {dir} --log --from 2 --to 2 -o json"), "").await);
    assert_eq!((one.len(), &one[0]["index"]), (1, &2.into()));
    let told = jeton(&format!("inspect {dir} --log --limit 3"), "").await;
    assert_eq!(String::from_utf8(told.stdout).unwrap().lines().count(), 3);

    // The node goes on as if nobody had looked.
    cluster.restart(0).unwrap();
    cluster.wait_ready(PATIENCE).await.unwrap();
    let validate = "token validate --tenant acme -o json -";
    let newest = second["token"].as_str().unwrap();
    assert_eq!(parsed(&jeton_with(validate, &at, newest).await)["result"], "ACTIVE");
}

#[tokio::test]
async fn what_is_no_whole_directory_is_told_with_its_exit_code() {
    let home = tempfile::tempdir().unwrap();
    let dir = home.path().display();
    for (words, exit, told) in [
        (format!("inspect {dir}"), 2, "not the data directory of a node"),
        (format!("inspect {dir} --rows nonsense"), 2, "family_index"),
        (format!("inspect {dir} --tenant acme"), 2, "--rows"),
        (format!("inspect {dir} --rows family --log"), 2, "--log"),
    ] {
        let output = jeton(&words, "").await;
        assert_eq!(code(&output), exit, "{words}: {}", errors(&output));
        assert!(errors(&output).contains(told), "{words}: {}", errors(&output));
    }
    std::fs::create_dir(home.path().join("RESTORE")).unwrap();
    let half = jeton(&format!("inspect {dir}"), "").await;
    assert_eq!(code(&half), 1);
    assert!(errors(&half).contains("unfinished restore"), "{}", errors(&half));
}

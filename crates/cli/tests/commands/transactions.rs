//! Transactions from the shell.

use super::{cluster, code, errors, jeton, jeton_with, json, parsed};

#[tokio::test]
async fn a_code_is_exchanged_in_one_document_on_the_command_line() {
    let cluster = cluster(1).await;
    let at = cluster.endpoints().join(",");
    json("tenant create default", &at).await;
    json("record put code c --value grant --lifetime 1m --if client=web", &at).await;
    let exchange = r#"{
        "when": [{"record_absent": {"kind": "consent", "key": "alice"}}],
        "then": [
            {"consume": {"kind": "code", "key": "c", "if": {"client": "web"}}},
            {"create_family": {"subject": "alice", "client": "web"}},
            {"put_record": {"kind": "consent", "key": "alice", "value": "openid", "absent": true}}
        ]
    }"#;
    let transact = "record transact - -o json";
    let done = jeton_with(transact, &at, exchange).await;
    assert_eq!(code(&done), 0, "{}", errors(&done));
    let done = parsed(&done);
    assert_eq!(done["result"], "DONE", "{done}");
    assert!(done["position"].is_string() && done["unmet"].is_null(), "{done}");
    assert_eq!(done["performed"][0]["value"], "grant", "{done}");
    assert_eq!(done["performed"][2]["version"], 1, "{done}");
    let token = done["performed"][1]["token"].as_str().unwrap();
    let (valid, _) = json(&format!("token validate {token}"), &at).await;
    assert_eq!(valid["result"], "ACTIVE", "{valid}");

    // Once more: the consent is there, and there is no other branch.
    let again = jeton_with(transact, &at, exchange).await;
    assert_eq!((code(&again), parsed(&again)["unmet"].as_u64()), (1, Some(0)));

    // A rotation and a record, and a refusal of the record that leaves the token as it was.
    let rotate = |version: u64| {
        format!(
            r#"{{"then": [{{"rotate": {{"token": "{token}", "client": "web"}}}},
                {{"put_record": {{"kind": "consent", "key": "alice", "value": "x",
                                  "version": {version}}}}}]}}"#
        )
    };
    let stopped = jeton_with(transact, &at, &rotate(7)).await;
    assert_eq!(code(&stopped), 1);
    let stopped = parsed(&stopped);
    assert_eq!((&stopped["result"], &stopped["operation"]), (&"STOPPED".into(), &1.into()));
    assert_eq!(stopped["why"]["reason"], "VERSION_MISMATCH", "{stopped}");
    let (valid, _) = json(&format!("token validate {token}"), &at).await;
    assert_eq!(valid["result"], "ACTIVE", "{valid}");
    let rotated = jeton_with("record transact -", &at, &rotate(1)).await;
    let text = String::from_utf8_lossy(&rotated.stdout).into_owned();
    assert!(text.contains("ROTATED") && text.contains("jrt_"), "{text}");
    assert!(text.contains("Done at position"), "{text}");
}

#[tokio::test]
async fn a_document_that_is_none_is_a_mistake_of_its_writer() {
    let cluster = cluster(1).await;
    let at = cluster.endpoints().join(",");
    json("tenant create default", &at).await;
    for (document, words) in [
        ("{", "the document"),
        (r#"{"than": []}"#, "unknown field"),
        ("{}", "is empty"),
        (r#"{"then": [{"put_record": {"kind": "", "key": "k"}}]}"#, "then[0].kind"),
    ] {
        let wrong = jeton_with("record transact -", &at, document).await;
        assert_eq!(code(&wrong), 2, "{document}: {}", errors(&wrong));
        assert!(errors(&wrong).contains(words), "{document}: {}", errors(&wrong));
    }
    let missing = jeton("record transact /does/not/exist.json", &at).await;
    assert_eq!(code(&missing), 2, "{}", errors(&missing));
}

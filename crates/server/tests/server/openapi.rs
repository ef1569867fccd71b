//! The OpenAPI document: up to date, and true.

use serde_json::Value;

use crate::rig::Rig;
use crate::web::{get, request};

const WRITTEN: &str = include_str!("../../../../docs/openapi.json");

#[test]
fn the_written_document_is_up_to_date() {
    assert!(
        WRITTEN == jeton_server::openapi(),
        "run: cargo run -p jeton-server --example reference -- openapi > docs/openapi.json"
    );
}

#[test]
fn every_reference_leads_somewhere_and_everything_is_described() {
    fn visit(value: &Value, document: &Value, seen: &mut usize) {
        if let Some(target) = value.get("$ref").and_then(Value::as_str) {
            let pointer = target.strip_prefix('#').expect("within the document");
            assert!(document.pointer(pointer).is_some(), "{target} leads nowhere");
            *seen += 1;
        }
        match value {
            Value::Object(members) => members.values().for_each(|v| visit(v, document, seen)),
            Value::Array(items) => items.iter().for_each(|v| visit(v, document, seen)),
            _ => {}
        }
    }
    let document: Value = serde_json::from_str(WRITTEN).expect("JSON");
    let mut references = 0;
    visit(&document, &document, &mut references);
    assert!(references > 50, "only {references} references");
    for (path, operations) in document["paths"].as_object().expect("paths") {
        for operation in operations.as_object().expect("operations").values() {
            let words = operation["description"].as_str().unwrap_or_default();
            assert!(words.ends_with('.'), "{path}: {words:?}");
        }
    }
    for (name, schema) in document["components"]["schemas"].as_object().expect("schemas") {
        let words = schema["description"].as_str().unwrap_or_default();
        assert!(!words.is_empty(), "{name} is not described");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_path_of_the_document_answers() {
    let rig = Rig::start().await;
    let served = get(rig.addr, "/openapi.json").await;
    assert_eq!((served.status, served.body.as_str()), (200, WRITTEN));
    let document: Value = serde_json::from_str(WRITTEN).expect("JSON");
    for (path, operations) in document["paths"].as_object().expect("paths") {
        let path = path.replace("{tenant}", "acme");
        for (method, operation) in operations.as_object().expect("operations") {
            let content = operation["requestBody"]["content"].as_object();
            let content = content.and_then(|content| content.keys().next());
            let mut headers = vec![("Jeton-Deadline-Ms", "500")];
            headers.extend(content.map(|content| ("Content-Type", content.as_str())));
            let body: &[u8] = if path.contains("oauth2") { b"" } else { b"{}" };
            let method = method.to_ascii_uppercase();
            let answer = request(rig.addr, &method, &path, &headers, body).await;
            let expected = match answer.status {
                200 => true,
                400 => answer.json()["reason"] == "INVALID_REQUEST",
                401 => answer.json()["error"] == "invalid_client",
                // Nothing to do, or nobody to do it with, on a node alone.
                404 | 409 | 503 => answer.json()["reason"] != "NOT_FOUND" || path.contains("Get"),
                _ => false,
            };
            assert!(expected, "{method} {path}: {answer:?}");
        }
    }
    rig.stop().await;
}

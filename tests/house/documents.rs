//! The documents name things that exist.

/// Top-level folders that a path in a document may begin with.
const FOLDERS: &[&str] = &["crates/", "proto/", "docs/", "tests/", "scripts/", ".ci/"];

/// Everything between single backquotes, outside code blocks.
fn quoted(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut in_block = false;
    for line in text.lines() {
        if line.trim_start().starts_with("```") {
            in_block = !in_block;
        } else if !in_block {
            found.extend(line.split('`').skip(1).step_by(2).map(str::to_owned));
        }
    }
    found
}

#[test]
fn paths_in_the_documents_exist() {
    let mut checked = 0;
    let root = super::root();
    let mut documents: Vec<_> = ["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "CHANGELOG.md"]
        .iter()
        .map(|name| root.join(name))
        .collect();
    documents.extend(super::files(&root.join("docs"), "md"));
    for document in documents {
        let text = std::fs::read_to_string(&document).expect("a readable document");
        for name in quoted(&text) {
            let is_path = FOLDERS.iter().any(|folder| name.starts_with(folder));
            if !is_path || name.contains(['*', '<', ' ', '{']) {
                continue;
            }
            // `crates/core/src/family/rotate.rs::judge` names something inside a file.
            let path = name.split("::").next().unwrap_or(&name);
            assert!(
                root.join(path).exists(),
                "{} names `{name}`, which does not exist",
                super::shown(&document)
            );
            checked += 1;
        }
    }
    assert!(checked >= 20, "only {checked} paths found: has the notation changed?");
}

#[test]
fn links_in_the_documents_lead_somewhere() {
    let root = super::root();
    for document in super::files(&root, "md") {
        let text = std::fs::read_to_string(&document).expect("a readable document");
        for link in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let target = link.split('#').next().unwrap_or_default();
            if target.is_empty() || target.contains("://") || target.contains(' ') {
                continue;
            }
            let folder = document.parent().unwrap_or(&root);
            assert!(
                folder.join(target).exists(),
                "{} links to {target}, which does not exist",
                super::shown(&document)
            );
        }
    }
}

#[test]
fn every_reason_of_a_failure_is_in_the_reference() {
    let root = super::root();
    let source = std::fs::read_to_string(root.join("crates/wire/src/failure.rs"));
    let source = source.expect("the reasons' source");
    let reference = std::fs::read_to_string(root.join("docs/reference/requests.md"));
    let reference = reference.expect("the reference of requests");
    let reasons: Vec<&str> = source
        .split_once("mod reason")
        .expect("reasons have a module")
        .1
        .split("pub const ")
        .skip(1)
        .filter_map(|rest| rest.split_once(": &str").map(|(name, _)| name))
        .collect();
    assert!(reasons.len() > 15, "only {reasons:?}: has the notation changed?");
    for reason in reasons {
        assert!(reference.contains(&format!("`{reason}`")), "{reason} is not explained");
    }
}

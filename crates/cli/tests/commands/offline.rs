//! What needs no cluster: help, configuration, mistakes, nobody there.

use std::fs::OpenOptions;
use std::io::Write;

use super::{code, errors, jeton};

#[tokio::test]
async fn the_default_configuration_is_one_that_a_server_takes() {
    let printed = jeton("config default", "").await;
    assert_eq!(code(&printed), 0);
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("jeton.toml");
    let mut file = OpenOptions::new().write(true).create_new(true).open(&path).unwrap();
    file.write_all(&printed.stdout).unwrap();
    file.write_all(b"\nno_such_key = 1\n").unwrap();
    let refused = jeton(&format!("server --config {}", path.display()), "").await;
    assert_eq!(code(&refused), 78);
    assert!(errors(&refused).contains("no_such_key"), "{}", errors(&refused));
}

#[tokio::test]
async fn completions_are_a_script_that_the_shell_reads() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let printed = jeton(&format!("completions {shell}"), "").await;
        assert_eq!(code(&printed), 0, "{shell}: {}", errors(&printed));
        let script = String::from_utf8(printed.stdout).unwrap();
        for command in ["server", "cluster", "transfer-leader", "tenant", "token", "revoke"] {
            assert!(script.contains(command), "{shell}: {command} is missing");
        }
    }
    // The one shell that is everywhere says whether it can be read at all.
    let script = jeton("completions bash", "").await.stdout;
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("jeton.bash");
    let mut file = OpenOptions::new().write(true).create_new(true).open(&path).unwrap();
    file.write_all(&script).unwrap();
    let read = tokio::process::Command::new("bash").arg("-n").arg(&path).output().await.unwrap();
    assert!(read.status.success(), "{}", errors(&read));
    assert_eq!(code(&jeton("completions tcsh", "").await), 2);
}

#[tokio::test]
async fn mistakes_are_told_with_the_code_for_usage() {
    for words in ["nonsense", "revoke", "token validate jrt_broken", "family get 12"] {
        let output = jeton(words, "").await;
        assert_eq!(code(&output), 2, "{words}: {}", errors(&output));
        assert!(output.stdout.is_empty(), "{words}");
        assert!(!errors(&output).is_empty(), "{words}");
    }
}

#[tokio::test]
async fn nobody_there_is_a_failure_in_words_or_json() {
    let nobody = jeton_harness::ports::free_address().unwrap().to_string();
    let output = jeton("cluster status --timeout 2s", &nobody).await;
    assert_eq!(code(&output), 3);
    assert!(errors(&output).contains(&nobody), "{}", errors(&output));
    let output = jeton("cluster status --timeout 2s -o json", &nobody).await;
    assert_eq!(code(&output), 3);
    let error: serde_json::Value = serde_json::from_str(&errors(&output)).unwrap();
    assert_eq!(error["error"]["code"], "FAILED");
}

//! Servers that can't start: each says what is in its way, what to do, and exits with a code.

use jeton_server::config::ConfigError;
use jeton_server::{App, StartError};
use tokio::net::TcpListener;

use crate::rig::{Rig, config};

fn words(error: &StartError) -> String {
    let mut words = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        words.push_str(": ");
        words.push_str(&cause.to_string());
        source = cause.source();
    }
    words
}

async fn fails(config: jeton_server::Config) -> StartError {
    match App::build(config).await {
        Err(error) => error,
        Ok(_) => panic!("it started"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_in_use_is_named_with_its_setting() {
    let taken = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let addr = taken.local_addr().expect("its address");
    for key in ["client_listen", "peer_listen"] {
        let dir = tempfile::tempdir().expect("a directory");
        let mut config = config(dir.path());
        match key {
            "client_listen" => config.client_listen = addr,
            _ => config.peer_listen = addr,
        }
        let error = fails(config).await;
        let told = words(&error);
        assert!(matches!(error, StartError::PortInUse { .. }), "{told}");
        assert!(told.contains(&addr.to_string()) && told.contains(key), "{told}");
        assert!(told.contains("choose another port"), "{told}");
        assert_eq!(error.exit_code(), 75);
        let empty = dir.path().read_dir().expect("the directory").next().is_none();
        assert!(empty, "nothing was opened");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_directory_in_use_is_named() {
    let rig = Rig::start().await;
    let error = fails(config(rig.dir.path())).await;
    let told = words(&error);
    assert!(matches!(error, StartError::Node(jeton_raft::StartError::InUse(_))), "{told}");
    assert!(told.contains("in use"), "{told}");
    assert!(told.contains(&rig.dir.path().display().to_string()), "{told}");
    assert_eq!(error.exit_code(), 75);
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_directory_that_cannot_be_made_is_an_error_not_a_panic() {
    let file = tempfile::NamedTempFile::new().expect("a file");
    let error = fails(config(&file.path().join("below"))).await;
    let told = words(&error);
    assert!(matches!(error, StartError::Node(_)), "{told}");
    assert_ne!(error.exit_code(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_setting_is_told_before_anything_is_opened() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut config = config(dir.path());
    config.heartbeat_ms = 1;
    let error = fails(config).await;
    assert!(matches!(error, StartError::Config(ConfigError::Invalid { .. })));
    assert!(words(&error).contains("heartbeat_ms is 1"), "{}", words(&error));
    assert_eq!(error.exit_code(), 78);
    assert!(dir.path().read_dir().expect("the directory").next().is_none());
}

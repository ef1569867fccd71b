//! Configuration: where values come from, and every way to get one wrong.

use std::path::PathBuf;

use jeton_server::Config;
use jeton_server::config::{ConfigError, KEYS, Layers, LogFormat};

fn file(text: &str) -> Layers {
    Layers { file: Some((PathBuf::from("/etc/jeton.toml"), text.to_owned())), ..Layers::default() }
}

fn pairs(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

fn error(layers: &Layers) -> String {
    layers.load().expect_err("it is wrong").to_string()
}

#[test]
fn the_default_file_documents_every_key_and_loads_as_the_defaults() {
    let text = Config::default_file();
    for key in KEYS {
        assert!(text.contains(&format!("\n{} = ", key.name)), "{}", key.name);
        assert!(key.doc.iter().any(|line| line.contains("Default")), "{}", key.name);
    }
    assert_eq!(file(&text).load().expect("it loads"), Config::default());
}

#[test]
fn the_environment_wins_over_the_file_and_flags_over_both() {
    let mut layers = file("drain_ms = 1\nheartbeat_ms = 20\nlog_format = \"json\"");
    layers.environment = pairs(&[
        ("JETON_DRAIN_MS", "2"),
        ("JETON_HEARTBEAT_MS", "30"),
        ("JETON_JOIN", "a:1, b:2"),
        ("JETON_ENDPOINTS", "of the client, no business of the server"),
        ("PATH", "/bin"),
    ]);
    layers.flags = pairs(&[("drain-ms", "3"), ("data_dir", "/tmp/x")]);
    let config = layers.load().expect("good");
    assert_eq!((config.drain_ms, config.heartbeat_ms), (3, 30));
    assert_eq!(config.join, ["a:1", "b:2"]);
    assert_eq!(config.log_format, LogFormat::Json);
    assert_eq!(config.data_dir, PathBuf::from("/tmp/x"));
}

#[test]
fn an_unknown_key_is_named_with_its_place_and_its_neighbour() {
    let told = error(&file("heartbeet_ms = 20"));
    assert!(told.contains("unknown key `heartbeet_ms` in the file /etc/jeton.toml"), "{told}");
    assert!(told.contains("did you mean `heartbeat_ms`?"), "{told}");

    let told = error(&file("wombats = 20"));
    assert!(told.contains("`jeton config default` prints all keys"), "{told}");

    let told = error(&file("[tls]\ncert = \"x\""));
    assert!(told.contains("unknown key `tls`"), "{told}");

    let flags = pairs(&[("data-dri", "/tmp")]);
    let told = error(&Layers { flags, ..Layers::default() });
    assert!(told.contains("in the flag --data-dri") && told.contains("`data_dir`"), "{told}");
}

#[test]
fn values_of_the_wrong_type_say_what_they_must_be() {
    for (text, words) in [
        ("drain_ms = \"soon\"", "must be a whole number from 0, but is the string \"soon\""),
        ("drain_ms = -1", "must be a whole number from 0, but is the integer -1"),
        ("drain_ms = 1.5", "a whole number"),
        ("client_listen = \"localhost\"", "an IP address and a port"),
        ("client_listen = 7401", "an IP address and a port"),
        ("join = \"a:1\"", "an array of strings"),
        ("join = [1]", "an array of strings"),
        ("log_format = \"xml\"", "\"text\" or \"json\""),
        ("reflection = \"yes\"", "true or false"),
        ("gateway_clients = [{ id = \"a\" }]", "an array of tables { id, tenant,"),
        ("data_dir = []", "a path as a string"),
    ] {
        let told = error(&file(text));
        assert!(told.contains(words) && told.contains("/etc/jeton.toml"), "{text}: {told}");
    }
    let environment = pairs(&[("JETON_DRAIN_MS", "1s")]);
    let told = error(&Layers { environment, ..Layers::default() });
    assert!(told.contains("the environment variable JETON_DRAIN_MS"), "{told}");
}

#[test]
fn text_that_is_no_toml_is_told_where() {
    let error = file("drain_ms = = 3").load().expect_err("no TOML");
    assert!(matches!(error, ConfigError::Syntax { .. }));
    let cause = std::error::Error::source(&error).expect("a cause").to_string();
    assert!(cause.contains("line 1"), "{cause}");
    assert!(matches!(file("drain_ms = 1\ndrain_ms = 2").load(), Err(ConfigError::Syntax { .. })));
}

#[test]
fn a_file_that_cannot_be_read_is_named() {
    let missing = PathBuf::from("/nonexistent/jeton.toml");
    let error = Layers::default().with_file(&missing).expect_err("no such file");
    assert!(error.to_string().contains("/nonexistent/jeton.toml"), "{error}");
}

#[test]
fn values_out_of_bounds_are_all_told_at_once() {
    let table = [
        ("heartbeat_ms = 9", "heartbeat_ms is 9: it must be at least 10"),
        ("election_min_ms = 239", "at least three heartbeats, 240"),
        ("election_max_ms = 250", "above election_min_ms, 250"),
        ("clock_skew_max_ms = 99", "at least 100"),
        ("checkpoint_bytes = 1", "at least 1048576"),
        ("overlay_bytes_max = 67108864", "at least twice checkpoint_bytes, 134217728"),
        ("base_bytes_min = 0", "at least 1048576"),
        ("log_segment_bytes = 99999999999", "at most 1073741824"),
        ("consensus_threads = 0", "at least 1"),
        ("connections_max = 0", "at least 1"),
        ("calls_per_connection_max = 0", "at least 1"),
        ("pipeline_outstanding_max = 0", "at least 1"),
        ("message_bytes_max = 1024", "at least 131072"),
        (
            "[[gateway_clients]]\nid = \"a\"\ntenant = \"t\"\nsecret_sha256 = \
             \"e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855\"",
            "gateway_clients entry 1: may do nothing",
        ),
        ("drain_ms = 600001", "at most 600000"),
        ("data_dir = \"\"", "data_dir is empty"),
        ("log_filter = \"a=b=c\"", "log_filter is no filter"),
        ("client_listen = \"0.0.0.0:7401\"", "client_advertise is not set"),
        ("peer_listen = \"[::]:7402\"", "peer_advertise is not set"),
        ("client_advertise = \"node1\"", "client_advertise is no host:port"),
        ("client_advertise = \"node1:0\"", "has port 0"),
        ("peer_listen = \"127.0.0.1:7401\"", "the same as client_listen"),
        ("bootstrap_expect = 10", "at most 9"),
        ("bootstrap_expect = 3", "join names 0 peers although bootstrap_expect is 3"),
        ("join = [\"a:1\", \"a:1\"]", "twice: remove one"),
        ("join = [\"nowhere\"]", "is no host:port"),
        (
            "bootstrap_expect = 2\njoin = [\"a:1\", \"b:1\"]",
            "does not name this node, 127.0.0.1:7402",
        ),
    ];
    for (text, words) in table {
        let told = error(&file(text));
        assert!(told.contains(words), "{text}: {told}");
    }
    let told = error(&file("heartbeat_ms = 1\ndrain_ms = 700000"));
    assert!(told.contains("heartbeat_ms") && told.contains("drain_ms"), "{told}");
}

#[test]
fn a_good_cluster_of_three_is_accepted() {
    let text = "bootstrap_expect = 3\n\
                join = [\"n1:7402\", \"n2:7402\", \"n3:7402\"]\n\
                client_listen = \"0.0.0.0:7401\"\n\
                client_advertise = \"n1:7401\"\n\
                peer_listen = \"[::]:7402\"\n\
                peer_advertise = \"n1:7402\"\n";
    let config = file(text).load().expect("good");
    assert_eq!(config.bootstrap_expect, 3);
}

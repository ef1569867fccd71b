//! A node that can't start says why and what to do, and exits with a code that scripts can tell.

use std::process::{Command, Output};

use anyhow::Result;
use tempfile::TempDir;

use crate::world::{World, binary};

fn jeton(args: &[&str]) -> Result<Output> {
    Ok(Command::new(binary()?).args(args).env_clear().output()?)
}

fn said(output: &Output) -> String {
    let text = [output.stdout.as_slice(), output.stderr.as_slice()].concat();
    String::from_utf8_lossy(&text).into_owned()
}

#[test]
fn the_reference_of_the_configuration_is_what_the_binary_prints() -> Result<()> {
    let printed = said(&jeton(&["config", "default"])?);
    let file =
        std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/reference/jeton.toml");
    let kept = std::fs::read_to_string(file)?;
    assert_eq!(kept, printed, "run `jeton config default > docs/reference/jeton.toml`");
    Ok(())
}

#[test]
fn an_unknown_key_of_the_configuration_is_named() -> Result<()> {
    let dir = TempDir::new()?;
    let file = dir.path().join("jeton.toml");
    std::fs::write(&file, "data_dirr = \"/tmp/x\"\n")?;
    let output = jeton(&["server", "--config", &file.display().to_string()])?;
    let said = said(&output);
    assert_eq!(output.status.code(), Some(78), "{said}");
    assert!(said.contains("data_dirr") && said.contains("data_dir"), "{said}");
    assert!(said.contains("jeton.toml"), "the file is not named: {said}");
    Ok(())
}

#[tokio::test]
async fn a_port_and_a_data_directory_belong_to_one_node() -> Result<()> {
    let world = World::new(&[]).await?;
    let taken = world.cluster.endpoints().remove(0);
    let taken = taken.trim_start_matches("http://");
    let dir = TempDir::new()?;
    let own_dir = dir.path().display().to_string();
    let port_taken = jeton(&[
        "server",
        "--data-dir",
        &own_dir,
        "--client-listen",
        taken,
        "--peer-listen",
        "127.0.0.1:0",
    ])?;
    let words = said(&port_taken);
    assert_eq!(port_taken.status.code(), Some(75), "{words}");
    assert!(words.contains(taken), "the address is not named: {words}");

    let used_dir = world.cluster.data_dir(0).display().to_string();
    let dir_taken = jeton(&[
        "server",
        "--data-dir",
        &used_dir,
        "--client-listen",
        "127.0.0.1:0",
        "--peer-listen",
        "127.0.0.1:0",
    ])?;
    let words = said(&dir_taken);
    assert_eq!(dir_taken.status.code(), Some(75), "{words}");
    assert!(words.contains(&used_dir), "the directory is not named: {words}");
    Ok(())
}

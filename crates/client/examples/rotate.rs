//! The life of a refresh token against a running cluster: issued, rotated, replayed, revoked.
//!
//! ```text
//! JETON_ENDPOINTS=127.0.0.1:7401 cargo run -p jeton-client --example rotate
//! ```

use std::time::Duration;

use jeton_client::admin::SettingsChange;
use jeton_client::{
    Check, Client, Config, Consistency, Error, NewFamily, Refusal, RevocationCause, RotateContext,
    Rotation, Validation,
};

const DEADLINE: Duration = Duration::from_secs(10);

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let endpoints = std::env::var("JETON_ENDPOINTS").unwrap_or_else(|_| "127.0.0.1:7401".into());
    let client = Client::connect(Config::new(endpoints.split(','))).await?;

    // A tenant is made once; that it is there already is fine.
    match client.admin().create_tenant("example", SettingsChange::new(), DEADLINE).await {
        Ok(tenant) => println!("made the tenant {}", tenant.tenant),
        Err(Error::Failed { code: "ALREADY_EXISTS", .. }) => println!("the tenant is there"),
        Err(error) => return Err(error.into()),
    }
    let tenant = client.tenant("example")?;

    let new = NewFamily::new("alice", "web").device("laptop").attribute("region", "eu");
    let first = tenant.create_family(new, DEADLINE).await?;
    println!("family {} lives, at position {}", first.family, first.position);

    // Three callers present the same token at once: one rotation, one identical successor.
    let rotate = || tenant.rotate(&first.token, RotateContext::new("web"), DEADLINE);
    let (one, two, three) = tokio::try_join!(rotate(), rotate(), rotate())?;
    let mut successors = Vec::new();
    for rotation in [one, two, three] {
        match rotation {
            Rotation::Rotated(issued) => {
                println!("rotated to generation {}", issued.generation.0);
                successors.push(issued.token);
            }
            Rotation::Replayed(issued) => {
                println!("replayed generation {}", issued.generation.0);
                successors.push(issued.token);
            }
            other => return Err(format!("not expected: {other:?}").into()),
        }
    }
    if successors.iter().any(|successor| *successor != successors[0]) {
        return Err("the callers hold different successors".into());
    }
    let head = &successors[0];

    match tenant.validate(head, Check::new().client("web"), DEADLINE).await? {
        Validation::Active(read) => println!("valid, for {}", read.value.subject),
        Validation::Refused(why) => return Err(format!("not valid: {why:?}").into()),
    }

    let revoked = tenant.revoke_token(head, "web", DEADLINE).await?;
    println!("revoked at position {}", revoked.position);
    match tenant.rotate(head, RotateContext::new("web"), DEADLINE).await? {
        Rotation::Refused(Refusal::Revoked(by)) if by.cause == RevocationCause::Token => {
            println!("and from there on it buys nothing");
        }
        other => return Err(format!("not expected: {other:?}").into()),
    }
    let family = tenant.get_family(first.family, Consistency::Linearizable, DEADLINE).await?;
    if family.value.dead.is_none() {
        return Err("the family is still alive".into());
    }
    Ok(())
}

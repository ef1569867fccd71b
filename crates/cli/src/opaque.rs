//! Tokens on the command line, of either kind: native ones begin with `jrt_`, all other texts are
//! opaque. What an authorization server does for opaque ones, minting them, is done here.

use std::io::Read as _;

use jeton_client::{
    Check, Entropy as _, Issued, NewFamily, OpaqueRotation, OpaqueToken, OsEntropy, RefreshToken,
    RotateContext, Tenant, Validation,
};

use crate::exit::{Exit, Usage};
use crate::output::Format;
use crate::refused::Refused;
use crate::token::{IssuedReport, SupersededReport};

/// Random bytes of a token that is minted here.
const MINTED_BYTES: usize = 32;

/// A token as it was given.
pub enum Given {
    /// `jrt_…`
    Native(RefreshToken),
    /// Anything else.
    Opaque(OpaqueToken),
}

impl Given {
    /// A token from the command line, or with `-` from standard input. What is wrong with it is
    /// told without repeating it.
    pub fn read(argument: &str) -> anyhow::Result<Self> {
        let mut piped = String::new();
        let text = if argument == "-" {
            std::io::stdin().read_to_string(&mut piped)?;
            piped.trim()
        } else {
            argument
        };
        let wrong = |error: &dyn std::fmt::Display| Usage::error(format!("the token: {error}"));
        if text.starts_with(jeton_core::token::PREFIX) {
            return RefreshToken::parse(text).map(Self::Native).map_err(|error| wrong(&error));
        }
        OpaqueToken::new(text).map(Self::Opaque).map_err(|error| wrong(&error))
    }

    /// What [`Tenant::validate`] says to it.
    pub async fn validate(
        &self,
        tenant: &Tenant,
        check: Check,
        timeout: std::time::Duration,
    ) -> Result<Validation, jeton_client::Error> {
        match self {
            Self::Native(token) => tenant.validate(token, check, timeout).await,
            Self::Opaque(token) => tenant.validate(token, check, timeout).await,
        }
    }

    /// Revokes its family.
    pub async fn revoke(
        &self,
        tenant: &Tenant,
        client: &str,
        timeout: std::time::Duration,
    ) -> Result<jeton_client::Revoked, jeton_client::Error> {
        match self {
            Self::Native(token) => tenant.revoke_token(token, client, timeout).await,
            Self::Opaque(token) => tenant.revoke_token(token, client, timeout).await,
        }
    }
}

/// A new opaque token: 32 random bytes in hexadecimal.
pub fn mint() -> anyhow::Result<OpaqueToken> {
    let mut bytes = [0; MINTED_BYTES];
    OsEntropy.fill(&mut bytes)?;
    let text: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    Ok(OpaqueToken::new(&text)?)
}

fn report(result: &'static str, issued: Issued<OpaqueToken>) -> IssuedReport {
    let text = issued.token.expose().to_owned();
    IssuedReport::of(result, text.into(), &issued)
}

/// Starts a family of opaque tokens, and prints its first.
pub async fn create(
    tenant: &Tenant,
    new: NewFamily,
    timeout: std::time::Duration,
    format: Format,
) -> anyhow::Result<Exit> {
    let first = mint()?;
    let issued = tenant.create_opaque_family(new, &first, timeout).await?;
    format.print(&report("CREATED", issued))?;
    Ok(Exit::Ok)
}

/// Exchanges an opaque token for one that is minted here, and prints what it came to.
pub async fn rotate(
    tenant: &Tenant,
    token: &OpaqueToken,
    context: RotateContext,
    timeout: std::time::Duration,
    format: Format,
) -> anyhow::Result<Exit> {
    let successor = mint()?;
    match tenant.rotate_opaque(token, &successor, context, timeout).await? {
        OpaqueRotation::Rotated(issued) => format.print(&report("ROTATED", issued))?,
        OpaqueRotation::Replayed(issued) => format.print(&report("REPLAYED", issued))?,
        OpaqueRotation::Adopted(issued) => format.print(&report("ADOPTED", issued))?,
        OpaqueRotation::Superseded { head, position } => {
            format.print(&SupersededReport::new(head, position))?;
            return Ok(Exit::Refused);
        }
        OpaqueRotation::Refused(refusal) => {
            format.print(&Refused::new(refusal))?;
            return Ok(Exit::Refused);
        }
    }
    Ok(Exit::Ok)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_broken_token_is_a_usage_error_that_does_not_repeat_it() {
        for broken in ["jrt_c29tZXRoaW5nIHNlY3JldA", "c29tZXRoaW5n"] {
            let error = Given::read(broken).err().unwrap();
            assert_eq!(Exit::of(&error), Exit::Usage);
            assert!(!error.to_string().contains("c29tZ"), "{error}");
        }
    }

    #[test]
    fn minted_tokens_are_opaque_and_differ() {
        let (one, other) = (mint().unwrap(), mint().unwrap());
        assert!(one != other && one.expose().len() == 64);
        assert!(matches!(Given::read(one.expose()), Ok(Given::Opaque(_))));
    }
}

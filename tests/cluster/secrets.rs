//! Nothing that lets anybody in is found on a disk or in what nodes print.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use anyhow::{Result, ensure};
use jeton_client::{
    Consumed, Consumption, Cut, NewFamily, NewRecord, OpaqueToken, RecordKind, RecordSecret,
    RefreshToken, Rotation, Tenant, digest,
};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::world::{CLIENT, PATIENCE, World, own};

/// Of the client below.
const OAUTH_SECRET: &str = "web-secret-0123456789abcdef";
/// What every node is told of it.
const OAUTH_CLIENTS: &str = "[{ id = \"web\", tenant = \"acme\", revoke = \"own\", introspect = \
    \"own\", secret_sha256 = \
    \"c96d2e36ea6e85281f3a009aca5fb1de0efeda42381c9068f4dbc9528e0541d7\" }]";

/// Asks a node about a token as an OAuth client does; gives back all that it answered.
async fn oauth(world: &World, path: &str, token: &str) -> Result<String> {
    let body = format!("token={token}&client_id=web&client_secret={OAUTH_SECRET}");
    let request = format!(
        "POST /oauth2/{path} HTTP/1.1\r\nHost: node\r\nConnection: close\r\nContent-Type: \
         application/x-www-form-urlencoded\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    let mut stream = TcpStream::connect(&world.cluster.endpoints()[1]).await?;
    stream.write_all(request.as_bytes()).await?;
    let mut answer = String::new();
    timeout(PATIENCE, stream.read_to_string(&mut answer)).await??;
    Ok(answer)
}

/// The secret's place in a decoded token: version, kid, tenant tag, family, generation before it.
const SECRET_AT: usize = 1 + 2 + 4 + 16 + 8;

/// A needle for each form in which a token could leak.
fn needles(token: &RefreshToken) -> Vec<Vec<u8>> {
    let exposed = token.expose();
    let text = exposed.expose().as_bytes();
    let body = &text[4..];
    let raw = decode_base64url(body);
    let secret = &raw[SECRET_AT..SECRET_AT + 32];
    let hex: String = secret.iter().map(|byte| format!("{byte:02x}")).collect();
    // Half a secret is enough to betray it; the text is cut where only secret characters are.
    vec![text.to_vec(), body[44..80].to_vec(), secret[..16].to_vec(), hex.into_bytes()]
}

fn decode_base64url(text: &[u8]) -> Vec<u8> {
    const ALPHABET: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut bytes = Vec::new();
    let (mut buffer, mut bits) = (0_u32, 0);
    for character in text {
        let value = ALPHABET.iter().position(|known| known == character).expect("base64url");
        buffer = buffer << 6 | value as u32;
        bits += 6;
        if bits >= 8 {
            bits -= 8;
            bytes.push((buffer >> bits) as u8);
        }
    }
    bytes
}

fn files(dir: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir)? {
        let path = entry?.path();
        if path.is_dir() {
            found.extend(files(&path)?);
        } else {
            found.push(path);
        }
    }
    Ok(found)
}

/// What is looked for, by its first bytes: one pass over a file for all of it.
struct Search(HashMap<[u8; 4], Vec<Vec<u8>>>);

impl Search {
    fn new(needles: impl Iterator<Item = Vec<u8>>) -> Self {
        let mut by_start: HashMap<[u8; 4], Vec<Vec<u8>>> = HashMap::new();
        for needle in needles {
            let start = [needle[0], needle[1], needle[2], needle[3]];
            by_start.entry(start).or_default().push(needle);
        }
        Self(by_start)
    }

    fn finds(&self, haystack: &[u8]) -> bool {
        let starts = haystack.windows(4).enumerate();
        starts
            .filter_map(|(at, start)| Some((at, self.0.get(start)?)))
            .any(|(at, needles)| needles.iter().any(|needle| haystack[at..].starts_with(needle)))
    }
}

/// Opaque tokens, codes and the plain text of sealed values.
const OPAQUE: [&str; 2] = ["dump-opaque-refresh-7f2a91c4d5", "dump-opaque-successor-0b8e6d3f"];
const CODES: [&str; 2] = ["dump-code-used-5d0c7e2f9a8b", "dump-code-unused-1e6f4c3d8b"];
const SEALED: [&str; 2] = ["dump-sealed-of-the-used-code", "dump-sealed-of-the-other-code"];

/// Has the cluster keep them all, and take some of them again.
async fn plant(world: &World, tenant: &Tenant) -> Result<()> {
    let [first, second] = OPAQUE.map(|text| OpaqueToken::new(text).expect("long enough"));
    tenant.create_opaque_family(NewFamily::new("alice", CLIENT), &first, PATIENCE).await?;
    tenant.rotate_opaque(&first, &second, own(), PATIENCE).await?;
    oauth(world, "introspect", OPAQUE[1]).await?;
    let kind = RecordKind::new("code")?;
    for (code, value) in CODES.into_iter().zip(SEALED) {
        let key = digest(code);
        let sealed = tenant.seal_value(&kind, key, value, &[RecordSecret::new(code)])?;
        let new = NewRecord::new("code", key).create_only().lifetime(PATIENCE).value(sealed);
        tenant.put_record(new, PATIENCE).await?;
    }
    let consumed = tenant.consume(Consumption::new("code", digest(CODES[0])), PATIENCE).await?;
    let Consumed::First { record, .. } = consumed else { anyhow::bail!("not the first") };
    let secret = RecordSecret::new(CODES[0]);
    let opened = tenant.open_value(&kind, digest(CODES[0]), &record.value, &secret)?;
    ensure!(opened[..] == *SEALED[0].as_bytes(), "its holder opens it");
    Ok(())
}

#[tokio::test]
async fn a_dump_of_everything_holds_no_token() -> Result<()> {
    let filter = "debug,sled=info,h2=info,hyper=info";
    let flags = ["--log-filter", filter, "--gateway-clients", OAUTH_CLIENTS];
    let mut world = World::new(&flags).await?;
    let tenant = world.tenant()?;
    let mut tokens = Vec::new();
    for family in world.families("alice", 3).await? {
        let mut token = family.token;
        tokens.push(token.clone());
        for _ in 0..6 {
            let Rotation::Rotated(next) = tenant.rotate(&token, own(), PATIENCE).await? else {
                anyhow::bail!("a head did not rotate");
            };
            token = next.token;
            tokens.push(token.clone());
        }
        // Once more, so that a replay's seal is on its way, too.
        tenant.rotate(&tokens[tokens.len() - 2].clone(), own(), PATIENCE).await?;
    }
    plant(&world, &tenant).await?;
    // Through OAuth's endpoints whole tokens come into a node, beside a client's secret.
    for (path, token) in [("introspect", &tokens[1]), ("revoke", &tokens[20])] {
        let exposed = token.expose();
        let answer = oauth(&world, path, exposed.expose()).await?;
        ensure!(answer.starts_with("HTTP/1.1 200"), "{path}: {answer}");
        ensure!(!answer.contains("jrt_"), "{path} repeats the token");
    }
    tenant.revoke_token(&tokens[0], crate::world::CLIENT, PATIENCE).await?;
    tenant.revoke_where(Cut::of_subject("alice"), PATIENCE).await?;
    for node in 0..world.cluster.len() {
        // A base file and a checkpoint on every node, so that they are searched as well.
        world.cluster.client(node)?.admin().checkpoint(true, PATIENCE).await?;
    }
    let dir = world.cluster.dir().to_owned();
    world.cluster.stop_all(PATIENCE).await?;

    let files = files(&dir)?;
    let names: Vec<String> = files.iter().map(|path| path.display().to_string()).collect();
    ensure!(names.iter().any(|name| name.contains("base")), "no base file among {names:?}");
    let secret = OAUTH_SECRET.as_bytes().to_vec();
    let texts = [OPAQUE, CODES, SEALED].concat();
    let texts = texts.iter().map(|text| text.as_bytes().to_vec());
    let tokens = Search::new(tokens.iter().flat_map(needles).chain([secret]).chain(texts));
    // The search finds what is there: the nodes' files do name the subject.
    let subject = Search::new([b"alice".to_vec()].into_iter());
    let (mut searched, mut named) = (0, false);
    for path in &files {
        let bytes = std::fs::read(path)?;
        // Preallocated tails are zeros: nothing to find there.
        let end = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
        searched += end;
        ensure!(!tokens.finds(&bytes[..end]), "a token is in {}", path.display());
        named |= subject.finds(&bytes[..end]);
    }
    ensure!(searched > 10_000, "only {searched} bytes were searched");
    ensure!(named, "the search would not have found anything");
    Ok(())
}

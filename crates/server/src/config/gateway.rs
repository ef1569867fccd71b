//! Clients that may use OAuth's endpoints (RFC 7009, RFC 7662), as they are configured.

use std::fmt;

use jeton_core::ids::RecordKind;
use subtle::ConstantTimeEq as _;
use toml::{Table, Value};

use super::setting::{Setting, SettingError};

/// What an entry looks like.
const WANT: &str = "an array of tables { id, tenant, secret_sha256, revoke, introspect, \
                    access_token_kind }";
/// More clients than this are refused.
const CLIENTS_MAX: usize = 1_000;

/// Whose tokens a client may act on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Reach {
    /// Nobody's: the endpoint is closed to it.
    #[default]
    None,
    /// Those that were issued to itself.
    Own,
    /// All of its tenant.
    Any,
}

impl Reach {
    fn parse(text: &str) -> Option<Self> {
        match text {
            "none" => Some(Self::None),
            "own" => Some(Self::Own),
            "any" => Some(Self::Any),
            _ => None,
        }
    }

    fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Own => "own",
            Self::Any => "any",
        }
    }
}

/// SHA-256 of a client's secret. Can't be printed by accident, compared in constant time.
#[derive(Clone)]
pub struct SecretHash(pub(crate) [u8; 32]);

impl PartialEq for SecretHash {
    fn eq(&self, other: &Self) -> bool {
        self.0[..].ct_eq(&other.0[..]).into()
    }
}

impl fmt::Debug for SecretHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretHash(…)")
    }
}

impl SecretHash {
    fn parse(hex: &str) -> Option<Self> {
        let mut bytes = [0; 32];
        if hex.len() != 64 || !hex.is_ascii() {
            return None;
        }
        for (place, byte) in bytes.iter_mut().enumerate() {
            *byte = u8::from_str_radix(&hex[2 * place..2 * place + 2], 16).ok()?;
        }
        // A sign is no digit, whatever the parser of numbers says.
        hex.bytes().all(|b| b.is_ascii_hexdigit()).then_some(Self(bytes))
    }

    fn hex(&self) -> String {
        self.0.iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

/// A client of OAuth's endpoints.
#[derive(Debug, Clone, PartialEq)]
pub struct GatewayClient {
    /// Its `client_id`.
    pub id: String,
    /// The tenant whose tokens it knows.
    pub tenant: String,
    /// Of its secret, which must have 128 bits of randomness or more.
    pub secret_sha256: SecretHash,
    /// What it may revoke.
    pub revoke: Reach,
    /// What it may introspect.
    pub introspect: Reach,
    /// The kind of records that its tenant's reference access tokens are kept in.
    pub access_token_kind: Option<String>,
}

impl GatewayClient {
    fn from_table(place: usize, table: &Table) -> Result<Self, SettingError> {
        // Values are never repeated: one of them may be the secret itself, by mistake.
        let wrong = |what: &str| SettingError {
            want: WANT,
            found: format!("one whose entry {place} {what}"),
        };
        const KEYS: [&str; 6] =
            ["id", "tenant", "secret_sha256", "revoke", "introspect", "access_token_kind"];
        if table.keys().any(|key| !KEYS.contains(&key.as_str())) {
            return Err(wrong("has other keys than those"));
        }
        let text = |key: &str| match table.get(key) {
            Some(Value::String(text)) => Ok(Some(text.as_str())),
            Some(_) => Err(wrong(&format!("has a {key} that is no string"))),
            None => Ok(None),
        };
        let reach = |key: &str| match text(key)? {
            None => Ok(Reach::None),
            Some(text) => Reach::parse(text).ok_or_else(|| {
                wrong(&format!("has a {key} that is not \"own\", \"any\" or \"none\""))
            }),
        };
        let hash = text("secret_sha256")?.and_then(SecretHash::parse);
        Ok(Self {
            id: text("id")?.ok_or_else(|| wrong("has no id"))?.to_owned(),
            tenant: text("tenant")?.ok_or_else(|| wrong("has no tenant"))?.to_owned(),
            secret_sha256: hash
                .ok_or_else(|| wrong("has no secret_sha256 of 64 hexadecimal digits"))?,
            revoke: reach("revoke")?,
            introspect: reach("introspect")?,
            access_token_kind: text("access_token_kind")?.map(str::to_owned),
        })
    }

    fn to_toml(&self) -> String {
        let text = |text: &str| Value::String(text.to_owned()).to_string();
        let kind = self.access_token_kind.as_deref();
        let kind = kind.map(|kind| format!(", access_token_kind = {}", text(kind)));
        format!(
            "{{ id = {}, tenant = {}, secret_sha256 = \"{}\", revoke = \"{}\", \
             introspect = \"{}\"{} }}",
            text(&self.id),
            text(&self.tenant),
            self.secret_sha256.hex(),
            self.revoke.as_str(),
            self.introspect.as_str(),
            kind.unwrap_or_default(),
        )
    }
}

impl Setting for Vec<GatewayClient> {
    fn from_toml(value: &Value) -> Result<Self, SettingError> {
        let wrong = || SettingError { want: WANT, found: "something else".to_owned() };
        let entries = value.as_array().ok_or_else(wrong)?;
        let tables = entries.iter().enumerate();
        tables
            .map(|(place, entry)| {
                GatewayClient::from_table(place + 1, entry.as_table().ok_or_else(wrong)?)
            })
            .collect()
    }

    /// The array as it stands in the file.
    fn from_text(text: &str) -> Result<Self, SettingError> {
        let wrong = || SettingError { want: WANT, found: "no such TOML".to_owned() };
        let file: Table = toml::from_str(&format!("clients = {text}")).map_err(|_| wrong())?;
        match file.get("clients") {
            Some(value) if file.len() == 1 => Self::from_toml(value),
            _ => Err(wrong()),
        }
    }

    fn to_toml(&self) -> String {
        let entries: Vec<String> = self.iter().map(GatewayClient::to_toml).collect();
        format!("[{}]", entries.join(", "))
    }
}

/// What is wrong with them, for [`super::Config::check`].
pub(super) fn problems(clients: &[GatewayClient]) -> Vec<String> {
    let mut problems = Vec::new();
    if clients.len() > CLIENTS_MAX {
        problems.push(format!("has {} entries: the limit is {CLIENTS_MAX}", clients.len()));
    }
    for (place, client) in clients.iter().enumerate() {
        let mut wrong = |what: String| problems.push(format!("entry {}: {what}", place + 1));
        if let Err(error) = jeton_wire::check::tenant(&client.tenant) {
            wrong(error.to_string());
        }
        if let Err(error) = jeton_wire::check::client(&client.id) {
            wrong(error.to_string());
        }
        if let Some(Err(error)) = client.access_token_kind.as_deref().map(RecordKind::new) {
            wrong(format!("access_token_kind {error}"));
        }
        if client.revoke == Reach::None && client.introspect == Reach::None {
            wrong("may do nothing: set revoke or introspect to \"own\" or \"any\"".to_owned());
        }
        let before = &clients[..place];
        if before.iter().any(|other| other.id == client.id && other.tenant == client.tenant) {
            wrong("is there before, with the same id and tenant".to_owned());
        }
        // Without the tenant in the path, id and secret say which tenant is meant.
        let twin = |other: &&GatewayClient| {
            other.id == client.id && other.secret_sha256 == client.secret_sha256
        };
        if before.iter().any(|other| twin(&other)) {
            wrong("has id and secret of another tenant's: give it a secret of its own".to_owned());
        }
    }
    problems
}

#[cfg(test)]
mod tests {
    use super::*;

    const HASH: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    fn parse(text: &str) -> Result<Vec<GatewayClient>, SettingError> {
        Setting::from_text(text)
    }

    #[test]
    fn what_is_written_is_read_again() {
        let text = format!(
            "[{{ id = \"we\\\"b\", tenant = \"acme\", secret_sha256 = \"{HASH}\", \
             revoke = \"own\", introspect = \"none\" }}, {{ id = \"b\", tenant = \"acme\", \
             secret_sha256 = \"{HASH}\", introspect = \"any\", access_token_kind = \"a\\\"t\" }}]"
        );
        let clients = parse(&text).expect("good");
        assert_eq!((clients[0].revoke, clients[0].introspect), (Reach::Own, Reach::None));
        assert_eq!(clients[0].access_token_kind, None);
        assert_eq!(clients[1].access_token_kind.as_deref(), Some("a\"t"));
        assert_eq!(parse(&clients.to_toml()).expect("good"), clients);
        assert_eq!(parse("[]").expect("none"), []);
        assert!(!format!("{clients:?}").contains("e3b0"), "hashes are not printed");
    }

    #[test]
    fn entries_that_are_wrong_are_told_without_their_values() {
        for (text, words) in [
            ("true", "something else"),
            ("[1]", "something else"),
            ("[] x = 1", "no such TOML"),
            ("[]\nx = 1", "no such TOML"),
            ("[{ id = \"a\", tenant = \"t\" }]", "no secret_sha256 of 64"),
            ("[{ id = \"a\", tenant = \"t\", secret_sha256 = \"hunter2\" }]", "of 64"),
            ("[{ id = \"a\", tenant = \"t\", secret = \"hunter2\" }]", "other keys"),
            ("[{ id = 1, tenant = \"t\" }]", "no string"),
            ("[{ tenant = \"t\" }]", "entry 1"),
        ] {
            let told = parse(text).expect_err(text).to_string();
            assert!(told.contains(words) && !told.contains("hunter2"), "{text}: {told}");
        }
        let signs =
            format!("[{{ id = \"a\", tenant = \"t\", secret_sha256 = \"{}\" }}]", "+1".repeat(32));
        assert!(parse(&signs).is_err());
    }

    #[test]
    fn clients_that_could_be_confused_are_refused() {
        let entry = |id: &str, tenant: &str, hash: &str| {
            format!(
                "{{ id = \"{id}\", tenant = \"{tenant}\", secret_sha256 = \"{hash}\", \
                 revoke = \"own\" }}"
            )
        };
        let other = HASH.replace('e', "0");
        let told = |entries: &[String]| {
            problems(&parse(&format!("[{}]", entries.join(","))).expect("good")).join("; ")
        };
        assert_eq!(
            told(&[entry("a", "t", HASH), entry("a", "u", &other), entry("b", "t", HASH)]),
            ""
        );
        assert!(
            told(&[entry("a", "t", HASH), entry("a", "t", &other)]).contains("same id and tenant")
        );
        assert!(
            told(&[entry("a", "t", HASH), entry("a", "u", HASH)]).contains("secret of another")
        );
        assert!(told(&[entry("", "t", HASH)]).contains("entry 1: client"));
        let idle = format!("{{ id = \"a\", tenant = \"t\", secret_sha256 = \"{HASH}\" }}");
        assert!(told(&[idle]).contains("may do nothing"));
    }
}

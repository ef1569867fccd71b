//! File, environment and flags, one over the other.

use std::fmt;
use std::path::{Path, PathBuf};

use super::check::Fault;
use super::{Config, KEYS, SettingError};

/// Why there is no configuration. Each names the place and what to do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// The file can't be read.
    #[error("cannot read the configuration file {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The file is no TOML.
    #[error("the configuration file {} is not valid TOML", path.display())]
    Syntax {
        /// The file.
        path: PathBuf,
        /// Where and why.
        #[source]
        source: Box<toml::de::Error>,
    },
    /// A key that does not exist.
    #[error("unknown key `{key}` in {place}: {}", advice(key))]
    UnknownKey {
        /// The key.
        key: String,
        /// File, environment or flag.
        place: Place,
    },
    /// A value of the wrong type.
    #[error("`{key}` in {place} {source}")]
    Value {
        /// The key.
        key: String,
        /// File, environment or flag.
        place: Place,
        /// What it must be.
        source: SettingError,
    },
    /// Values that are out of bounds, or don't fit together; all of them.
    #[error("the configuration is invalid: {}", list(faults))]
    Invalid {
        /// At least one.
        faults: Vec<Fault>,
    },
}

/// Where a value came from.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Place {
    /// A configuration file.
    File(PathBuf),
    /// A variable of the environment.
    Environment(String),
    /// A flag of the command line.
    Flag(String),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(f, "the file {}", path.display()),
            Self::Environment(name) => write!(f, "the environment variable {name}"),
            Self::Flag(name) => write!(f, "the flag --{name}"),
        }
    }
}

fn list(faults: &[Fault]) -> String {
    faults.iter().map(Fault::to_string).collect::<Vec<_>>().join("; ")
}

/// The key that was probably meant, else where all of them are listed.
fn advice(key: &str) -> String {
    let nearest = KEYS
        .iter()
        .map(|known| (distance(key, known.name), known.name))
        .min()
        .filter(|(distance, known)| *distance <= known.len() / 3);
    match nearest {
        Some((_, known)) => format!("did you mean `{known}`?"),
        None => "remove it; `jeton config default` prints all keys".to_owned(),
    }
}

/// Levenshtein's distance, in bytes.
fn distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.bytes().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.bytes().enumerate() {
            let replaced = diagonal + usize::from(x != y);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

/// Where settings come from. The later field wins.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Layers {
    /// A TOML file: its name for messages, and its text.
    pub file: Option<(PathBuf, String)>,
    /// Variables of the environment; those that don't begin with `JETON_` are passed over, and so
    /// are those that name no key: the command line has variables of its own.
    pub environment: Vec<(String, String)>,
    /// Flags: key, as in the file or with dashes, and value.
    pub flags: Vec<(String, String)>,
}

impl Layers {
    /// Reads the file at `path` as the lowest layer.
    ///
    /// # Errors
    /// [`ConfigError::Read`].
    pub fn with_file(mut self, path: &Path) -> Result<Self, ConfigError> {
        let text = std::fs::read_to_string(path)
            .map_err(|source| ConfigError::Read { path: path.to_owned(), source })?;
        self.file = Some((path.to_owned(), text));
        Ok(self)
    }

    /// Takes the process's environment.
    #[must_use]
    pub fn with_environment(mut self) -> Self {
        self.environment = std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
            .collect();
        self
    }

    /// Puts the layers together and checks the whole.
    ///
    /// # Errors
    /// [`ConfigError`] names the key and where it stands.
    pub fn load(&self) -> Result<Config, ConfigError> {
        let mut config = Config::default();
        if let Some((path, text)) = &self.file {
            file(&mut config, path, text)?;
        }
        for known in KEYS {
            let name = Config::env_name(known.name);
            if let Some((_, text)) = self.environment.iter().find(|(found, _)| *found == name) {
                set(&mut config, known.name, text, || Place::Environment(name.clone()))?;
            }
        }
        for (flag, text) in &self.flags {
            let key = flag.replace('-', "_");
            set(&mut config, &key, text, || Place::Flag(flag.replace('_', "-")))?;
        }
        config.check()?;
        Ok(config)
    }
}

fn file(config: &mut Config, path: &Path, text: &str) -> Result<(), ConfigError> {
    let table: toml::Table = text.parse().map_err(|source| ConfigError::Syntax {
        path: path.to_owned(),
        source: Box::new(source),
    })?;
    for (key, value) in &table {
        let place = || Place::File(path.to_owned());
        match config.set_toml(key, value) {
            None => return Err(ConfigError::UnknownKey { key: key.clone(), place: place() }),
            Some(Err(source)) => {
                return Err(ConfigError::Value { key: key.clone(), place: place(), source });
            }
            Some(Ok(())) => {}
        }
    }
    Ok(())
}

fn set(
    config: &mut Config,
    key: &str,
    text: &str,
    place: impl Fn() -> Place,
) -> Result<(), ConfigError> {
    match config.set_text(key, text) {
        None => Err(ConfigError::UnknownKey { key: key.to_owned(), place: place() }),
        Some(Err(source)) => {
            Err(ConfigError::Value { key: key.to_owned(), place: place(), source })
        }
        Some(Ok(())) => Ok(()),
    }
}

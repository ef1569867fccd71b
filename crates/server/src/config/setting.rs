//! Types of settings: how each is read from TOML and from text, and written.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;

/// Why a value was not taken: what it must be, and what it is.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("must be {want}, but is {found}")]
pub struct SettingError {
    /// What it must be.
    pub want: &'static str,
    /// What it is.
    pub found: String,
}

/// A type that a setting can have.
pub trait Setting: Sized {
    /// From a value of the file.
    ///
    /// # Errors
    /// [`SettingError`] if it is of another type.
    fn from_toml(value: &toml::Value) -> Result<Self, SettingError>;

    /// From the environment or a flag.
    ///
    /// # Errors
    /// [`SettingError`] if the text doesn't spell one.
    fn from_text(text: &str) -> Result<Self, SettingError>;

    /// As in the file.
    fn to_toml(&self) -> String;
}

/// Form of log lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

impl FromStr for LogFormat {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        match text {
            "text" => Ok(Self::Text),
            "json" => Ok(Self::Json),
            _ => Err(()),
        }
    }
}

impl fmt::Display for LogFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Text => "text",
            Self::Json => "json",
        })
    }
}

fn found(value: &toml::Value) -> String {
    format!("the {} {value}", value.type_str())
}

fn quoted(text: &str) -> String {
    toml::Value::String(text.to_owned()).to_string()
}

macro_rules! integers {
    ($($type:ty),*) => {$(
        impl Setting for $type {
            fn from_toml(value: &toml::Value) -> Result<Self, SettingError> {
                let number = value.as_integer().and_then(|n| Self::try_from(n).ok());
                number.ok_or_else(|| SettingError {
                    want: "a whole number from 0",
                    found: found(value),
                })
            }

            fn from_text(text: &str) -> Result<Self, SettingError> {
                text.parse().map_err(|_| SettingError {
                    want: "a whole number from 0",
                    found: quoted(text),
                })
            }

            fn to_toml(&self) -> String {
                self.to_string()
            }
        }
    )*};
}
integers!(u64, u32, usize);

impl Setting for bool {
    fn from_toml(value: &toml::Value) -> Result<Self, SettingError> {
        value.as_bool().ok_or_else(|| SettingError { want: "true or false", found: found(value) })
    }

    fn from_text(text: &str) -> Result<Self, SettingError> {
        text.parse().map_err(|_| SettingError { want: "true or false", found: quoted(text) })
    }

    fn to_toml(&self) -> String {
        self.to_string()
    }
}

macro_rules! texts {
    ($($type:ty, $want:literal, $show:expr;)*) => {$(
        impl Setting for $type {
            fn from_toml(value: &toml::Value) -> Result<Self, SettingError> {
                let text = value.as_str();
                let text = text.ok_or_else(|| SettingError { want: $want, found: found(value) })?;
                Self::from_text(text)
            }

            fn from_text(text: &str) -> Result<Self, SettingError> {
                text.parse().map_err(|_| SettingError { want: $want, found: quoted(text) })
            }

            fn to_toml(&self) -> String {
                let show: fn(&$type) -> String = $show;
                quoted(&show(self))
            }
        }
    )*};
}
texts! {
    String, "a string", String::clone;
    PathBuf, "a path as a string", |path| path.display().to_string();
    SocketAddr, "an IP address and a port, as in \"127.0.0.1:7401\"", SocketAddr::to_string;
    LogFormat, "\"text\" or \"json\"", LogFormat::to_string;
}

impl Setting for Vec<String> {
    fn from_toml(value: &toml::Value) -> Result<Self, SettingError> {
        let wrong = || SettingError { want: "an array of strings", found: found(value) };
        value
            .as_array()
            .ok_or_else(wrong)?
            .iter()
            .map(|item| item.as_str().map(str::to_owned).ok_or_else(wrong))
            .collect()
    }

    /// Separated by commas.
    fn from_text(text: &str) -> Result<Self, SettingError> {
        Ok(text.split(',').map(str::trim).filter(|t| !t.is_empty()).map(str::to_owned).collect())
    }

    fn to_toml(&self) -> String {
        let items: Vec<String> = self.iter().map(|item| quoted(item)).collect();
        format!("[{}]", items.join(", "))
    }
}

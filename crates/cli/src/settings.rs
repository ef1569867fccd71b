//! Flags of a node: one for every key of its configuration, made from the list of keys, so that
//! file, environment and flags can't drift apart.

use clap::{Arg, ArgAction, ArgMatches, Args, Command, FromArgMatches};
use jeton_server::Config;
use jeton_server::config::KEYS;

/// Shorter names of flags that are typed often.
const ALIASES: [(&str, &str); 2] = [("client_listen", "listen"), ("client_advertise", "advertise")];

/// Settings that were given as flags: key and value, in the order of the keys.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SettingFlags(pub Vec<(String, String)>);

impl Args for SettingFlags {
    fn augment_args(command: Command) -> Command {
        let command = command.next_help_heading("Settings (also in the file and as JETON_…)");
        KEYS.iter().fold(command, |command, key| {
            let help = key.doc.iter().map(|line| line.trim()).collect::<Vec<_>>().join(" ");
            let flag = key.name.replace('_', "-");
            // Only lists may be repeated.
            let list = Config::default().shown(key.name).is_some_and(|v| v.starts_with('['));
            let mut arg = Arg::new(key.name)
                .long(flag)
                .help(help)
                .value_name("VALUE")
                .action(if list { ArgAction::Append } else { ArgAction::Set });
            if let Some((_, alias)) = ALIASES.iter().find(|(name, _)| *name == key.name) {
                arg = arg.visible_alias(*alias);
            }
            command.arg(arg)
        })
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for SettingFlags {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let given = KEYS.iter().filter_map(|key| {
            let values: Vec<&str> =
                matches.get_many::<String>(key.name)?.map(String::as_str).collect();
            Some((key.name.to_owned(), values.join(",")))
        });
        Ok(Self(given.collect()))
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<SettingFlags, clap::Error> {
        let command = SettingFlags::augment_args(Command::new("server"));
        SettingFlags::from_arg_matches(&command.try_get_matches_from(line.split(' '))?)
    }

    fn value(flags: &SettingFlags, key: &str) -> Option<String> {
        flags.0.iter().find(|(name, _)| name == key).map(|(_, value)| value.clone())
    }

    #[test]
    fn every_key_is_a_flag() {
        for key in KEYS {
            let flag = key.name.replace('_', "-");
            let flags = parse(&format!("server --{flag} x")).unwrap();
            assert_eq!(value(&flags, key.name).as_deref(), Some("x"), "{flag}");
        }
    }

    #[test]
    fn lists_may_be_repeated_and_short_names_work() {
        let flags = parse("server --join a:1 --join b:1,c:1 --listen 0.0.0.0:9").unwrap();
        assert_eq!(value(&flags, "join").as_deref(), Some("a:1,b:1,c:1"));
        assert_eq!(value(&flags, "client_listen").as_deref(), Some("0.0.0.0:9"));
        assert!(parse("server --data-dir a --data-dir b").is_err());
        assert!(parse("server --no-such-key 1").is_err());
    }
}

//! The command line as a whole: what there is, and what `--help` says about it.

use std::time::Duration;

use clap::{Args, Parser, Subcommand};

use crate::output::Format;
use crate::{
    backup, bench, check, cluster, completions, config, demo, dev, duration, exit, family, inspect,
    lock, record, revocation, revoke, server, session, suspend, tenant, token, watch,
};

const EXAMPLES: &str = "\
Examples:
  jeton dev                                   one node, data in a temporary directory
  jeton demo                                  three nodes, a kill -9, and a proof
  jeton tenant create acme
  jeton token create --tenant acme --subject alice --client web
  jeton token rotate --tenant acme --client web jrt_…
  jeton revoke --tenant acme --subject alice
  jeton lock run nightly -- ./reindex.sh
  jeton cluster status -o json";

/// A replicated store for OAuth refresh tokens: each is rotated once, a stolen one is caught, a
/// revoked one is dead everywhere.
#[derive(Debug, Parser)]
#[command(name = "jeton", version, propagate_version = true, subcommand_required = true)]
#[command(arg_required_else_help = true, after_help = EXAMPLES)]
#[command(after_long_help = format!("{EXAMPLES}\n\n{}", exit::HELP))]
pub struct Cli {
    /// How results are printed: a table for people, or one JSON object on one line.
    #[arg(short, long, global = true, value_enum, default_value_t, value_name = "FORMAT")]
    #[arg(env = "JETON_OUTPUT")]
    pub output: Format,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run a node.
    Server(Box<server::ServerArgs>),
    /// Run one node for development: temporary data, a tenant "default", no questions.
    Dev(dev::DevArgs),
    /// Start three real nodes, load them, kill the leader, and prove that nothing was lost.
    Demo(demo::DemoArgs),
    /// Look at the cluster and change its members.
    Cluster(cluster::ClusterArgs),
    /// Tenants, their settings and keys.
    Tenant(tenant::TenantArgs),
    /// Create, rotate, check and revoke refresh tokens.
    Token(token::TokenArgs),
    /// Look at a family of refresh tokens.
    Family(family::FamilyArgs),
    /// One-time and keyed records: codes, device codes, consents, proofs that are seen once.
    Record(record::RecordArgs),
    /// Revoke all that matches, in one step, however much that is.
    Revoke(revoke::RevokeArgs),
    /// Show what became of a revocation.
    Revocation(revocation::RevocationArgs),
    /// Ask whether an access token may still be used, by what it says of itself.
    Check(check::CheckArgs),
    /// Start, keep and end single sign-on sessions.
    Session(session::SessionArgs),
    /// Make a subject, client, family or the tenant dead for a while.
    Suspend(suspend::SuspendArgs),
    /// End a suspension: what was not killed otherwise lives again.
    Resume(suspend::ResumeArgs),
    /// Make a subject log in anew: what was made from an earlier authentication is dead.
    Reauthenticate(suspend::ReauthenticateArgs),
    /// Locks that end by themselves: hold one while a command runs.
    Lock(lock::LockArgs),
    /// Watch revocations as they happen, one line each, over failures of nodes.
    Watch(watch::WatchArgs),
    /// Make backups, look at them, and make a new cluster of one.
    Backup(backup::BackupArgs),
    /// Look into the data directory of a node that doesn't run. Changes nothing there.
    Inspect(inspect::InspectArgs),
    /// Measure a cluster of real processes on this machine.
    Bench(bench::BenchArgs),
    /// The configuration of a node.
    Config(config::ConfigArgs),
    /// Print what a shell needs to complete these commands.
    Completions(completions::CompletionsArgs),
}

/// How to reach the cluster.
#[derive(Debug, Clone, Args)]
pub struct Connection {
    /// Client address of a node; any will do, give several to survive the loss of one. May be
    /// repeated, or hold several with commas between them.
    #[arg(long = "endpoint", global = true, env = "JETON_ENDPOINTS", value_name = "HOST:PORT")]
    #[arg(help_heading = "Connection", value_delimiter = ',')]
    #[arg(default_values_t = [default_endpoint()])]
    pub endpoints: Vec<String>,
    /// Give up after this long, for example 500ms, 10s, 1m.
    #[arg(long, global = true, env = "JETON_TIMEOUT", value_name = "DURATION")]
    #[arg(help_heading = "Connection", value_parser = duration::parse, default_value = "10s")]
    pub timeout: Duration,
}

/// Where a node serves clients that was told nothing else.
pub fn default_endpoint() -> String {
    jeton_server::Config::default().client_listen.to_string()
}

/// In which tenant.
#[derive(Debug, Clone, Args)]
pub struct TenantFlag {
    /// The tenant to work in.
    #[arg(long, global = true, env = "JETON_TENANT", value_name = "NAME")]
    #[arg(default_value = "default")]
    pub tenant: String,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    fn parse(line: &str) -> Result<Cli, clap::Error> {
        Cli::try_parse_from(line.split_whitespace())
    }

    #[test]
    fn the_definition_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_command_explains_itself() {
        fn visit(command: &clap::Command, path: &str) {
            let path = format!("{path} {}", command.get_name());
            assert!(command.get_about().is_some(), "{path} says nothing about itself");
            for argument in command.get_arguments() {
                assert!(argument.get_help().is_some(), "{path} {} has no help", argument.get_id());
            }
            command.get_subcommands().for_each(|sub| visit(sub, &path));
        }
        visit(&Cli::command(), "");
    }

    /// Pages of operations say by which command each is called.
    #[test]
    fn the_commands_that_the_reference_names_are_there() {
        let mut named = 0;
        for operation in jeton_server::reference::operations() {
            let cli = operation.entry.map(|entry| entry.cli).unwrap_or_default();
            for line in cli.split(", ").filter(|line| !line.is_empty()) {
                let mut words = line.split(' ');
                assert_eq!(words.next(), Some("jeton"), "{}: {line}", operation.name);
                let mut command = Cli::command();
                // Global flags reach the subcommands.
                command.build();
                for word in words {
                    let there = match word.strip_prefix("--") {
                        Some(flag) => command.get_arguments().any(|it| it.get_long() == Some(flag)),
                        None => match command.find_subcommand(word).cloned() {
                            Some(next) => {
                                command = next;
                                true
                            }
                            None => false,
                        },
                    };
                    assert!(there, "{}: `{line}` is no command: {word}?", operation.name);
                }
                assert!(!command.is_subcommand_required_set(), "{line} is only half a command");
                named += 1;
            }
        }
        assert!(named > 40, "the reference names {named} commands only");
    }

    #[test]
    fn the_format_may_stand_anywhere() {
        for line in ["jeton -o json cluster status", "jeton cluster status -o json"] {
            assert_eq!(parse(line).unwrap().output, Format::Json, "{line}");
        }
        assert_eq!(parse("jeton cluster status").unwrap().output, Format::Table);
    }

    #[test]
    fn endpoints_may_be_repeated_or_listed() {
        for line in [
            "jeton cluster status --endpoint a:1 --endpoint b:2",
            "jeton cluster --endpoint a:1,b:2 status",
        ] {
            let Command::Cluster(args) = parse(line).unwrap().command else { panic!("{line}") };
            assert_eq!(args.connection.endpoints, ["a:1", "b:2"], "{line}");
        }
    }

    #[test]
    fn the_issue_s_command_lines_parse() {
        for line in [
            "jeton demo --seconds 20 -o json",
            "jeton demo --seed 7 --keep",
            "jeton bench rotate --nodes 3 --in-flight 256 --families 10000 --seconds 10 -o json",
            "jeton bench rotate --unary --warmup 1",
            "jeton bench revoke --families 200000 --seconds 5 -o json",
            "jeton server --data-dir /d --bootstrap-expect 3 --join a:1,b:1,c:1",
            "jeton cluster init",
            "jeton cluster add 10.0.0.4:7402 --voter",
            "jeton cluster promote 4",
            "jeton cluster remove 4",
            "jeton cluster transfer-leader 2",
            "jeton cluster checkpoint --base",
            "jeton tenant create acme --grace 10s",
            "jeton tenant list",
            "jeton tenant set acme --rotations-per-s 0",
            "jeton tenant rotate-key acme",
            "jeton token create --subject alice --client web",
            "jeton token create --subject alice --client web --ip 10.1.2.3 --region eu",
            "jeton token rotate --client web -",
            "jeton token rotate --client web --ip 10.1.2.3 --device phone -",
            "jeton token create --subject alice --client web --cap 3 --cap-policy deny",
            "jeton token create --subject alice --client web --opaque",
            "jeton token rotate --client web --adopt -",
            "jeton token list --subject alice --attribute region=eu --limit 10 --dead",
            "jeton token count --client web --device phone",
            "jeton token validate jrt_abc",
            "jeton token revoke --client web jrt_abc",
            "jeton family get 00112233445566778899aabbccddeeff",
            "jeton revoke --subject alice",
            "jeton revoke --client web --device phone",
            "jeton revoke --tenant-wide",
            "jeton revoke --jti abc --client web --expires-at 1800000000",
            "jeton check --jti abc --client web",
            "jeton watch --tenant acme",
            "jeton watch --snapshot -o json",
            "jeton check --subject alice --client web --position 4096 --max-age 200ms",
            "jeton revoke --session 08a5019c",
            "jeton session create --subject alice 08a5019c --idle 1h",
            "jeton session create --subject alice 08a5019c --ip 10.1.2.3 --region eu",
            "jeton session touch 08a5019c --at-version 1 --attribute acr=2",
            "jeton session end 08a5019c --reason logout",
            "jeton session get 08a5019c",
            "jeton session list alice --ended",
            "jeton suspend --subject alice --reason fraud",
            "jeton resume --tenant-wide",
            "jeton reauthenticate alice",
            "jeton lock acquire l --holder me --ttl 10s --wait 1m",
            "jeton lock renew l --holder me --fence 4096",
            "jeton lock release l --holder me --fence 18446744073709551615",
            "jeton lock status l",
            "jeton lock run l --kill-after 1s -- sh -c true",
            "jeton record put code c --value v --lifetime 1m --create-only --if client=web",
            "jeton record put consent k --index alice --index hex:00112233445566778899aabbccddeeff",
            "jeton record get code c",
            "jeton record find consent alice --page-size 10",
            "jeton record look-up device WDJB --index --guesser 10.0.0.1",
            "jeton record delete code c --if-version 1",
            "jeton record delete --all-of alice consent",
            "jeton record consume code c --if client=web --revoke-on-replay",
            "jeton record seen-once dpop --issuer web --id j --expires-at 1893456000000",
            "jeton record collect-expired job --before 1893456000000",
            "jeton record kind set device --misses 5 --misses-per-tenant 100",
            "jeton record kind list",
            "jeton backup create --to monday.backup",
            "jeton backup create --to monday.backup --passphrase-file p",
            "jeton backup verify monday.backup",
            "jeton backup verify monday.backup --passphrase-file -",
            "jeton backup restore monday.backup --data-dir d --proofs-live 5m",
            "jeton inspect /var/lib/jeton",
            "jeton inspect d --replay --scratch /tmp -o json",
            "jeton inspect d --rows family --tenant acme --limit 10",
            "jeton inspect d --log --from 5 --to 9",
            "jeton config default",
            "jeton completions bash",
            "jeton completions zsh",
            "jeton completions fish",
        ] {
            if let Err(error) = parse(line) {
                panic!("{line}: {error}");
            }
        }
    }

    #[test]
    fn a_revocation_of_nothing_and_of_everything_by_accident_are_refused() {
        assert!(parse("jeton revoke --jti abc").is_err(), "an access token has a client");
        assert!(parse("jeton revoke --jti abc --client web --subject alice").is_err());
        assert!(parse("jeton check").is_err());
        assert!(parse("jeton revoke").is_err());
        assert!(parse("jeton revoke --tenant-wide --subject alice").is_err());
        assert!(parse("jeton suspend").is_err());
        assert!(parse("jeton resume --subject alice --client web").is_err());
    }

    #[test]
    fn mistakes_exit_with_the_code_for_usage() {
        for line in ["jeton nonsense", "jeton demo --seconds x", "jeton cluster remove"] {
            assert_eq!(parse(line).unwrap_err().exit_code(), exit::Exit::Usage as i32, "{line}");
        }
    }
}

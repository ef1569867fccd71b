//! `jeton completions`: what a shell needs to complete the command line.

use std::io::Write as _;

use clap::{Args, CommandFactory as _};
use clap_complete::Shell;

use crate::args::Cli;
use crate::exit::Exit;

const EXAMPLES: &str = "\
Examples:
  jeton completions bash > ~/.local/share/bash-completion/completions/jeton
  jeton completions zsh > \"${fpath[1]}/_jeton\"
  jeton completions fish > ~/.config/fish/completions/jeton.fish";

/// See [`crate::args::Command::Completions`].
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct CompletionsArgs {
    /// For which shell.
    #[arg(value_enum, value_name = "SHELL")]
    pub shell: Shell,
}

/// Runs it.
pub fn run(args: &CompletionsArgs) -> anyhow::Result<Exit> {
    std::io::stdout().lock().write_all(&script(args.shell))?;
    Ok(Exit::Ok)
}

fn script(shell: Shell) -> Vec<u8> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "jeton", &mut script);
    script
}

#[cfg(test)]
mod tests {
    use clap::ValueEnum as _;

    use super::*;

    #[test]
    fn every_shell_is_told_every_command_and_flag() {
        fn visit(command: &clap::Command, script: &str, path: &str, levels: usize) {
            let path = format!("{path} {}", command.get_name());
            assert!(script.contains(command.get_name()), "{path} is missing");
            for flag in command.get_arguments().filter_map(clap::Arg::get_long) {
                assert!(script.contains(flag), "{path} --{flag} is missing");
            }
            if let Some(levels) = levels.checked_sub(1) {
                command.get_subcommands().for_each(|sub| visit(sub, script, &path, levels));
            }
        }
        for shell in Shell::value_variants() {
            let script = String::from_utf8(script(*shell)).unwrap();
            // The generator for fish goes no deeper than a command of a command.
            let levels = if *shell == Shell::Fish { 2 } else { usize::MAX };
            visit(&Cli::command(), &script, &shell.to_string(), levels);
        }
    }
}

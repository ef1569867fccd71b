//! Prints a reference that is made from the source, for `docs/`:
//! `cargo run -p jeton-server --example reference -- metrics > docs/reference/metrics.md`

fn main() -> std::process::ExitCode {
    let page = match std::env::args().nth(1).as_deref() {
        Some("metrics") => jeton_server::metrics::list::reference(),
        _ => {
            eprintln!("say which: metrics");
            return std::process::ExitCode::from(64);
        }
    };
    print!("{page}");
    std::process::ExitCode::SUCCESS
}

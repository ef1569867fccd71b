//! Prints a reference that is made from the source, for `docs/`:
//!
//! ```sh
//! cargo run -p jeton-server --example reference -- metrics > docs/reference/metrics.md
//! cargo run -p jeton-server --example reference -- openapi > docs/openapi.json
//! ```

fn main() -> std::process::ExitCode {
    let page = match std::env::args().nth(1).as_deref() {
        Some("metrics") => jeton_server::metrics::list::reference(),
        Some("openapi") => jeton_server::openapi(),
        _ => {
            eprintln!("say which: metrics or openapi");
            return std::process::ExitCode::from(64);
        }
    };
    print!("{page}");
    std::process::ExitCode::SUCCESS
}

//! Prints or writes a reference that is made from the source, for `docs/`:
//!
//! ```sh
//! cargo run -p jeton-server --example reference -- metrics > docs/reference/metrics.md
//! cargo run -p jeton-server --example reference -- openapi > docs/openapi.json
//! cargo run -p jeton-server --example reference -- operations  # writes a folder
//! ```

use std::io;
use std::path::Path;
use std::process::ExitCode;

use jeton_server::reference;

fn main() -> ExitCode {
    let page = match std::env::args().nth(1).as_deref() {
        Some("metrics") => jeton_server::metrics::list::reference(),
        Some("openapi") => jeton_server::openapi(),
        Some("operations") => return write(),
        _ => {
            eprintln!("say which: metrics, openapi or operations");
            return ExitCode::from(64);
        }
    };
    print!("{page}");
    ExitCode::SUCCESS
}

/// Writes the pages of operations, and removes those of operations that are no more.
fn write() -> ExitCode {
    let faults = reference::faults();
    if !faults.is_empty() {
        eprintln!("{}", faults.join("\n"));
        return ExitCode::FAILURE;
    }
    match write_pages() {
        Ok(count) => {
            eprintln!("{count} pages");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

#[allow(clippy::disallowed_methods)] // a tool for developers has no seams
fn write_pages() -> io::Result<usize> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let answers = root.join(reference::FOLDER).join("answers");
    let pages = reference::pages(&|name| {
        std::fs::read_to_string(answers.join(format!("{name}.json"))).ok()
    });
    let folder = root.join("docs/reference/operations");
    std::fs::create_dir_all(&folder)?;
    for entry in std::fs::read_dir(&folder)? {
        let entry = entry?;
        if !pages.contains_key(&*entry.file_name().to_string_lossy()) {
            std::fs::remove_file(entry.path())?;
        }
    }
    for (name, page) in &pages {
        std::fs::write(folder.join(name), page)?;
    }
    Ok(pages.len())
}
